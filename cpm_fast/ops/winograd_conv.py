"""`winograd_conv`: a same-size 3x3 convolution by Winograd's minimal filtering; inference on the CPU.

It takes a quarter of the products of plain sums: 36 for the 16 outputs of a tile, instead of 144.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import BoundLayer, Chain
from cpm_fast.ops.direct_conv import PACKED_TYPES, check_packing
from cpm_fast.ops.maps import NO_POOL, Pool, check_out, check_pool, pitch_of
from cpm_fast.ops.memory import address
from cpm_fast.ops.spectral.checks import check_tensors, dtype_names
from cpm_fast.ops.spectral.plain_sums import convolve_directly
from cpm_fast.ops.spectral.workspace import spectra_workspaces, workspaces
from cpm_fast.reference.direct_conv import BLOCK
from cpm_fast.reference.winograd_conv import KERNEL, SIDE
from cpm_fast.reference.winograd_conv import winograd_weight as reference_winograd_weight

# The pool that may follow in the same call.
POOL: Pool = (2, 0)


def winograd_weight(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Transform a convolution's weight for `bound_winograd_conv`.

    Args:
        weight: [O, C, 3, 3] float32 on the CPU.
        dtype: of the result, and so of the products: float32 or bfloat16.

    Returns:
        [36, ceil(O / 16), C, 16], 0 in outputs beyond the last; of bfloat16 [36, ceil(O / 16), ceil(C / 2), 16, 2], 0
        in inputs beyond the last too. No gradient flows to weight.

    Raises:
        ValueError: weight has another shape.
        TypeError: weight is not float32, or there is no such form.
        RuntimeError: weight is on another device, or requires a gradient in grad mode.

    Examples:
        >>> winograd_weight(torch.rand(20, 3, 3, 3)).shape  # 2 blocks of 16 outputs
        torch.Size([36, 2, 3, 16])
    """
    check_packing("winograd_weight", weight, dtype)
    if weight.shape[-1] != KERNEL:
        raise ValueError(f"weight must be [O, C, {KERNEL}, {KERNEL}], got {list(weight.shape)}")
    if not backend.use_fast("winograd_weight", "cpu", backend.native_missing("cpu")):
        return reference_winograd_weight(weight, dtype)
    weight = weight.contiguous()
    made = weight.new_empty(_shape(len(weight), weight.shape[1], dtype), dtype=dtype)
    pointers, pairs = (address("weight", weight), address("transformed", made)), dtype == torch.bfloat16
    backend.native().winograd_weight_cpu(*pointers, *weight.shape[:2], False, pairs, backend.threads())
    return made


def bound_winograd_conv(
    x: torch.Tensor,
    transformed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: Pool | None,
    out: torch.Tensor,
    weight: torch.Tensor,
) -> Chain:
    """Bind a same-size 3x3 convolution with bias, ReLU and pooling to these tensors, checked once.

    Every call reads their current values and writes out. It is equal to `context_conv` to rounding: of float32, or with
    a transformed weight of bfloat16 of transformed tiles and weights to bfloat16 (to the nearest, ties to even), whose
    products are added in float32. Any number of threads gives the same bits. An image runs by plain sums instead, by
    itself, where its largest magnitude is more than 1024 times that of a block of 2 x 2 cells, all channels together,
    that is not all 0, or where a value or a sum is not finite.

    Args:
        x: [N, C, h, w] float32 on the CPU, in channels_last or some channels of such a map.
        transformed: of `winograd_weight`.
        bias: [O] float32.
        relu: whether max(0, .) follows.
        pool: (2, 0) if the maximum over windows of 2 x 2 cells follows; h and w even. None: no pool.
        out: memory for the result, [N, O, h, w] or [N, O, h/2, w/2] with pool, in channels_last or some channels of
            such a map, apart from x.
        weight: [O, C, 3, 3], for plain sums.

    Raises:
        ValueError: a shape or layout does not fit.
        TypeError: a tensor is of another dtype.
        RuntimeError: a tensor is not on the CPU, or the native module is missing.
    """
    if x.ndim != 4:
        raise ValueError(f"x must be [N, C, h, w], got {list(x.shape)}")
    if bias.ndim != 1:
        raise ValueError(f"bias must be [O], got {list(bias.shape)}")
    if transformed.dtype not in PACKED_TYPES:
        raise TypeError(f"transformed must be {dtype_names(PACKED_TYPES)}, got {transformed.dtype}")
    wanted = _shape(len(bias), x.shape[1], transformed.dtype)
    if transformed.shape != wanted or not transformed.is_contiguous():
        raise ValueError(f"transformed must be {list(wanted)} of winograd_weight, got {list(transformed.shape)}")
    if weight.shape != (len(bias), x.shape[1], KERNEL, KERNEL):
        raise ValueError(f"weight must be {[len(bias), x.shape[1], KERNEL, KERNEL]}, got {list(weight.shape)}")
    check_tensors("x", x=x, bias=bias, weight=weight)
    for name, tensor in (("x", x), ("transformed", transformed)):
        if tensor.device.type != "cpu":
            raise RuntimeError(f"{name} must be on the CPU, got {tensor.device}")
    check_pool(x, pool)
    if pool not in (None, POOL):
        raise ValueError(f"pool must be {POOL} or None, got {pool}")
    check_out(x, len(bias), pool, out, transformed=transformed, bias=bias)
    if pitch_of(x) is None or not bias.is_contiguous():
        raise ValueError("x must be in channels_last, or channels of such a map, and bias contiguous")
    params = _params(x, transformed, len(bias), pool or NO_POOL, out)

    def add(native: Any, *addresses: int) -> None:
        native.winograd_conv(*addresses, params, relu)

    def mend(left: list[int]) -> None:
        convolve_directly(left, x, None, weight, bias, relu, pool or NO_POOL, out)

    return Chain([BoundLayer({"x": x, "transformed": transformed, "bias": bias, "out": out}, add, mend)])


