"""One image's key points as values alone, which files of results hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.numbers import check_score


@dataclass(frozen=True, eq=False)
class Entry:
    """The N subjects of one image as files hold them; `Result` explains the fields."""

    keypoints: np.ndarray
    scores: np.ndarray
    skeleton: Skeleton
    name: str = "image 0"
    size: tuple[int, int] | None = None
    rois: tuple[Roi, ...] = ()
    roi_source: str = "whole image"
    belief_maps: np.ndarray | None = field(default=None, repr=False)
    box_size: tuple[int, int] = (368, 368)
    cell_offset: float = 3.5
    margin: float = 1.25
    frame: int | None = None
    seconds: float | None = None
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count, parts = len(self.keypoints), len(self.skeleton)
        if self.keypoints.shape != (count, parts, 2) or self.scores.shape != (count, parts):
            raise ValueError(
                f"keypoints must be [N, {parts}, 2] and scores [N, {parts}], got {list(self.keypoints.shape)} and "
                f"{list(self.scores.shape)}"
            )
        if len(self.rois) not in (0, count):
            raise ValueError(f"rois must be {count}, one per subject, got {len(self.rois)}")
        if len(self.ids) not in (0, count) or len(set(self.ids)) != len(self.ids):
            raise ValueError(f"ids must be {count} different numbers, one per subject, got {self.ids}")

    @property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """Left, top, right, bottom of every subject: the network's margin about these boxes gives the regions."""
        halves = [roi.side / self.margin / 2 for roi in self.rois]
        return tuple(
            (x - half, y - half, x + half, y + half)
            for (x, y), half in zip((roi.center for roi in self.rois), halves, strict=True)
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number of every subject: its identity in a video, otherwise its place."""
        return self.ids or tuple(range(len(self)))

    def surer_than(self, min_score: float) -> Self:
        """Return the same with NaN for the place of every part whose score is below `min_score`."""
        check_score(min_score, "min_score")
        below = self.scores < min_score
        return replace(self, keypoints=np.where(below[..., None], np.float32(np.nan), self.keypoints))

    def __len__(self) -> int:
        return len(self.keypoints)
