"""All peaks of each map."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cpm_fast.reference.peaks import vertex


def many_peaks(maps: torch.Tensor, threshold: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate every cell that is above a threshold and the highest within a radius.

    A cell is a peak if its value is above `threshold` and no value within `radius` cells on both axes, a square window
    that ends at the border, is higher; of ties in a window the first in row-major order counts. A NaN is no peak and
    hides none. Two peaks are more than `radius` apart on some axis, so a map has at most
    K = ceil(H / (radius + 1)) ceil(W / (radius + 1)).

    The point moves, on each axis by itself, to the vertex of the parabola through the peak and its two neighbors, as
    that of `peaks` does; the score is the peak itself.

    Args:
        maps: [N, H, W] floating point, H and W at least 1.
        threshold: that a peak is above.
        radius: of the window, in cells, at least 1.

    Returns:
        points [N, K, 2], (x, y) in cells, and scores [N, K], both the dtype of maps: the highest first, ties in
        row-major order, and -inf at (0, 0) behind the last peak.
    """
    height, width = maps.shape[1:]
    most = -(-height // (radius + 1)) * -(-width // (radius + 1))
    values = maps.masked_fill(maps.isnan(), -torch.inf)
    padded = F.pad(values, (radius,) * 4, value=-torch.inf)
    peak = values > threshold
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            near = padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            peak &= values > near if (dy, dx) < (0, 0) else values >= near
    # A stable sort keeps ties in row-major order; what is no peak stands behind all.
    heights = torch.where(peak, values, -torch.inf).flatten(1)
    order = heights.argsort(dim=1, descending=True, stable=True)[:, :most]
    found = peak.flatten(1).gather(1, order)
    y, x = order // width, order % width

    def value(dy: int, dx: int) -> torch.Tensor:
        return maps.flatten(1).gather(1, (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1))

    scores = value(0, 0)
    across = vertex(value(0, -1), scores, value(0, 1)) * ((x > 0) & (x < width - 1))
    down = vertex(value(-1, 0), scores, value(1, 0)) * ((y > 0) & (y < height - 1))
    points = torch.stack([x + across, y + down], -1)  # [N, K, 2]
    return points.where(found[..., None], 0), scores.where(found, -torch.inf)