def conv_of_weight_once(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    adjoint: bool = False,
) -> torch.Tensor:
    """Return a convolution whose transformed weight is used once, with arguments that have been checked.

    Args:
        x: [N, C, h, w] float32.
        weight: [O, C, 3, 3] float32; with adjoint [C, O, 3, 3], of the convolution whose gradient in its input this is.
        bias: [O] float32; None is 0.
        relu: whether max(0, .) follows.
        adjoint: whether the weight is transposed and turned.
    """
    native, threads = backend.native(), backend.threads()
    if pitch_of(x) is None:
        x = x.contiguous(memory_format=torch.channels_last)
    outputs, weight = weight.shape[1 if adjoint else 0], weight.contiguous()
    bias = weight.new_zeros(outputs) if bias is None else bias.contiguous()
    shape = (len(x), outputs, *x.shape[2:])
    out = torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=torch.channels_last)
    transformed_shape = _shape(outputs, x.shape[1], torch.float32)
    # Memory that the calling thread keeps; taking new memory costs more than writing it.
    floats = math.prod(transformed_shape)
    transformed = spectra_workspaces.take(floats)[:floats].view(transformed_shape)
    native.winograd_weight_cpu(
        address("weight", weight), transformed.data_ptr(), *weight.shape[:2], adjoint, False, threads
    )
    params = _params(x, transformed, outputs, NO_POOL, out)
    workspace = workspaces.take(native.winograd_workspace(params, threads))
    left = native.winograd_conv_cpu(
        address("x", x),
        transformed.data_ptr(),
        address("bias", bias),
        out.data_ptr(),
        params,
        relu,
        workspace.data_ptr(),
        threads,
    )
    if left:
        taps = weight.flip(2, 3).transpose(0, 1) if adjoint else weight
        convolve_directly(left, x, None, taps, bias, relu, NO_POOL, out)
    return out


def _params(x: torch.Tensor, transformed: torch.Tensor, outputs: int, pool: Pool, out: torch.Tensor) -> Any:
    images, inputs, height, width = x.shape
    return backend.native().DirectConv(
        images=images,
        height=height,
        width=width,
        inputs=inputs,
        outputs=outputs,
        kernel=KERNEL,
        x_pitch=pitch_of(x) or 0,
        out_pitch=pitch_of(out) or 0,
        pool=pool[0],
        bf16=transformed.dtype == torch.bfloat16,
    )


def _shape(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[int, ...]:
    blocks = -(-outputs // BLOCK)
    if dtype == torch.bfloat16:
        return SIDE * SIDE, blocks, -(-inputs // 2), BLOCK, 2
    return SIDE * SIDE, blocks, inputs, BLOCK
