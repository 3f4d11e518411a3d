"""Lists of subjects in pictures that are read on demand: the form of most datasets."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpm_fast.data.pictures import Pictures
from cpm_fast.data.sample import Sample
from cpm_fast.media.image import exif_turns, read_image
from cpm_fast.roi import LIMB_RATIOS, Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import text_of_name

# With fewer points than this, values from 0 to 1 may be pixels.
FEWEST_FRACTIONS = 4

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Subject:
    """A `Sample` before its picture is read; the fields of equal names are those.

    Args:
        image: the picture's name.
        parts_image: [P, 2], NaN where not labeled.
        roi: the region around the subject; None: about its box, or the whole picture if it has none.
        folder: another folder in which the picture may lie.
        size: (height, width) of the picture when it was labeled, if the annotations have it.
    """

    image: str
    parts_image: np.ndarray
    roi: Roi | None
    occluded: np.ndarray | None = None
    box_image: tuple[float, float, float, float] | None = None
    head_length: float | None = None
    area: float | None = None
    identity: tuple[int | str, ...] | None = None
    folder: Path | None = None
    size: tuple[int, int] | None = None


class Subjects:
    """Annotated subjects; those of one picture are each other's neighbors.

    Args:
        name: of the dataset.
        skeleton: the P parts.
        subjects: in order.
        pictures: the pictures, or the folders in which they are searched.
        files: the files of annotations.
        left_out: a reason for each annotation that is not among them.
    """

    def __init__(
        self,
        name: str,
        skeleton: Skeleton,
        subjects: Sequence[Subject],
        pictures: Pictures | Sequence[Path],
        files: Sequence[Path] = (),
        left_out: Sequence[str] = (),
    ) -> None:
        self._name, self._skeleton = text_of_name(name), skeleton
        self.subjects, self.left_out, self.annotation_files = subjects, tuple(left_out), tuple(files)
        self.pictures = pictures if isinstance(pictures, Pictures) else Pictures(pictures)
        # By picture: boxes around people without parts in the file.
        self.ignored: dict[str, list[Box]] = {}
        self._places = defaultdict(list)
        for place, subject in enumerate(subjects):
            self._places[subject.image].append(place)
        self.pictures.warn_of_foreign_paths(name, self._names())
        _check_points(name, subjects, self.annotation_files)

    @property
    def name(self) -> str:
        return self._name

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    def __len__(self) -> int:
        return len(self.subjects)

    def _names(self) -> list[tuple[str, Path | None]]:
        return list(dict.fromkeys((subject.image, subject.folder) for subject in self.subjects))

    def picture_files(self) -> list[Path]:
        """Return the path of every picture, including missing ones."""
        return [self.pictures.path(*name) for name in self._names() if name[0] not in self.pictures.given]

    def __getitem__(self, index: int) -> Sample:
        subject = self.subjects[index]
        path = self.pictures.path(subject.image, subject.folder)
        image = read_image(path)
        _check_size(path, image, subject.size)
        others = [self.subjects[place].parts_image for place in self._places[subject.image] if place != index]
        whole = subject.roi is None and subject.box_image is None
        return Sample(
            image=image,
            parts_image=subject.parts_image,
            labeled=np.isfinite(subject.parts_image).all(axis=1),
            roi=Roi.whole_image(*image.shape[:2]) if whole else subject.roi,
            name=subject.image,
            occluded=subject.occluded,
            others_image=np.array(others).reshape(-1, len(self.skeleton), 2),
            box_image=subject.box_image,
            head_length=subject.head_length,
            area=subject.area,
            identity=subject.identity,
            ignored_image=np.array(self.ignored.get(subject.image, []), float).reshape(-1, 4),
        )


def _check_points(name: str, subjects: Sequence[Subject], files: Sequence[Path]) -> None:
    """Warn of labels at 0, 0 and -1, -1, which other programs write for a part that is not labeled.

    Raises:
        ValueError: all labels are fractions of a picture's size.
    """
    points = np.concatenate([subject.parts_image.reshape(-1, 2) for subject in subjects] or [np.empty((0, 2))])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) >= FEWEST_FRACTIONS and points.min() >= 0 and points.max() <= 1 and len(np.unique(points)) > 2:
        others = f" and {len(files) - 1} others" if len(files) > 1 else ""
        raise ValueError(
            f"{files[0] if files else name}{others}: points must be in pixels, got all from {points.min():.3g} to "
            f"{points.max():.3g}; multiply them with the pictures' width and height"
        )
    for value in (0, -1):
        count = int((points == value).all(axis=1).sum())
        if count:
            warnings.warn(
                f"{name}: {count} of {len(points)} labels are at exactly {value}, {value}; where that stands for a "
                "part that is not labeled, leave it out: an empty cell, or visibility 0",
                stacklevel=4,
            )


def _check_size(path: Path, image: np.ndarray, size: tuple[int, int] | None) -> None:
    """Refuse a picture that was labeled at another size: its labels would be in the wrong places.

    Raises:
        ValueError: it is of another size than `size`, or was turned by its EXIF orientation since.
    """
    if size is None or size == image.shape[:2]:
        return
    height, width = image.shape[:2]
    if size == (width, height):
        if exif_turns(path):
            raise ValueError(
                f"{path}: was labeled as {size[1]} x {size[0]} pixels, and its EXIF orientation makes it {width} x "
                f"{height}; turn the labels, or remove the orientation from the picture"
            )
        # Some files have height and width in the wrong order.
        return
    raise ValueError(
        f"{path}: has {width} x {height} pixels, and its annotations are for {size[1]} x {size[0]}; take the pictures "
        "that were labeled"
    )


def region_of_parts(parts_image: np.ndarray, skeleton: Skeleton) -> tuple[Roi | None, Box | None]:
    """Return the region, or the box, of a subject for which a file has neither.

    For people, limbs give the scale (`Roi.from_parts`); for anything else it is the box around the labeled parts, to
    which the network's margin is added as to any other box.

    Args:
        parts_image: [P, 2], NaN where not labeled.
        skeleton: the P parts.

    Returns:
        Either a region or a box.

    Raises:
        ValueError: fewer than two labeled parts, or all on one point.
    """
    labeled = np.isfinite(parts_image).all(axis=1)
    if labeled.sum() < 2:
        raise ValueError(f"must have two labeled parts or a box, got {labeled.sum()} labeled parts and no box")
    known = parts_image[labeled]
    (left, top), (right, bottom) = known.min(axis=0).tolist(), known.max(axis=0).tolist()
    if left == right and top == bottom:
        raise ValueError("parts must not all lie on one point to give a scale")
    if any({a, b} <= set(skeleton.names) for a, b, _ in LIMB_RATIOS):
        return Roi.from_parts(parts_image, labeled, skeleton), None
    # A box has an extent on both axes.
    grow_x, grow_y = 0.5 * (left == right), 0.5 * (top == bottom)
    return None, (left - grow_x, top - grow_y, right + grow_x, bottom + grow_y)
