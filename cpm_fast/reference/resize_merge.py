"""Belief maps of several scales brought to one frame by cubic resize and averaged."""

from __future__ import annotations

import torch

KEYS_A = -0.5


def resize_merge(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Average maps over S scales, each resized to the same H x W pixels (test protocol of Wei et al. 2016).

    Output pixel x of scale s sees cell sx * x + ox, likewise y, through the cubic convolution kernel of Keys 1981
    with a = -0.5; cells beyond the border are the border's, and nothing is antialiased. If that cell lies outside
    the crop (below -0.5 or above w - 0.5), parts are 0 and the last map, the background, is 1. One resize, where the
    MATLAB release resizes twice (map to crop, crop to image) and so blurs a little more.

    Rows are resized first, taps and scales are added in their order: in float32 exactly the native code's operations.

    Args:
        maps: [N, S, P+1, h, w] float32 or float64, background last. A cell that is NaN or infinite reaches the pixels
            whose 4 x 4 cells it is among, also where its weight is 0.
        frames: [S, 4] or [N, S, 4] float64, (sx, sy, ox, oy) per scale, as in `Frame`.
        size: (H, W) in pixels of the output.

    Returns:
        [N, P+1, H, W], the dtype of maps, differentiable in maps.
    """
    height, width = size
    outside = maps.new_zeros(maps.shape[2])  # [P+1]
    outside[-1:] = 1
    total = maps.new_zeros(maps.shape[0], maps.shape[2], height, width)
    for scale in range(maps.shape[1]):
        sx, sy, ox, oy = frames[..., scale, :].reshape(-1, 4).unbind(-1)  # each [N] or [1]
        across, across_weights, in_width = cubic_taps(sx, ox, width, maps.shape[4])
        down, down_weights, in_height = cubic_taps(sy, oy, height, maps.shape[3])
        rows = weighted(maps[:, scale], across, across_weights)  # [N, P+1, h, W]
        resized = weighted(rows.mT, down, down_weights).mT  # [N, P+1, H, W]
        inside = in_height[:, None, :, None] & in_width[:, None, None, :]  # [N or 1, 1, H, W]
        total = total + torch.where(inside, resized, outside[:, None, None])
    return total / maps.shape[1]


def weighted(values: torch.Tensor, taps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weight values [N, P+1, a, b] along b by taps and weights [N or 1, pixels, 4]: [N, P+1, a, pixels]."""
    shape = (*values.shape[:-1], taps.shape[1])
    terms = [
        weight[:, None, None] * values.gather(-1, tap[:, None, None].expand(shape))
        for tap, weight in zip(taps.unbind(-1), weights.to(values).unbind(-1), strict=True)
    ]
    return terms[0] + terms[1] + terms[2] + terms[3]


def cubic_taps(
    scale: torch.Tensor, offset: torch.Tensor, pixels: int, cells: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the four cells of every pixel and their weights, and whether the pixel lies inside the map.

    Args:
        scale, offset: [N or 1].
        pixels, cells: sides of the output and of the map.

    Returns:
        Cells and weights [N or 1, pixels, 4], inside [N or 1, pixels].
    """
    cell = scale[:, None] * torch.arange(pixels, dtype=scale.dtype, device=scale.device) + offset[:, None]
    # Clamped far outside too, where nothing is used, so that huge offsets stay integers.
    nearest = cell.nan_to_num(-1.0).clamp(-1, cells)
    taps = nearest.floor()[..., None] + torch.arange(-1, 3, dtype=scale.dtype, device=scale.device)
    inside = (cell >= -0.5) & (cell <= cells - 0.5)
    return taps.clamp(0, cells - 1).long(), keys(nearest[..., None] - taps), inside


def keys(distance: torch.Tensor) -> torch.Tensor:
    """Return the cubic convolution kernel (Keys 1981, Eq. 15), a = -0.5."""
    d = distance.abs()
    near = ((KEYS_A + 2) * d - (KEYS_A + 3)) * d * d + 1
    far = ((KEYS_A * d - 5 * KEYS_A) * d + 8 * KEYS_A) * d - 4 * KEYS_A
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
