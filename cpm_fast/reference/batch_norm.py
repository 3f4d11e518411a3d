"""Batch normalization by the statistics of the batch, with ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalize x [N, C, h, w], scale by weight [C], shift by bias [C], then ReLU; return mean and variance [C] too."""
    mean = x.mean((0, 2, 3))
    variance = x.var((0, 2, 3), correction=0)
    factor = weight / torch.sqrt(variance + eps)
    y = (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]  # [N, C, h, w]
    return F.relu(y) if relu else y, mean.detach(), variance.detach()
