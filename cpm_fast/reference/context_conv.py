"""The same-size convolution that every layer of the network is made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def context_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    """Correlate x [N, C, h, w] with weight [O, C, k, k], add bias [O], then apply ReLU if `relu`."""
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)  # [N, O, h, w]
    return F.relu(y) if relu else y
