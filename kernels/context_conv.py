"""`context_conv` and its gradients by the direct kernels: allocation, the order of launches, and sizes of zero."""

from __future__ import annotations

import torch

from cpm_fast.kernels.direct_conv import forward_launch
from cpm_fast.kernels.direct_conv_weight import dweight_launches, gate_launches

PACKED = torch.channels_last


def forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool, mode: str, capability: int
) -> torch.Tensor:
    """Compute y [N, O, h, w], packed channels_last, of x [N, C, h, w], weight [O, C, k, k], bias [O] in any format.

    It runs on the current stream of the current device, which must be x's, without waiting.

    Args:
        x, weight, bias: of one dtype and device.
        relu: whether max(0, .) follows.
        mode: one of `plans.MODES`, that of the dtype; float32 has three.
        capability: of the device, 80 or 90 and so on.

    Raises:
        ValueError: a row of the picture or a kernel has too many values.
    """
    x, weight, bias = packed(x), packed(weight), bias.contiguous()
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=PACKED)
    if y.numel():
        forward_launch(x, weight, bias, y, relu, mode, capability).run()
    return y


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    y: torch.Tensor | None,
    needed: tuple[bool, bool, bool],
    mode: str,
    capability: int,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Compute the gradients of x, weight and bias, each None if it is not needed.

    Args:
        dy: [N, O, h, w], the gradient of the result.
        x, weight: as in `forward`.
        y: the result, where ReLU followed; otherwise None.
        needed: whether dx, dweight and dbias are.
        mode, capability: as in `forward`.

    Raises:
        ValueError: a row of the picture or a kernel has too many values.
    """
    need_dx, need_dweight, need_dbias = needed
    dy, x = packed(dy), packed(x)
    dx = dweight = dbias = None
    if need_dbias or (y is not None and (need_dx or need_dweight)):
        dy, dbias = _gate(dy, None if y is None else packed(y), capability)
    if need_dx:
        # The gradient of a same-size convolution is a convolution with the kernel rotated by 180 degrees and channels
        # swapped.
        turned = packed(weight.flip(2, 3).transpose(0, 1))
        dx = forward(dy, turned, weight.new_zeros(weight.shape[1]), False, mode, capability)
    if need_dweight:
        dweight = _dweight(dy, x, weight, mode, capability)
    return dx, dweight, dbias if need_dbias else None


def packed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor with its channels innermost and no gaps; itself if it is so already."""
    return tensor.contiguous(memory_format=PACKED)


def _gate(dy: torch.Tensor, y: torch.Tensor | None, capability: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dy where y > 0, and its sums over pixels."""
    if not dy.numel():
        return dy, dy.new_zeros(dy.shape[1])
    dbias = torch.empty((dy.shape[1],), dtype=dy.dtype, device=dy.device)
    gated = None if y is None else torch.empty_like(dy, memory_format=PACKED)
    for launch in gate_launches(dy, y, gated, dbias, capability):
        launch.run()
    return dy if gated is None else gated, dbias


def _dweight(dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, mode: str, capability: int) -> torch.Tensor:
    dweight = torch.empty(weight.shape, dtype=x.dtype, device=x.device, memory_format=PACKED)
    if not dy.numel() or not dweight.numel():
        return dweight.zero_()
    for launch in dweight_launches(x, dy, dweight, mode, capability):
        launch.run()
    return dweight
