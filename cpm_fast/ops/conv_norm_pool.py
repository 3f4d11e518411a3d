"""`conv_norm_pool`: the first layers of a network in training as one, whose map of full size never exists."""

from __future__ import annotations

from typing import Any

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.batch_norm import (
    WINDOW,
    Outputs,
    cells_first,
    check_eps,
    check_even,
    check_gradient,
    missing,
    new_map,
    run_native,
)
from cpm_fast.ops.maps import out_shape
from cpm_fast.ops.memory import check_storage
from cpm_fast.ops.registration import refuse_gradient
from cpm_fast.reference.conv_norm_pool import conv_norm_pool as reference_conv_norm_pool

KERNEL = 3


def conv_norm_pool(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
) -> Outputs:
    """Apply a same-size 3x3 convolution, `batch_norm` with ReLU, and a pool of 2 x 2 cells.

    It equals those ops one after another to rounding. They write and read the largest map of a network again and again;
    this one computes the map again, in cache, which pays for few inputs such as the colors of a picture. It computes in
    the dtype of x, under autocast too; under autocast to bfloat16, y of float32 arguments is rounded to it in the end.

    Differentiable once in weight, scale and shift; the gradient of bias is 0, since the mean takes it away. Any number
    of threads gives the same bits.

    Args:
        x: [N, C, h, w] floating point with cells, h and w even, any memory format; it must require no gradient.
        weight: [O, C, 3, 3], dtype and device of x.
        bias: [O], of the convolution.
        scale, shift: [O], weight and bias of the normalization.
        eps: added to the variance, at least 0.

    Returns:
        y [N, O, h/2, w/2], in channels_last on the fast path; mean [O] and variance [O] of the convolution's result.

    Raises:
        ValueError: a shape does not fit, x has no cells, a side is odd, or eps is negative or not finite.
        TypeError: a tensor is not floating point, or dtypes differ.
        RuntimeError: x requires a gradient, the devices differ, or the requested backend is missing.

    Examples:
        >>> import torch
        >>> from cpm_fast.ops.conv_norm_pool import conv_norm_pool
        >>> ones = torch.ones(16)
        >>> y, mean, variance = conv_norm_pool(torch.rand(2, 3, 8, 8), torch.rand(16, 3, 3, 3), ones, ones, ones, 1e-5)
        >>> y.shape
        torch.Size([2, 16, 4, 4])
    """
    _check(x, weight, bias=bias, scale=scale, shift=shift)
    check_eps(eps)
    check_storage(x=x, weight=weight, bias=bias, scale=scale, shift=shift)
    if x.requires_grad and torch.is_grad_enabled():
        raise RuntimeError("conv_norm_pool has no gradient in x; context_conv and batch_norm have one")
    dtype = _result_dtype(x)
    if not backend.use_fast("conv_norm_pool", x.device.type, missing(x, weight)):
        with torch.autocast(x.device.type, enabled=False):
            return reference_conv_norm_pool(x, weight, bias, scale, shift, eps, dtype)
    y, _, mean, variance, _ = torch.ops.cpm_fast.conv_norm_pool(x, weight, bias, scale, shift, eps, dtype)
    return y, mean, variance


