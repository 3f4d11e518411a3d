"""One image's key points as values alone, which files of results hold."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Entry:
    """The N subjects of one image as the forms write and read them; its fields are explained at `Result`."""

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
    frame: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        count, parts = len(self.keypoints), len(self.skeleton)
        if self.keypoints.shape != (count, parts, 2) or self.scores.shape != (count, parts):
            raise ValueError(
                f"keypoints must be [N, {parts}, 2] and scores [N, {parts}], got {list(self.keypoints.shape)} and "
                f"{list(self.scores.shape)}"
            )
        if len(self.rois) not in (0, count):
            raise ValueError(f"rois must be {count}, one per subject, got {len(self.rois)}")

    def __len__(self) -> int:
        return len(self.keypoints)
