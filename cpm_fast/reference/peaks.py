"""The highest cell of each belief map."""

from __future__ import annotations

import torch


def peaks(maps: torch.Tensor, refine: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate the maximum of every map (Wei et al. 2016, Section 3.2: the part is where belief peaks).

    Ties go to the first in row-major order: smallest y, then smallest x (the MATLAB release: smallest x first). A NaN
    never wins; a map of nothing but NaN has a NaN point and a NaN score.

    With `refine` the point moves, on each axis by itself, to the vertex of the parabola through the maximum c and its
    two neighbors l and r (the release stays on the pixel):

        offset = (l - r) / (2 (l - 2 c + r)), clamped to +-0.5

    It doesn't move along an axis on which the maximum lies at the border or the parabola has no finite peak
    (l - 2 c + r not negative, or a neighbor not finite). The score is the maximum itself, refined or not.

    Args:
        maps: [N, M, H, W] floating point, H and W at least 1.
        refine: whether to go below the pixel.

    Returns:
        points [N, M, 2], (x, y) in pixels of the map, and scores [N, M], both the dtype of maps.
    """
    height, width = maps.shape[2:]
    flat = maps.flatten(2)  # [N, M, H W]
    best = flat.masked_fill(flat.isnan(), -torch.inf).amax(-1, keepdim=True)
    hits = flat == best
    index = hits.byte().argmax(-1, keepdim=True)  # the first of the hits
    y, x = index // width, index % width

    def value(dy: int, dx: int) -> torch.Tensor:
        return flat.gather(2, (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1))

    points = torch.cat([x, y], -1).to(maps.dtype)  # [N, M, 2]
    scores = flat.gather(2, index)  # [N, M, 1]
    if refine:
        across = vertex(value(0, -1), scores, value(0, 1)) * ((x > 0) & (x < width - 1))
        down = vertex(value(-1, 0), scores, value(1, 0)) * ((y > 0) & (y < height - 1))
        points = points + torch.cat([across, down], -1)
    found = hits.any(-1, keepdim=True)
    return points.where(found, torch.nan), scores.where(found, torch.nan)[..., 0]


def vertex(left: torch.Tensor, center: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Locate the peak of the parabola through values at -1, 0 and 1, clamped to +-0.5; 0 without a finite peak."""
    curvature = left - 2 * center + right
    peaked = (curvature < 0) & curvature.isfinite()
    offset = (left - right) / (2 * torch.where(peaked, curvature, -1))
    return torch.where(peaked, offset, 0).clamp(-0.5, 0.5)
