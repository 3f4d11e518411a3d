"""Batch normalization by the statistics of the batch, with ReLU and a maximum pool."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool, pool: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalize x [N, C, h, w], scale by weight [C], shift by bias [C], then ReLU, then the maximum of 2 x 2 cells.

    Return mean and variance [C] too.
    """
    mean = x.mean((0, 2, 3))
    variance = x.var((0, 2, 3), correction=0)
    factor = weight / torch.sqrt(variance + eps)
    y = (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]  # [N, C, h, w]
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, 2) if pool else y, mean.detach(), variance.detach()