def _result_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype of y."""
    kind = x.device.type
    cast = kind != "meta" and x.dtype == torch.float32 and torch.is_autocast_enabled(kind)
    return torch.bfloat16 if cast and torch.get_autocast_dtype(kind) == torch.bfloat16 else x.dtype


def _check(x: torch.Tensor, weight: torch.Tensor, **vectors: torch.Tensor) -> None:
    if x.ndim != 4 or not x.numel():
        raise ValueError(f"x must be [N, C, h, w] with cells and channels, got {list(x.shape)}")
    check_even("x", x)
    wanted = [KERNEL, KERNEL]
    if weight.ndim != 4 or weight.shape[1] != x.shape[1] or list(weight.shape[2:]) != wanted:
        raise ValueError(f"weight must be [O, {x.shape[1]}, {KERNEL}, {KERNEL}], got {list(weight.shape)}")
    for name, vector in vectors.items():
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{name} must be [{weight.shape[0]}], got {list(vector.shape)}")
    for name, tensor in {"x": x, "weight": weight, **vectors}.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}")
        if tensor.device != x.device:
            raise RuntimeError(f"{name} must be on {x.device} as x is, got {tensor.device}")
        if tensor.dtype != x.dtype:
            raise TypeError(f"{name} must be {x.dtype} as x is, got {tensor.dtype}")


# Results are y, places like y, mean, variance and moments [1 + 9 C, 9 C] float64, as in the C++ header; places and
# moments are for the gradient.
torch.library.define(
    "cpm_fast::conv_norm_pool",
    "(Tensor x, Tensor weight, Tensor bias, Tensor scale, Tensor shift, float eps, ScalarType dtype)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "cpm_fast::conv_norm_pool_backward",
    "(Tensor dy, Tensor places, Tensor x, Tensor weight, Tensor scale, Tensor variance, Tensor moments, float eps,"
    " ScalarType dtype) -> (Tensor, Tensor, Tensor)",
)
Kept = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@torch.library.register_fake("cpm_fast::conv_norm_pool")
def _fake(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
) -> Kept:
    outputs, taps = weight.shape[0], KERNEL**2 * x.shape[1]
    shape = out_shape(x, outputs, WINDOW)
    y, places = new_map(shape, x, dtype), new_map(shape, x, torch.uint8)
    return y, places, x.new_empty(outputs), x.new_empty(outputs), x.new_empty(1 + taps, taps, dtype=torch.float64)


@torch.library.register_fake("cpm_fast::conv_norm_pool_backward")
def _fake_backward(
    dy: torch.Tensor,
    places: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    variance: torch.Tensor,
    moments: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
) -> Outputs:
    return x.new_empty(weight.shape), torch.empty_like(scale), torch.empty_like(scale)


def _params(x: torch.Tensor, weight: torch.Tensor, eps: float, dtype: torch.dtype) -> Any:
    images, inputs, height, width = x.shape
    return backend.native().ConvNormPool(
        images=images,
        height=height,
        width=width,
        inputs=inputs,
        outputs=weight.shape[0],
        eps=eps,
        bf16=dtype == torch.bfloat16,
    )


def _cpu(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
) -> Kept:
    made = _fake(x, weight, bias, scale, shift, eps, dtype)
    given = [cells_first(x), *(tensor.contiguous() for tensor in (weight, bias, scale, shift))]
    run_native("conv_norm_pool_cpu", given, made, _params(x, weight, eps, dtype))
    return made


def _cpu_backward(
    dy: torch.Tensor,
    places: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    variance: torch.Tensor,
    moments: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
) -> Outputs:
    shape = out_shape(x, weight.shape[0], WINDOW)
    check_gradient(dy, shape, dtype)
    if places.shape != shape or places.dtype != torch.uint8:
        raise ValueError(f"places must be {list(shape)} uint8, got {list(places.shape)} {places.dtype}")
    made = _fake_backward(dy, places, x, weight, scale, variance, moments, eps, dtype)
    weights = (tensor.contiguous() for tensor in (weight, scale, variance, moments))
    given = [cells_first(dy), cells_first(places), cells_first(x), *weights]
    run_native("conv_norm_pool_gradient_cpu", given, made, _params(x, weight, eps, dtype))
    return made


def _save(ctx: Any, inputs: tuple[Any, ...], output: Kept) -> None:
    x, weight, _, scale, _, ctx.eps, ctx.dtype = inputs
    _, places, _, variance, moments = output
    ctx.save_for_backward(places, x, weight, scale, variance, moments)
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, dy: torch.Tensor, *_: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    backward = torch.ops.cpm_fast.conv_norm_pool_backward
    dweight, dscale, dshift = backward(dy, *ctx.saved_tensors, ctx.eps, ctx.dtype)
    made = (None, dweight, torch.zeros_like(dshift), dscale, dshift)
    needed = ctx.needs_input_grad[:5]
    return *(gradient if need else None for gradient, need in zip(made, needed, strict=True)), None, None


torch.library.impl("cpm_fast::conv_norm_pool", "CPU", _cpu)
torch.library.impl("cpm_fast::conv_norm_pool_backward", "CPU", _cpu_backward)
torch.library.register_autograd("cpm_fast::conv_norm_pool", _gradients, setup_context=_save)
refuse_gradient("conv_norm_pool_backward", "conv_norm_pool has no second gradient; the reference backend has one")
