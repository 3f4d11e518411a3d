"""`batch_norm`: batch normalization of a training step, with the ReLU and the pool behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.maps import out_shape
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import refuse_gradient
from cpm_fast.ops.spectral.checks import dtype_names
from cpm_fast.reference.batch_norm import batch_norm as reference_batch_norm

Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
# The pool's cells per side.
WINDOW = 2
# The types of maps that the native code reads and writes; everything else is float32.
MAP_TYPES = (torch.float32, torch.bfloat16)


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool, pool: bool = False
) -> Outputs:
    """Normalize each channel by the mean and variance of the batch, scale, shift, and apply ReLU (Ioffe, Szegedy 2015).

    y = max(0, (x - mean) / sqrt(variance + eps) weight + bias), and with `pool` the maximum of each window of 2 x 2
    cells. Differentiable once in x, weight and bias; at 0 the ReLU lets no gradient through, a pool passes it to the
    first of equal cells, and NaN stays NaN. Mean and variance have no gradient. Any number of threads gives the same
    bits.

    Arithmetic and sums are of the dtype of weight. Beside a weight of float32, x may be a map of 16 bits: y and the
    gradient of x are then rounded to its dtype once.

    Args:
        x: [N, C, h, w] floating point with at least one cell, any memory format; the fast path works in channels_last.
        weight, bias: [C], of the dtype of x, or float32 for x of 16 bits; device of x.
        eps: added to the variance, at least 0.
        relu: whether max(0, .) follows.
        pool: whether the maximum of 2 x 2 cells follows, in the same pass over memory; h and w even.

    Returns:
        y [N, C, h, w], or [N, C, h/2, w/2] with `pool`, dtype of x, in channels_last on the fast path; mean [C];
        variance [C], biased: the mean squared distance; both of the dtype of weight.

    Raises:
        ValueError: a shape does not fit, x has no cells, a side is odd before a pool, or eps is negative or not finite.
        TypeError: a tensor is not floating point, or a dtype does not fit.
        RuntimeError: the tensors are on different devices, or the requested backend is missing.

    Examples:
        >>> import torch
        >>> from cpm_fast.ops.batch_norm import batch_norm
        >>> y, mean, variance = batch_norm(torch.randn(2, 3, 8, 8), torch.ones(3), torch.zeros(3), 1e-5, relu=True)
        >>> y.shape, bool((y >= 0).all())
        (torch.Size([2, 3, 8, 8]), True)
    """
    _check(x, weight, bias, eps)
    if pool:
        check_even("x", x)
    check_storage(x=x, weight=weight, bias=bias)
    if not backend.use_fast("batch_norm", x.device.type, missing(x, weight)):
        return reference_batch_norm(x, weight, bias, eps, relu, pool)
    found: Outputs = torch.ops.cpm_fast.batch_norm(x, weight, bias, eps, relu, pool)
    return found


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
    if x.ndim != 4 or not (x.shape[0] and x.shape[2] and x.shape[3]):
        raise ValueError(f"x must be [N, C, h, w] with cells, got {list(x.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor.shape != x.shape[1:2]:
            raise ValueError(f"{name} must be [{x.shape[1]}], got {list(tensor.shape)}")
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}")
        if tensor.device != x.device:
            raise RuntimeError(f"{name} must be on {x.device} as x is, got {tensor.device}")
    if weight.dtype != x.dtype and not (weight.dtype == torch.float32 and x.dtype.itemsize == 2):
        raise TypeError(f"weight must be {x.dtype} as x is, or float32 for x of 16 bits, got {weight.dtype}")
    if bias.dtype != weight.dtype:
        raise TypeError(f"bias must be {weight.dtype} as weight is, got {bias.dtype}")
    check_eps(eps)


def check_eps(eps: float) -> None:
    """Refuse what cannot be added to a variance."""
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps must be a finite number of at least 0, got {eps!r}")


def check_even(name: str, tensor: torch.Tensor) -> None:
    """Refuse a map [N, C, h, w] whose cells are not whole windows of 2 x 2."""
    if tensor.shape[2] % 2 or tensor.shape[3] % 2:
        raise ValueError(f"{name} must have even h and w before a pool, got {list(tensor.shape)}")


def missing(x: torch.Tensor, weight: torch.Tensor) -> str | None:
    """Return why the fast path cannot take a map and a weight; None if it can."""
    if x.device.type == "cpu" and (x.dtype not in MAP_TYPES or weight.dtype != torch.float32):
        return f"the native code takes {dtype_names(MAP_TYPES)} with float32 weights, not {x.dtype} with {weight.dtype}"
    return backend.native_missing("cpu") if x.device.type in ("cpu", "meta") else f"there is none for {x.device.type}"


torch.library.define(
    "cpm_fast::batch_norm",
    "(Tensor x, Tensor weight, Tensor bias, float eps, bool relu, bool pool) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "cpm_fast::batch_norm_backward",
    "(Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps, bool relu, bool pool)"
    " -> (Tensor, Tensor, Tensor)",
)


def new_map(shape: tuple[int, ...], x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return memory for a map beside x."""
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)


