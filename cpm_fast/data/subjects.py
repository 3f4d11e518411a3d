"""What most formats come to: a list of subjects, each in a picture that is read when it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpm_fast.data.sample import Sample
from cpm_fast.media.image import read_image
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Subject:
    """A `Sample` before its picture is read; the fields of equal names are those.

    Args:
        image: the picture's name.
        parts_image: [P, 2], NaN where not labeled.
        roi: the region about the subject; None: the whole picture.
    """

    image: str
    parts_image: np.ndarray
    roi: Roi | None
    occluded: np.ndarray | None = None
    box_image: tuple[float, float, float, float] | None = None
    head_length: float | None = None
    area: float | None = None
    identity: tuple[int, ...] | None = None


class Subjects:
    """Annotated subjects; those of one picture are each other's neighbors.

    Args:
        name: of the dataset.
        skeleton: the P parts.
        subjects: in order.
        folders: where pictures are looked for, the first that has it wins.
    """

    def __init__(self, name: str, skeleton: Skeleton, subjects: Sequence[Subject], folders: Sequence[Path]) -> None:
        self._name, self._skeleton = name, skeleton
        self.subjects, self.folders = subjects, folders
        self._places = defaultdict(list)
        for place, subject in enumerate(subjects):
            self._places[subject.image].append(place)

    @property
    def name(self) -> str:
        return self._name

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    def __len__(self) -> int:
        return len(self.subjects)

    def path(self, image: str) -> Path:
        """Where a picture lies; in the first folder if in none."""
        paths = [folder / image for folder in self.folders]
        return next((path for path in paths if path.is_file()), paths[0])

    def __getitem__(self, index: int) -> Sample:
        subject = self.subjects[index]
        image = read_image(self.path(subject.image))
        others = [self.subjects[place].parts_image for place in self._places[subject.image] if place != index]
        return Sample(
            image=image,
            parts_image=subject.parts_image,
            labeled=np.isfinite(subject.parts_image).all(axis=1),
            roi=subject.roi or Roi.whole_image(*image.shape[:2]),
            name=subject.image,
            occluded=subject.occluded,
            others_image=np.array(others).reshape(-1, len(self.skeleton), 2),
            box_image=subject.box_image,
            head_length=subject.head_length,
            area=subject.area,
            identity=subject.identity,
        )
