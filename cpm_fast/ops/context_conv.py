"""`context_conv`: the same-size large-kernel convolution with bias and ReLU."""

from __future__ import annotations

import torch

from cpm_fast.reference.context_conv import context_conv as reference_context_conv

MAX_KERNEL = 15


def context_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    """Same-size k x k convolution, bias and ReLU fused; the layer of Wei et al. 2016, Figure 2.

    Zero padding k // 2 on each side and stride 1, so the map keeps its size. Differentiable in x, weight and bias.

    Args:
        x: [N, C, h, w] floating point, any memory format; the result has the format the convolution prefers.
        weight: [O, C, k, k], k odd and at most 15, dtype and device of x.
        bias: [O], dtype and device of x.
        relu: whether max(0, .) follows.

    Returns:
        [N, O, h, w].

    Raises:
        ValueError: a shape does not fit, or k is even or above 15.
        TypeError: a tensor is not floating point, or dtypes differ outside autocast.
        RuntimeError: the tensors are on different devices.
    """
    _check(x, weight, bias)
    return reference_context_conv(x, weight, bias, relu)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"x must be [N, C, h, w], got {list(x.shape)}")
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"weight must be [O, C, k, k] with odd k, got {list(weight.shape)}")
    if weight.shape[2] > MAX_KERNEL:
        raise ValueError(f"weight must have k of at most {MAX_KERNEL}, got {list(weight.shape)}")
    if weight.shape[1] != x.shape[1]:
        raise ValueError(f"weight must have C = {x.shape[1]} input channels as x has, got {list(weight.shape)}")
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{weight.shape[0]}], got {list(bias.shape)}")
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}")
        if tensor.device != x.device:
            raise RuntimeError(f"{name} must be on {x.device} as x is, got {tensor.device}")
        if tensor.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"{name} must be {x.dtype} as x is, got {tensor.dtype}")
