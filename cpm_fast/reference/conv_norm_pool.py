"""The first layers of a network in training: convolution, batch normalization, ReLU and a maximum pool."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cpm_fast.reference.batch_norm import batch_norm


def conv_norm_pool(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
    dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Correlate x [N, C, h, w] with weight [O, C, 3, 3] and add bias; normalize with scale and shift, ReLU and pool.

    Round the result to dtype; None is that of x.
    """
    y, mean, variance = batch_norm(F.conv2d(x, weight, bias, padding=1), scale, shift, eps, relu=True, pool=True)
    return y.to(x.dtype if dtype is None else dtype), mean, variance
