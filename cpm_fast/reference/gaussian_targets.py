"""Belief-map targets: a Gaussian peak at every labeled part, and the background between them."""

from __future__ import annotations

import torch

# A peak is cut where it falls below exp(-4.6052) = 1 %, as in the authors' data layer.
LOG_CUTOFF = 4.6052


def gaussian_targets(
    parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float
) -> torch.Tensor:
    """Draw parts [N, K, P, 2] where labeled [N, K, P] as belief maps [N, P+1, h, w], background last.

    Runs in the dtype of parts. Whether a cell is lit is decided by rounding each product and sum on its own, so in
    float32 every backend lights the same cells.
    """
    height, width = size
    spread = 2.0 * sigma * sigma  # px^2
    first = stride / 2.0 - 0.5  # box pixel of cell 0
    x, y = parts[..., 0], parts[..., 1]  # [N, K, P]
    cells_x = torch.arange(width, dtype=parts.dtype, device=parts.device) * stride + first  # [w]
    cells_y = torch.arange(height, dtype=parts.dtype, device=parts.device) * stride + first  # [h]
    squared_x = (cells_x - x[..., None]).square()[..., None, :]  # [N, K, P, 1, w]
    squared_y = (cells_y - y[..., None]).square()[..., :, None]  # [N, K, P, h, 1]
    squared = squared_x + squared_y  # [N, K, P, h, w], px^2
    # The comparison fails for a position that is not finite, so such a part counts as unlabeled.
    lit = (squared <= LOG_CUTOFF * spread) & labeled[..., None, None]
    peaks = torch.where(lit, torch.exp(-squared / spread), 0.0)  # [N, K, P, h, w]
    beliefs = peaks.sum(dim=1).clamp(max=1.0)  # [N, P, h, w]
    background = (1.0 - beliefs.amax(dim=1, keepdim=True)).clamp(min=0.0)  # [N, 1, h, w]
    return torch.cat([beliefs, background], dim=1)
