"""Scenes for the training of a finder: a picture with the regions of its subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpm_fast.data.regions import LEAST_PARTS
from cpm_fast.data.sample import Sample
from cpm_fast.data.subjects import region_of_parts
from cpm_fast.roi import Roi, transform
from cpm_fast.skeleton import Skeleton

# A subject with less than this share of its parts in the picture, or uncovered, does not count: it is neither a subject
# nor background. Head, neck and shoulders are four of fourteen parts.
LEAST_SEEN = 0.28
# The region of a subject in part shrinks with what is seen of it, at most to this share of its side: the pose networks
# were trained on regions of half the side and on magnifications of 1.35.
LEAST_SIDE = 0.35
# Smaller subjects, in pixels of the side of the region, are part of the background that does not count.
SMALLEST_SIDE_PX = 12.0


@dataclass(frozen=True)
class Scene:
    """A picture, and the regions of its subjects.

    Args:
        image: [H, W, 3] uint8 BGR.
        rois: of the K subjects.
        ignored: squares around others, who may be found or not.
        doubtful: whether the picture may show unlabeled subjects, as photographs do.
    """

    image: np.ndarray
    rois: tuple[Roi, ...] = ()
    ignored: tuple[Roi, ...] = ()
    doubtful: bool = False


@dataclass(frozen=True)
class SceneSubject:
    """A subject in the pixels of some picture.

    Args:
        roi: its region.
        parts: [K, 2], the known ones.
        shown: [K] bool, those that its own picture does not cut off.
    """

    roi: Roi
    parts: np.ndarray
    shown: np.ndarray

    def moved(self, matrix: np.ndarray) -> SceneSubject:
        """Return the subject in another picture, [2, 3] affine; a turn does not change the side."""
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        x, y = transform(matrix, np.array(self.roi.center)).tolist()
        return replace(self, roi=Roi((x, y), self.roi.side * scale), parts=transform(matrix, self.parts))


def subjects_of(sample: Sample, skeleton: Skeleton, margin: float) -> list[SceneSubject]:
    """Return the labeled subjects of a sample's picture, its own first.

    Others are those whose parts give a region; the rest are `ignored_of`.

    Raises:
        ValueError: the sample has neither region nor box.
    """
    height, width = sample.image.shape[:2]

    def subject(roi: Roi, parts: np.ndarray) -> SceneSubject:
        return SceneSubject(roi, parts, np.all((parts >= 0) & (parts < (width, height)), axis=1))

    known = sample.labeled & np.isfinite(sample.parts_image).all(axis=1)
    found = [subject(sample.region(margin), sample.parts_image[known])]
    for parts in sample.others_image:
        roi = _region(parts, skeleton, margin)
        if roi is not None:
            found.append(subject(roi, parts[np.isfinite(parts).all(axis=1)]))
    return found


def ignored_of(sample: Sample, skeleton: Skeleton, margin: float) -> list[Roi]:
    """Return squares around people in a sample's picture without known regions: crowds, people in part."""
    squares = [Roi.from_box(box, 1.0) for box in sample.ignored_image]
    for parts in sample.others_image:
        there = parts[np.isfinite(parts).all(axis=1)]
        if len(there) and _region(parts, skeleton, margin) is None:
            low, high = there.min(axis=0), there.max(axis=0)
            x, y = ((low + high) / 2).tolist()
            squares.append(Roi((x, y), float((high - low).max()) + SMALLEST_SIDE_PX))
    return squares


def _region(parts: np.ndarray, skeleton: Skeleton, margin: float) -> Roi | None:
    try:
        roi, box = region_of_parts(parts, skeleton)
    except ValueError:
        return None
    return roi if box is None else Roi.from_box(box, margin)


def seen_subject(subject: SceneSubject, size: tuple[int, int]) -> tuple[Roi | None, Roi | None]:
    """Return the region of a subject in a picture that may cut it, and the square that does not count: one is None.

    Both are None if nothing of it is in the picture.

    Args:
        subject: in pixels of the picture.
        size: (H, W) of the picture.
    """
    roi, parts = subject.roi, subject.parts
    height, width = size
    inside = subject.shown & ((parts >= 0) & (parts < (width, height))).all(axis=1)
    if len(parts) >= LEAST_PARTS and not inside.all():
        if inside.sum() < max(LEAST_PARTS, LEAST_SEEN * len(parts)):
            return None, roi if touches(roi, size) else None
        roi = region_in_part(roi, parts, inside, (0, 0, width, height))
    x, y = roi.center
    if not (0 <= x < width and 0 <= y < height) or roi.side < SMALLEST_SIDE_PX:
        return None, roi if touches(roi, size) else None
    return roi, None


def region_in_part(roi: Roi, parts: np.ndarray, inside: np.ndarray, bounds: tuple[int, int, int, int]) -> Roi:
    """Return the region of what is seen of a subject, which reaches to the lines beyond which some of its parts are.

    Args:
        roi: of the whole subject.
        parts: [K, 2], all of it.
        inside: [K] bool, which parts are seen.
        bounds: left, top, right, bottom of what can be seen.
    """
    whole_low, whole_high = parts.min(axis=0), parts.max(axis=0)
    first, last = np.array(bounds[:2], float), np.array(bounds[2:], float)
    low = np.where((parts < first).any(axis=0), first, parts[inside].min(axis=0))
    high = np.where((parts >= last).any(axis=0), last, parts[inside].max(axis=0))
    extent = float((whole_high - whole_low).max())
    share = min(1.0, max(LEAST_SIDE, float((high - low).max()) / extent)) if extent > 0 else 1.0
    x, y = (low + high) / 2 + share * (np.array(roi.center) - (whole_low + whole_high) / 2)
    return Roi((float(x), float(y)), share * roi.side)


def touches(roi: Roi, size: tuple[int, int]) -> bool:
    """Return whether a square reaches into a picture of (H, W)."""
    return all(
        -roi.side / 2 < at < side + roi.side / 2 for at, side in zip(roi.center, (size[1], size[0]), strict=True)
    )


def scene_of(image: np.ndarray, subjects: Sequence[SceneSubject], ignored: Sequence[Roi] = ()) -> Scene:
    """Return the scene of a picture [H, W, 3] with the visible part of each subject."""
    size = (image.shape[0], image.shape[1])
    rois, left_out = [], list(ignored)
    for subject in subjects:
        roi, square = seen_subject(subject, size)
        if roi is not None:
            rois.append(roi)
        elif square is not None:
            left_out.append(square)
    return Scene(image, tuple(rois), tuple(left_out))


def photograph(image: np.ndarray, matrix: np.ndarray, sample: Sample, skeleton: Skeleton, margin: float) -> Scene:
    """Return the scene of a sample's picture, seen through a [2, 3] matrix, with all who are labeled in it."""
    subjects = [subject.moved(matrix) for subject in subjects_of(sample, skeleton, margin)]
    nowhere = np.empty((0, 2))
    squares = [
        SceneSubject(square, nowhere, nowhere[:, 0] > 0).moved(matrix).roi
        for square in ignored_of(sample, skeleton, margin)
    ]
    return replace(scene_of(image, subjects, squares), doubtful=not sample.complete)
