"""The highest cells of merged belief maps."""

from __future__ import annotations

import torch

from cpm_fast.reference.peaks import peaks
from cpm_fast.reference.resize_merge import resize_merge


def merge_peaks(
    maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate `peaks` of the parts of `resize_merge`: points [N, P, 2] and scores [N, P] of maps [N, S, P+1, h, w].

    One image at a time, since its full-size maps take 8 MB at 15 maps of 368 x 368.
    """
    parts = maps.shape[2] - 1
    points = maps.new_empty(len(maps), parts, 2)
    scores = maps.new_empty(len(maps), parts)
    for n in range(len(maps) if parts else 0):
        merged = resize_merge(maps[n : n + 1], frames[n] if frames.ndim == 3 else frames, size)
        points[n : n + 1], scores[n : n + 1] = peaks(merged[:, :parts], refine)
    return points, scores
