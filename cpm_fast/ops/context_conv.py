"""`context_conv`: the same-size large-kernel convolution with bias and ReLU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops.maps import Pool, check_pool, check_weight
from cpm_fast.ops.memory import check_storage
from cpm_fast.ops.plans.cpu import PAIR_SIMD, WINOGRAD, ConvShape, CpuPlan, choose_tile
from cpm_fast.ops.plans.cuda import choose_cuda_tile
from cpm_fast.ops.plans.modes import DTYPES, capability_of, mode_of
from cpm_fast.ops.registration import refuse_gradient
from cpm_fast.ops.spectral.library import conv_of_weight
from cpm_fast.ops.spectral.pooled import pooled_conv
from cpm_fast.ops.winograd_conv import conv_of_weight_once
from cpm_fast.reference.context_conv import context_conv as reference_context_conv

# The plan of arguments of float32.
FLOAT_PLAN = CpuPlan()
# The time of PyTorch's own products of bfloat16, compared with the plan's direct form of float32: 1.1 ms per GFLOP of a
# 3x3 layer of 32 to 144 channels at a batch of 16, forward and back, on two Zen 5 cores.
PYTORCH_PAIRS = 0.25


def context_conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool, pool: Pool | None = None
) -> torch.Tensor:
    """Apply a same-size k x k convolution with bias, ReLU and pooling: the layer of Wei et al. 2016, Figure 2.

    Zero padding k // 2 on each side and stride 1, so the map keeps its size. Differentiable once in x, weight and bias;
    at 0 the ReLU lets no gradient through. Sums are float32 for 16-bit arguments. On CUDA float32 arguments are
    multiplied as `torch.backends.cudnn.conv.fp32_precision` says, like those of F.conv2d: "tf32", the default of
    PyTorch, in TF32; "ieee" in IEEE float32; otherwise (`torch.backends.cudnn.allow_tf32 = False`) in 3xTF32, which is
    as exact as float32 and uses tensor cores. Gradients of weight and bias have a fixed order of summation.

    Each shape is computed directly, by tiles in the frequency domain (`spectral_conv`), or for 3x3 kernels on the CPU
    by minimal filtering (`bound_winograd_conv`), whichever is faster by the plan of the device. Errors of tiles are a
    share of their largest value; on the CPU images for which that matters run directly, as those functions say, forward
    and in the gradient of x. On CUDA a value that is not finite
    reaches all outputs of the tiles that cover it, and float32 arguments are multiplied in 3xTF32 in place of TF32.
    Spectra of 16-bit arguments are stored in fp16: sums over a tile, divided by its side, must stay below 65504, as
    they do where all values of x and of the result are below 1000.

    Under autocast x, weight and bias are cast to its dtype, as those of F.conv2d are. On the CPU 16-bit arguments are
    widened to float32 where that is faster: in the frequency domain, and on processors without products of bfloat16.

    Args:
        x: [N, C, h, w] floating point, any memory format; the fast path works in channels_last.
        weight: [O, C, k, k], k odd and at most 15, dtype and device of x.
        bias: [O], dtype and device of x.
        relu: whether max(0, .) follows.
        pool: (side, padding): the maximum over windows of 2 or 3 cells per side, two apart, follows; the first window
            begins `padding` cells before the map, 0, or 1 of 3. Windows are clipped at the border. h and w even. With
            ReLU, in float32 and in the frequency domain on the CPU, the map before the pool is never written.

    Returns:
        [N, O, h, w], [N, O, h/2, w/2] with pool; in channels_last on the fast path.

    Raises:
        ValueError: a shape does not fit, or k is even or above 15.
        TypeError: a tensor is not floating point, or dtypes differ outside autocast.
        RuntimeError: the tensors are on different devices, or the backend is missing.

    Examples:
        >>> x, weight, bias = torch.ones(1, 2, 6, 6), torch.ones(4, 2, 3, 3), torch.zeros(4)
        >>> y = context_conv(x, weight, bias, relu=True)
        >>> list(y.shape), round(y[0, 0, 3, 3].item())
        ([1, 4, 6, 6], 18)
    """
    _check(x, weight, bias)
    check_pool(x, pool)
    check_storage(x=x, weight=weight, bias=bias)
    if pool is not None:
        tile = _pooled_tile(x, weight) if relu else None
        if tile is not None:
            return pooled_conv(x, weight, bias, tile, pool)
        side, padding = pool
        return F.max_pool2d(context_conv(x, weight, bias, relu), side, 2, padding, ceil_mode=padding == 0)
    # Direct convolutions on the CPU are PyTorch's, which a plain call reaches without the cost of an opaque op: 13 % of
    # a training step of the compact network. A compiler sees the op, which chooses when it runs.
    chooses = x.device.type == "cpu" and not torch.compiler.is_compiling()
    direct = x.device.type == "meta" or (chooses and _is_pytorchs(x, weight))
    if direct or not backend.use_fast("context_conv", x.device.type, _missing(x)):
        return reference_context_conv(x, weight, bias, relu)
    return torch.ops.cpm_fast.context_conv(x, weight, bias, relu)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"x must be [N, C, h, w], got {list(x.shape)}")
    check_weight(weight)
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


def _missing(x: torch.Tensor) -> str | None:
    """Return why the fast path cannot take x; None if it can."""
    if x.device.type == "cpu":
        return backend.native_missing("cpu")
    if x.dtype not in DTYPES:
        return f"its kernels have no {x.dtype}"
    return backend.triton_missing(x.device.type, x.device.index)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """Return the type in which the op computes on the CPU."""
    cast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if cast else x.dtype


def _tile(x: torch.Tensor, weight: torch.Tensor) -> int | None:
    """Return the tile of the spectral form on the CPU; None for the direct form."""
    dtype = _dtype(x)
    if dtype == torch.float64 or weight.dtype == torch.float64 or backend.native_missing("cpu") is not None:
        return None
    return choose_tile(_shape(x, weight), None, PYTORCH_PAIRS if _has_products(dtype) else 1.0)


def _pooled_tile(x: torch.Tensor, weight: torch.Tensor) -> int | None:
    """Return the tile of the spectral form whose map before a pool is never written; None for other forms."""
    plain = x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    if not plain or {x.dtype, weight.dtype} != {torch.float32}:
        return None
    return _tile(x, weight) if backend.use_fast("context_conv", "cpu", _missing(x)) else None


def transforms(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether autocast would round arguments on the CPU that the op then transforms in float32.

    A caller that goes on in float32 leaves autocast for such a layer: it saves the conversions, and the rounding.
    """
    cast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    if not cast or not {x.dtype, weight.dtype} <= {torch.float32, _dtype(x)} or _tile(x, weight) is None:
        return False
    return backend.use_fast("context_conv", "cpu", _missing(x))


