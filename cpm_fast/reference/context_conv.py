"""The same-size convolution that every layer of the network is made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def context_conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool, pool: tuple[int, int] | None = None
) -> torch.Tensor:
    """Correlate x [N, C, h, w] with weight [O, C, k, k], add bias [O], then apply ReLU if `relu`.

    With pool of (side, padding) the maximum of windows two cells apart follows; h and w are even.
    """
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)  # [N, O, h, w]
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y
