"""Batch normalization by the statistics of the batch, with ReLU and a maximum pool."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool, pool: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalize x [N, C, h, w], scale by weight [C], shift by bias [C], then ReLU, then the maximum of 2 x 2 cells.

    Compute in the dtype of weight, and round the result to that of x. Return mean and variance [C] too.
    """
    values = x.to(weight.dtype)
    mean = values.mean((0, 2, 3))
    variance = values.var((0, 2, 3), correction=0)
    factor = weight / torch.sqrt(variance + eps)
    y = (values - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]  # [N, C, h, w]
    y = F.relu(y) if relu else y
    y = F.max_pool2d(y, 2) if pool else y
    return y.to(x.dtype), mean.detach(), variance.detach()