def _has_products(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies numbers of a 16-bit type."""
    return dtype == torch.bfloat16 and PAIR_SIMD in backend.native().simd_choices().split()


def _widens(dtype: torch.dtype) -> bool:
    """Return whether direct convolutions on the CPU compute 16-bit arguments in float32."""
    return dtype.itemsize == 2 and backend.native_missing("cpu") is None and not _has_products(dtype)


def _is_pytorchs(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether the op on the CPU would only call PyTorch's convolution."""
    return _tile(x, weight) is None and not _widens(_dtype(x)) and not _filters(x, weight, _dtype(x))


def _filters(x: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether arguments of a type are convolved by minimal filtering on the CPU.

    Those of 16 bits are not: to widen maps that do not fit into the caches costs more than it saves.
    """
    if {dtype, weight.dtype} != {torch.float32} or backend.native_missing("cpu") is not None:
        return False
    return FLOAT_PLAN.tile(_shape(x, weight)) == WINOGRAD


def _shape(x: torch.Tensor, weight: torch.Tensor) -> ConvShape:
    return ConvShape(len(x), x.shape[1], weight.shape[0], weight.shape[-1], (x.shape[2], x.shape[3]))


torch.library.define("cpm_fast::context_conv", "(Tensor x, Tensor weight, Tensor bias, bool relu) -> Tensor")
# y is the result if ReLU followed. Gradients of x, weight and bias that are not needed have no elements.
torch.library.define(
    "cpm_fast::context_conv_backward",
    "(Tensor dy, Tensor x, Tensor weight, Tensor? y, bool[3] needed) -> (Tensor, Tensor, Tensor)",
)


def _empty(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


@torch.library.register_fake("cpm_fast::context_conv")
def _fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    return _empty((x.shape[0], weight.shape[0], *x.shape[2:]), x)


@torch.library.register_fake("cpm_fast::context_conv_backward")
def _fake_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor | None, needed: list[bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dx = _empty(x.shape, x) if needed[0] else x.new_empty(0)
    like = torch.empty_like(weight) if x.device.type == "cpu" else _empty(weight.shape, weight)
    dweight = like if needed[1] else x.new_empty(0)
    return dx, dweight, x.new_empty(weight.shape[0] if needed[2] else 0)


def _cpu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    if _filters(x, weight, x.dtype):
        return conv_of_weight_once(x, weight, bias, relu)
    tile = _tile(x, weight)
    if x.dtype.itemsize == 2 and (tile is not None or _widens(x.dtype)):
        return _cpu(x.float(), weight.float(), bias.float(), relu).to(x.dtype)
    if tile is not None:
        return conv_of_weight(x, None, weight, tile, bias, relu)
    x = x.contiguous(memory_format=torch.channels_last)
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    y = y.contiguous(memory_format=torch.channels_last)
    return F.relu_(y) if relu else y


def _cpu_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor | None, needed: list[bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if needed[0] and _filters(dy, weight.transpose(0, 1), dy.dtype):
        gated = dy if y is None else torch.ops.aten.threshold_backward(dy, y, 0)
        dx = conv_of_weight_once(gated, weight, None, False, adjoint=True)
        _, dweight, dbias = _cpu_backward(dy, x, weight, y, [False, *needed[1:]])
        return dx, dweight, dbias
    tile = _tile(x, weight)
    if x.dtype.itemsize == 2 and (tile is not None or _widens(x.dtype)):
        wide_y = None if y is None else y.float()
        dx, dweight, dbias = _cpu_backward(dy.float(), x.float(), weight.float(), wide_y, needed)
        return dx.to(x.dtype), dweight.to(x.dtype), dbias.to(x.dtype)
    if tile is not None:
        return _spectral_backward(dy, x, weight, y, needed, tile)
    if y is not None:
        dy = torch.ops.aten.threshold_backward(dy, y, 0)
    if not any(needed[:2]):
        return x.new_empty(0), x.new_empty(0), dy.sum((0, 2, 3)) if needed[2] else x.new_empty(0)
    pad = weight.shape[-1] // 2
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        dy, x, weight, None, (1, 1), (pad, pad), (1, 1), False, (0, 0), 1, [*needed[:2], False]
    )
    return (
        dx.contiguous(memory_format=torch.channels_last) if needed[0] else x.new_empty(0),
        (dweight if dweight.stride() == weight.stride() else torch.empty_like(weight).copy_(dweight))
        if needed[1]
        else x.new_empty(0),
        dy.sum((0, 2, 3)) if needed[2] else x.new_empty(0),
    )


def _spectral_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor | None, needed: list[bool], tile: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dx, dweight, dbias = x.new_empty(0), x.new_empty(0), x.new_empty(0)
    kernel = weight.shape[-1]
    if needed[0]:
        dx = conv_of_weight(dy, y, weight, tile, None, False, adjoint=True)
    if needed[1] or needed[2]:
        dweight, dbias = torch.ops.cpm_fast.spectral_weight_gradient(dy, y, x, kernel, tile)
        # Another layout than the weight's would be copied into it: 4 % of a training step of the compact network.
        dweight = torch.empty_like(weight).copy_(dweight) if dweight.stride() != weight.stride() else dweight
    return dx, dweight if needed[1] else x.new_empty(0), dbias if needed[2] else x.new_empty(0)


def _cuda(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    mode, capability = mode_of(x.dtype), capability_of(x.device)
    tile = choose_cuda_tile(_shape(x, weight), mode, training=True)
    with torch.cuda.device(x.device):
        if tile is None:
            from cpm_fast.kernels import context_conv as direct

            return direct.forward(x, weight, bias, relu, mode, capability)
        from cpm_fast.kernels import spectral_conv as spectral

        spectra = spectral.transform_weight(weight, tile, False, spectral.FORWARD_SPECTRA[mode], mode)
        return spectral.forward(x, spectra, bias, relu, weight.shape[-1], mode, capability)


def _cuda_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor | None, needed: list[bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mode, capability = mode_of(x.dtype), capability_of(x.device)
    # A bias alone needs no transform.
    tile = choose_cuda_tile(_shape(x, weight), mode, training=True) if needed[0] or needed[1] else None
    need = (needed[0], needed[1], needed[2])
    with torch.cuda.device(x.device):
        if tile is None:
            from cpm_fast.kernels import context_conv as direct

            gradients = direct.backward(dy, x, weight, y, need, mode, capability)
        else:
            from cpm_fast.kernels import spectral_conv as spectral

            gradients = spectral.backward(dy, x, weight, y, need, tile, mode, capability)
    dx, dweight, dbias = (x.new_empty(0) if gradient is None else gradient for gradient in gradients)
    return dx, dweight, dbias


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, _, relu = inputs
    ctx.save_for_backward(x, weight, output if relu else None)


def _gradients(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight, y = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:3])
    gradients = torch.ops.cpm_fast.context_conv_backward(dy, x, weight, y, needed)
    return *(gradient if need else None for gradient, need in zip(gradients, needed, strict=True)), None


def _register_autocast(kind: str, key: str) -> None:
    def cast(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
        dtype = torch.get_autocast_dtype(kind)
        # As autocast does for F.conv2d, which leaves float64 alone.
        x, weight, bias = (t if t.dtype == torch.float64 else t.to(dtype) for t in (x, weight, bias))
        with torch.autocast(kind, enabled=False):
            return torch.ops.cpm_fast.context_conv(x, weight, bias, relu)

    torch.library.impl("cpm_fast::context_conv", key, cast)


torch.library.impl("cpm_fast::context_conv", "CPU", _cpu)
torch.library.impl("cpm_fast::context_conv_backward", "CPU", _cpu_backward)
torch.library.impl("cpm_fast::context_conv", "CUDA", _cuda)
torch.library.impl("cpm_fast::context_conv_backward", "CUDA", _cuda_backward)
torch.library.register_autograd("cpm_fast::context_conv", _gradients, setup_context=_save)
refuse_gradient("context_conv_backward", "context_conv has no second gradient; the reference backend has one")
_register_autocast("cpu", "AutocastCPU")
_register_autocast("cuda", "AutocastCUDA")
