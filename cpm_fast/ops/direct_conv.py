"""`direct_conv`: a same-size convolution by plain sums, for small kernels and few channels; inference on the CPU."""

from __future__ import annotations

from typing import Any

import torch

from cpm_fast.config import MAX_KERNEL
from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import BoundLayer, Chain
from cpm_fast.ops.maps import (
    NO_POOL,
    Pool,
    check_out,
    check_pool,
    check_weight,
    note_written,
    out_shape,
    pitch_of,
)
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import check_no_gradient, refuse_gradient
from cpm_fast.ops.spectral.checks import check_tensors, dtype_names
from cpm_fast.ops.spectral.workspace import workspaces
from cpm_fast.reference.direct_conv import BLOCK
from cpm_fast.reference.direct_conv import direct_conv as reference_direct_conv
from cpm_fast.reference.direct_conv import pack_weight as reference_pack_weight

# The types of packed weights.
PACKED_TYPES = (torch.float32, torch.bfloat16)


def pack_weight(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a convolution's weight in the order in which `direct_conv` reads it.

    Args:
        weight: [O, C, k, k] float32 on the CPU, k odd and at most 15.
        dtype: of the result, and so of the products: float32 or bfloat16.

    Returns:
        [ceil(O / 16), k, k, C, 16], 0 in outputs beyond the last; of bfloat16 [ceil(O / 16), k, k, ceil(C / 2), 16, 2],
        0 in inputs beyond the last too. No gradient flows to weight.

    Raises:
        ValueError: weight has another shape.
        TypeError: weight is not float32, or there is no such form.
        RuntimeError: weight is on another device, or requires a gradient in grad mode.

    Examples:
        >>> pack_weight(torch.rand(20, 3, 5, 5)).shape  # 2 blocks of 16 outputs
        torch.Size([2, 5, 5, 3, 16])
    """
    check_packing("pack_weight", weight, dtype)
    if not backend.use_fast("pack_weight", "cpu", backend.native_missing("cpu")):
        return reference_pack_weight(weight, dtype)
    return torch.ops.cpm_fast.pack_weight(weight, dtype)


def direct_conv(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: Pool | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply a same-size k x k convolution with bias, ReLU and pooling; `pack_weight` has packed its weight.

    Equal to `context_conv` to rounding: of float32, or with a weight of bfloat16 of x and weight to bfloat16 (to the
    nearest, ties to even), whose products are added in float32. Any number of threads gives the same bits, and pooling
    the bits that `F.max_pool2d` of the whole output would give.

    Args:
        x: [N, C, h, w] float32 on the CPU, best in channels_last or some channels of such a map.
        packed: of `pack_weight`, contiguous.
        bias: [O] float32.
        relu: whether max(0, .) follows.
        pool: as for `spectral_conv`.
        out: as for `spectral_conv`.

    Returns:
        [N, O, h, w] float32, [N, O, h/2, w/2] with pool, channels_last; or out. No gradient flows: `context_conv` is
        the differentiable op.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a tensor is not float32, or packed not float32 or bfloat16.
        RuntimeError: a tensor is not on the CPU, or requires a gradient in grad mode, or the backend is missing.
    """
    _check(x, packed, bias, pool, out)
    check_no_gradient("direct_conv", x=x, packed=packed, bias=bias, out=out)
    check_storage(x=x, packed=packed, bias=bias, out=out)
    side, padding = pool or NO_POOL
    if not backend.use_fast("direct_conv", "cpu", backend.native_missing("cpu")):
        made = reference_direct_conv(x, packed, bias, relu, pool)
        return made if out is None else out.copy_(made)
    if out is None:
        return torch.ops.cpm_fast.direct_conv(x, packed, bias, relu, side, padding)
    torch.ops.cpm_fast.direct_conv_out(x, packed, bias, relu, side, padding, out)
    note_written(out)
    return out


def bound_direct_conv(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: Pool | None,
    out: torch.Tensor,
) -> Chain:
    """Bind `direct_conv` to these tensors, checked once: every call reads their current values, and writes out.

    Raises:
        As `direct_conv`; RuntimeError too where the native module is missing; ValueError where x is not in
        channels_last or channels of such a map.
    """
    _check(x, packed, bias, pool, out)
    if pitch_of(x) is None or not bias.is_contiguous():
        raise ValueError("x must be in channels_last, or channels of such a map, and bias contiguous")
    params = _params(x, packed, bias, pool or NO_POOL, out)

    def add(native: Any, *addresses: int) -> None:
        native.direct_conv(*addresses, params, relu)

    return Chain([BoundLayer({"x": x, "packed": packed, "bias": bias, "out": out}, add)])


def check_packing(op: str, weight: torch.Tensor, dtype: torch.dtype) -> None:
    """Refuse a weight that an op can't prepare on the CPU, and a type that it does not have."""
    check_weight(weight)
    check_tensors("weight", weight=weight)
    if dtype not in PACKED_TYPES:
        raise TypeError(f"dtype must be {dtype_names(PACKED_TYPES)}, got {dtype}")
    if weight.device.type != "cpu":
        raise RuntimeError(f"weight must be on the CPU, got {weight.device}")
    check_no_gradient(op, weight=weight)
    check_storage(weight=weight)


def _check(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, pool: Pool | None, out: torch.Tensor | None
) -> None:
    if x.ndim != 4:
        raise ValueError(f"x must be [N, C, h, w], got {list(x.shape)}")
    if bias.ndim != 1:
        raise ValueError(f"bias must be [O], got {list(bias.shape)}")
    kernel = packed.shape[1] if packed.ndim in (5, 6) else 0
    wanted = _packed_shape(len(bias), x.shape[1], kernel, packed.dtype)
    if packed.shape != wanted or kernel % 2 == 0 or kernel > MAX_KERNEL or not packed.is_contiguous():
        raise ValueError(
            f"packed must be {['blocks', 'k', 'k', *wanted[3:]]} of pack_weight, with "
            f"{wanted[0]} blocks, got {list(packed.shape)}"
        )
    if packed.dtype not in PACKED_TYPES:
        raise TypeError(f"packed must be {dtype_names(PACKED_TYPES)}, got {packed.dtype}")
    check_tensors("x", x=x, bias=bias)
    if packed.device != x.device:
        raise RuntimeError(f"packed must be on {x.device} as x is, got {packed.device}")
    if x.device.type != "cpu":
        raise RuntimeError(f"x must be on the CPU, got {x.device}")
    check_pool(x, pool)
    check_out(x, len(bias), pool, out, packed=packed, bias=bias)


def _packed_shape(outputs: int, inputs: int, kernel: int, dtype: torch.dtype) -> tuple[int, ...]:
    blocks = -(-outputs // BLOCK)
    if dtype == torch.bfloat16:
        return blocks, kernel, kernel, -(-inputs // 2), BLOCK, 2
    return blocks, kernel, kernel, inputs, BLOCK


def _params(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, pool: Pool, out: torch.Tensor) -> Any:
    images, inputs, height, width = x.shape
    return backend.native().DirectConv(
        images=images,
        height=height,
        width=width,
        inputs=inputs,
        outputs=len(bias),
        kernel=packed.shape[1],
        x_pitch=pitch_of(x) or 0,
        out_pitch=pitch_of(out) or 0,
        pool=pool[0],
        pool_padding=pool[1],
        bf16=packed.dtype == torch.bfloat16,
    )


torch.library.define("cpm_fast::pack_weight", "(Tensor weight, ScalarType dtype) -> Tensor")
torch.library.define(
    "cpm_fast::direct_conv", "(Tensor x, Tensor packed, Tensor bias, bool relu, int pool, int pool_padding) -> Tensor"
)
torch.library.define(
    "cpm_fast::direct_conv_out",
    "(Tensor x, Tensor packed, Tensor bias, bool relu, int pool, int pool_padding, Tensor(a!) out) -> ()",
)


@torch.library.register_fake("cpm_fast::pack_weight")
def _fake_pack(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    outputs, inputs, kernel, _ = weight.shape
    return weight.new_empty(_packed_shape(outputs, inputs, kernel, dtype), dtype=dtype)


@torch.library.register_fake("cpm_fast::direct_conv")
def _fake_conv(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, relu: bool, pool: int, pool_padding: int
) -> torch.Tensor:
    shape = out_shape(x, bias.shape[0], pool)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


@torch.library.register_fake("cpm_fast::direct_conv_out")
def _fake_conv_out(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: int,
    pool_padding: int,
    out: torch.Tensor,
) -> None:
    pass


def _pack(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    weight, packed = weight.contiguous(), _fake_pack(weight, dtype)
    outputs, inputs, kernel, _ = weight.shape
    pointers, pairs = (address("weight", weight), address("packed", packed)), dtype == torch.bfloat16
    backend.native().pack_weight_cpu(*pointers, outputs, inputs, kernel, pairs, backend.threads())
    return packed


def _conv(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, relu: bool, pool: int, pool_padding: int
) -> torch.Tensor:
    out = _fake_conv(x, packed, bias, relu, pool, pool_padding)
    _conv_out(x, packed, bias, relu, pool, pool_padding, out)
    return out


def _conv_out(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: int,
    pool_padding: int,
    out: torch.Tensor,
) -> None:
    native, threads = backend.native(), backend.threads()
    if pitch_of(x) is None:
        x = x.contiguous(memory_format=torch.channels_last)
    packed, bias = packed.contiguous(), bias.contiguous()
    params = _params(x, packed, bias, (pool, pool_padding), out)
    workspace = workspaces.take(native.direct_workspace(params, threads))
    native.direct_conv_cpu(
        address("x", x),
        address("packed", packed),
        address("bias", bias),
        address("out", out),
        params,
        relu,
        workspace.data_ptr(),
        threads,
    )


if backend.native_missing("cpu") is None:
    torch.library.impl("cpm_fast::pack_weight", "CPU", _pack)
    torch.library.impl("cpm_fast::direct_conv", "CPU", _conv)
    torch.library.impl("cpm_fast::direct_conv_out", "CPU", _conv_out)
for _op in ("pack_weight", "direct_conv"):
    refuse_gradient(_op, f"{_op} has no gradient; context_conv is the differentiable op")