@torch.library.register_fake("cpm_fast::batch_norm")
def _fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool, pool: bool) -> Outputs:
    y = new_map(out_shape(x, x.shape[1], WINDOW if pool else 0), x, x.dtype)
    return y, weight.new_empty(x.shape[1]), weight.new_empty(x.shape[1])


@torch.library.register_fake("cpm_fast::batch_norm_backward")
def _fake_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    eps: float,
    relu: bool,
    pool: bool,
) -> Outputs:
    return new_map(tuple(x.shape), x, x.dtype), weight.new_empty(x.shape[1]), weight.new_empty(x.shape[1])


def _params(x: torch.Tensor, eps: float, relu: bool, pool: bool) -> Any:
    cells, width = x.shape[0] * x.shape[2] * x.shape[3], x.shape[3] if pool else 0
    return backend.native().BatchNorm(
        cells=cells, channels=x.shape[1], eps=eps, relu=relu, pooled_width=width, bf16=x.dtype == torch.bfloat16
    )


def cells_first(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor with its channels at consecutive places, and cells in their order."""
    cells = tensor.permute(0, 2, 3, 1)
    return cells if cells.is_contiguous() else cells.contiguous()


def check_gradient(dy: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse a gradient that does not fit y, which autograd would not pass, but a direct call of `torch.ops` may."""
    if dy.shape != shape:
        raise ValueError(f"dy must be {list(shape)} as y is, got {list(dy.shape)}")
    if dy.dtype != dtype:
        raise TypeError(f"dy must be {dtype} as y is, got {dy.dtype}")


def run_native(function: str, given: Sequence[torch.Tensor], made: Sequence[torch.Tensor], params: Any) -> None:
    """Call a native function that reads dense tensors in this order and writes others."""
    addresses = [*(address("an argument", each) for each in given), *(address("a result", each) for each in made)]
    getattr(backend.native(), function)(*addresses, params, backend.threads())


def _cpu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, relu: bool, pool: bool) -> Outputs:
    made = _fake(x, weight, bias, eps, relu, pool)
    given = [cells_first(x), weight.contiguous(), bias.contiguous()]
    run_native("batch_norm_cpu", given, made, _params(x, eps, relu, pool))
    return made


def _cpu_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    eps: float,
    relu: bool,
    pool: bool,
) -> Outputs:
    check_gradient(dy, out_shape(x, x.shape[1], WINDOW if pool else 0), x.dtype)
    made = _fake_backward(dy, x, weight, bias, mean, variance, eps, relu, pool)
    vectors = (vector.contiguous() for vector in (weight, bias, mean, variance))
    given = [cells_first(dy), cells_first(x), *vectors]
    run_native("batch_norm_gradient_cpu", given, made, _params(x, eps, relu, pool))
    return made


def _save(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    x, weight, bias, ctx.eps, ctx.relu, ctx.pool = inputs
    ctx.save_for_backward(x, weight, bias, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, dy: torch.Tensor, *_: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    gradients = torch.ops.cpm_fast.batch_norm_backward(dy, *ctx.saved_tensors, ctx.eps, ctx.relu, ctx.pool)
    needed = ctx.needs_input_grad[:3]
    return *(gradient if need else None for gradient, need in zip(gradients, needed, strict=True)), None, None, None


torch.library.impl("cpm_fast::batch_norm", "CPU", _cpu)
torch.library.impl("cpm_fast::batch_norm_backward", "CPU", _cpu_backward)
torch.library.register_autograd("cpm_fast::batch_norm", _gradients, setup_context=_save)
refuse_gradient("batch_norm_backward", "batch_norm has no second gradient; the reference backend has one")
