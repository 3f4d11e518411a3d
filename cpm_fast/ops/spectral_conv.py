"""`spectral_conv`: a same-size convolution by tiles in the frequency domain, and its gradients.

The two halves of the spectral form of `context_conv`: `transform_weight` once, `spectral_conv` for each input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F

from cpm_fast.kernels.fourier import frequencies
from cpm_fast.kernels.spectral_plans import padded_channels
from cpm_fast.ops import backend
from cpm_fast.ops.cuda import capability_of, mode_of
from cpm_fast.ops.maps import BLOCK, MAX_KERNEL, NO_POOL, Pool, check_out, check_pool, out_shape, pitch_of
from cpm_fast.ops.spectral_checks import (
    TILES,
    check_conv,
    check_gate,
    check_kernel,
    check_no_gradient,
    check_tensors,
    check_types,
    named,
    tile_of,
    types,
)
from cpm_fast.ops.workspace import workspaces
from cpm_fast.reference.spectral_conv import spectral_conv as reference_spectral_conv
from cpm_fast.reference.spectral_conv import spectral_weight_gradient as reference_weight_gradient
from cpm_fast.reference.spectral_conv import transform_weight as reference_transform_weight

# Of memory that each calling thread keeps between calls. With less the weights are read several times an image, with
# more the spectra of a chunk of tiles leave the caches.
WORKSPACE_BYTES = 64 * 2**20


def transform_weight(
    weight: torch.Tensor, tile: int, adjoint: bool = False, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Spectra of a convolution's weight on t x t tiles, for `spectral_conv`.

    Args:
        weight: [O, C, k, k] float32, on CUDA also float16 or bfloat16; k odd and at most 15.
        tile: t, one of 16, 20, 22, 24, 32, 36, 48, 54, 64. A tile gives (t - k + 1)^2 outputs, or a whole map of up to
            t - k // 2 cells a side.
        adjoint: of the transposed convolution instead, from O to C channels: what `spectral_input_gradient` wants.
        dtype: of the result, float32 if None; on CUDA also float16, whose 10 bits are those of TF32, or bfloat16.

    Returns:
        In the layout of the device, C and O exchanged with adjoint; no gradient flows to weight. On the CPU
        [t*t/2 + 2, ceil(O / 16), C, 2, 16]: for each frequency, block of 16 outputs and input, real and imaginary
        parts; 0 in outputs beyond the last. On CUDA [t*t/2, O, 2, C'], C' being C rounded up to a multiple of 16: for
        each frequency and output, real and imaginary parts of all inputs; 0 in inputs beyond the last; the first entry
        of each half of the frequencies holds two real ones.

    Raises:
        ValueError: weight has another shape, or there is no such tile.
        TypeError: weight or dtype is not one of those.
        RuntimeError: weight asks for a gradient, or the backend is missing.
    """
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"weight must be [O, C, k, k] with odd k, got {list(weight.shape)}")
    if weight.shape[2] > MAX_KERNEL:
        raise ValueError(f"weight must have k of at most {MAX_KERNEL}, got {list(weight.shape)}")
    if tile not in TILES:
        raise ValueError(f"tile must be one of {list(TILES)}, got {tile}")
    check_types(weight=weight)
    dtype = torch.float32 if dtype is None else dtype
    if dtype not in types(weight.device):
        raise TypeError(f"dtype must be {named(types(weight.device))} on {weight.device.type}, got {dtype}")
    check_no_gradient("transform_weight", weight=weight)
    if _use_fast("transform_weight", weight):
        return torch.ops.cpm_fast.transform_weight(weight, tile, adjoint, dtype)
    return reference_transform_weight(weight.float(), tile, adjoint).to(dtype)


def spectral_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: Pool | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Same-size k x k convolution, bias, ReLU and pooling fused, with a weight that `transform_weight` has transformed.

    Equal to `context_conv` to rounding, except that a cell that is not finite reaches all outputs of the tiles that
    cover it. Any number of threads gives the same bits, and pooling the bits that `F.max_pool2d` of the whole output
    would give. On CUDA products are as `context_conv`'s where spectra are float32; with fp16 spectra, sums over a tile,
    divided by its side, must stay below 65504.

    Args:
        x: [N, C, h, w] float32, best in channels_last or some channels of such a map; on CUDA also float16 or bfloat16.
        spectra: of `transform_weight` on the device of x.
        bias: [O], dtype and device of x.
        relu: whether max(0, .) follows.
        kernel: k of the weight, odd and at most 15.
        pool: (side, padding): the maximum over windows of 2 or 3 cells a side, two apart, follows; the first window
            begins `padding` cells before the map, 0, or 1 of 3. Windows are clipped at the border. h and w even.
        out: where the result goes: like what is returned, in channels_last or some channels of such a map, apart from
            x.

    Returns:
        [N, O, h, w] of x's dtype, [N, O, h/2, w/2] with pool, channels_last; or out. No gradient flows: `context_conv`
        is the differentiable op.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a tensor is of another dtype.
        RuntimeError: a tensor asks for a gradient, the devices differ, or the backend is missing.
    """
    check_conv("x", x, spectra, bias.shape, kernel, bias=bias)
    check_pool(x, pool)
    check_out(x, len(bias), pool, out)
    check_no_gradient("spectral_conv", x=x, spectra=spectra, bias=bias, **_given(out=out))
    side, padding = pool or NO_POOL
    if not _use_fast("spectral_conv", x):
        made = reference_spectral_conv(x.float(), spectra.float(), bias.float(), relu, kernel, pool).to(x.dtype)
        return made if out is None else out.copy_(made)
    if out is None or x.device.type == "cuda":
        made = torch.ops.cpm_fast.spectral_conv(x, None, spectra, bias, relu, len(bias), kernel, side, padding)
        return made if out is None else out.copy_(made)
    torch.ops.cpm_fast.spectral_conv_out(x, spectra, bias, relu, kernel, side, padding, out)
    return out


def bound_spectral_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: Pool | None,
    out: torch.Tensor,
) -> Callable[[], None]:
    """`spectral_conv` of these very tensors, checked once: every call reads what they hold then, and writes out.

    What a call costs beside its work is a few microseconds, where an op called by its name costs forty. Arguments and
    errors are those of `spectral_conv`; x must be in channels_last or channels of such a map, and all on the CPU.

    Raises:
        As `spectral_conv`, and RuntimeError: the native module is missing.
    """
    check_conv("x", x, spectra, bias.shape, kernel, bias=bias)
    check_pool(x, pool)
    check_out(x, len(bias), pool, out)
    if not spectra.is_contiguous() or not bias.is_contiguous() or pitch_of(x) is None:
        raise ValueError("x must be in channels_last, or channels of such a map, spectra and bias contiguous")
    native, sizes = backend.native(), _sizes(x, spectra, len(bias), kernel, *(pool or NO_POOL), out)
    tensors = (spectra, bias, out)
    floats = lru_cache(maxsize=8)(partial(native.spectral_workspace, sizes, WORKSPACE_BYTES))

    def call() -> None:
        threads = backend.threads()
        workspace, addresses = workspaces.take(floats(threads)), (tensor.data_ptr() for tensor in tensors)
        native.spectral_conv_cpu(
            x.data_ptr(), 0, *addresses, sizes, relu, workspace.data_ptr(), WORKSPACE_BYTES, threads
        )

    return call


def spectral_input_gradient(
    gradient: torch.Tensor, spectra: torch.Tensor, out: torch.Tensor | None, inputs: int, kernel: int
) -> torch.Tensor:
    """The gradient of `spectral_conv` in x.

    Args:
        gradient: [N, O, h, w] float32, in the output; on CUDA also float16 or bfloat16.
        spectra: of `transform_weight(weight, tile, adjoint=True)` on its device.
        out: [N, O, h, w] like gradient, what the forward pass returned if it had ReLU: no gradient comes through where
            it is not above 0. None without ReLU.
        inputs: C.
        kernel: k of the weight.

    Returns:
        [N, C, h, w] of gradient's dtype, channels_last.

    Raises:
        As `spectral_conv`.
    """
    check_conv("gradient", gradient, spectra, (inputs,), kernel, **_given(out=out))
    check_gate(gradient, out)
    check_no_gradient("spectral_input_gradient", gradient=gradient, spectra=spectra, **_given(out=out))
    if _use_fast("spectral_input_gradient", gradient):
        return torch.ops.cpm_fast.spectral_conv(gradient, out, spectra, None, False, inputs, kernel)
    gated = gradient.float() if out is None else gradient.float() * (out > 0)
    return reference_spectral_conv(gated, spectra.float(), gated.new_zeros(inputs), False, kernel).to(gradient.dtype)


def spectral_weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, out: torch.Tensor | None, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of `spectral_conv` in the weight that its spectra are of, and in the bias.

    Args:
        gradient: [N, O, h, w] float32, in the output; on CUDA also float16 or bfloat16.
        x: [N, C, h, w] like gradient, the input.
        out: as for `spectral_input_gradient`.
        kernel: k of the weight.
        tile: t, on which the sums are made; any of `transform_weight`, not only the one of the forward pass.

    Returns:
        [O, C, k, k] and [O] of gradient's dtype.

    Raises:
        As `spectral_conv`.
    """
    for name, tensor in (("gradient", gradient), ("x", x)):
        if tensor.ndim != 4:
            raise ValueError(f"{name} must be [N, channels, h, w], got {list(tensor.shape)}")
    if x.shape[0] != gradient.shape[0] or x.shape[2:] != gradient.shape[2:]:
        raise ValueError(f"x must be [N, C, h, w] like gradient {list(gradient.shape)}, got {list(x.shape)}")
    check_gate(gradient, out)
    check_kernel(kernel)
    if tile not in TILES:
        raise ValueError(f"tile must be one of {list(TILES)}, got {tile}")
    tensors = _given(gradient=gradient, x=x, out=out)
    check_tensors("gradient", **tensors)
    check_no_gradient("spectral_weight_gradient", **tensors)
    if _use_fast("spectral_weight_gradient", gradient):
        return torch.ops.cpm_fast.spectral_weight_gradient(gradient, out, x, kernel, tile)
    return reference_weight_gradient(gradient, x, out, kernel)


def _given(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _use_fast(op: str, tensor: torch.Tensor) -> bool:
    kind = tensor.device.type
    missing = backend.triton_missing(kind, tensor.device.index) if kind == "cuda" else backend.native_missing(kind)
    return backend.use_fast(op, kind, missing)


torch.library.define(
    "cpm_fast::transform_weight", "(Tensor weight, int tile, bool adjoint, ScalarType dtype) -> Tensor"
)
torch.library.define(
    "cpm_fast::spectral_conv",
    "(Tensor x, Tensor? gate, Tensor spectra, Tensor? bias, bool relu, SymInt outputs, int kernel, "
    "int pool=0, int pool_padding=0) -> Tensor",
)
torch.library.define(
    "cpm_fast::spectral_conv_out",
    "(Tensor x, Tensor spectra, Tensor bias, bool relu, int kernel, int pool, int pool_padding, Tensor(a!) out) -> ()",
)
torch.library.define(
    "cpm_fast::spectral_weight_gradient",
    "(Tensor gradient, Tensor? gate, Tensor x, int kernel, int tile) -> (Tensor, Tensor)",
)


@torch.library.register_fake("cpm_fast::transform_weight")
def _fake_transform(weight: torch.Tensor, tile: int, adjoint: bool, dtype: torch.dtype) -> torch.Tensor:
    outputs, inputs = (weight.shape[1], weight.shape[0]) if adjoint else (weight.shape[0], weight.shape[1])
    if weight.device.type == "cuda":
        return weight.new_empty((frequencies(tile), outputs, 2, padded_channels(inputs)), dtype=dtype)
    return weight.new_empty((tile * tile // 2 + 2, (outputs + BLOCK - 1) // BLOCK, inputs, 2, BLOCK))


@torch.library.register_fake("cpm_fast::spectral_conv")
def _fake_conv(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    outputs: int,
    kernel: int,
    pool: int = 0,
    pool_padding: int = 0,
) -> torch.Tensor:
    shape = out_shape(x, outputs, pool)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


@torch.library.register_fake("cpm_fast::spectral_conv_out")
def _fake_conv_out(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: int,
    pool_padding: int,
    out: torch.Tensor,
) -> None:
    pass


@torch.library.register_fake("cpm_fast::spectral_weight_gradient")
def _fake_weight_gradient(
    gradient: torch.Tensor, gate: torch.Tensor | None, x: torch.Tensor, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (gradient.shape[1], x.shape[1], kernel, kernel)
    # The kernels of CUDA add channels innermost.
    layout = torch.channels_last if gradient.device.type == "cuda" else torch.contiguous_format
    dweight = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=layout)
    return dweight, gradient.new_empty(shape[0])


def _cpu_transform(weight: torch.Tensor, tile: int, adjoint: bool, dtype: torch.dtype) -> torch.Tensor:
    weight = weight.contiguous()
    spectra = _fake_transform(weight, tile, adjoint, dtype)
    outputs, inputs, kernel, _ = weight.shape
    backend.native().transform_weight_cpu(
        weight.data_ptr(), spectra.data_ptr(), outputs, inputs, kernel, tile, adjoint, backend.threads()
    )
    return spectra


def _cpu_conv(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    outputs: int,
    kernel: int,
    pool: int = 0,
    pool_padding: int = 0,
) -> torch.Tensor:
    out = _fake_conv(x, gate, spectra, bias, relu, outputs, kernel, pool, pool_padding)
    _run(x, gate, spectra, bias, relu, kernel, pool, pool_padding, out)
    return out


def _cpu_conv_out(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: int,
    pool_padding: int,
    out: torch.Tensor,
) -> None:
    _run(x, None, spectra, bias, relu, kernel, pool, pool_padding, out)


def _run(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    kernel: int,
    pool: int,
    pool_padding: int,
    out: torch.Tensor,
) -> None:
    native, threads = backend.native(), backend.threads()
    if gate is not None or pitch_of(x) is None:
        x = _channels_last(x)
    gate, spectra = None if gate is None else _channels_last(gate), spectra.contiguous()
    bias = None if bias is None else bias.contiguous()
    sizes = _sizes(x, spectra, out.shape[1], kernel, pool, pool_padding, out)
    workspace = workspaces.take(native.spectral_workspace(sizes, WORKSPACE_BYTES, threads))
    native.spectral_conv_cpu(
        x.data_ptr(), _address(gate), spectra.data_ptr(), _address(bias), out.data_ptr(),
        sizes, relu, workspace.data_ptr(), WORKSPACE_BYTES, threads,
    )  # fmt: skip


def _sizes(
    x: torch.Tensor, spectra: torch.Tensor, outputs: int, kernel: int, pool: int, pool_padding: int, out: torch.Tensor
) -> tuple[int, ...]:
    images, inputs, height, width = x.shape
    pitches = pitch_of(x) or 0, pitch_of(out) or 0
    return (images, height, width, inputs, outputs, kernel, tile_of(spectra), *pitches, pool, pool_padding)


def _cpu_weight_gradient(
    gradient: torch.Tensor, gate: torch.Tensor | None, x: torch.Tensor, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    native, threads = backend.native(), backend.threads()
    gradient, x, gate = _channels_last(gradient), _channels_last(x), None if gate is None else _channels_last(gate)
    images, inputs, height, width = x.shape
    dweight, dbias = _fake_weight_gradient(gradient, gate, x, kernel, tile)
    sizes = (images, height, width, inputs, gradient.shape[1], kernel, tile, 0, 0, *NO_POOL)
    workspace = workspaces.take(native.spectral_gradient_workspace(sizes, WORKSPACE_BYTES, threads))
    native.spectral_weight_gradient_cpu(
        gradient.data_ptr(), _address(gate), x.data_ptr(), dweight.data_ptr(), dbias.data_ptr(),
        sizes, workspace.data_ptr(), WORKSPACE_BYTES, threads,
    )  # fmt: skip
    return dweight, dbias


def _cuda_transform(weight: torch.Tensor, tile: int, adjoint: bool, dtype: torch.dtype) -> torch.Tensor:
    from cpm_fast.kernels import spectral_conv as kernels

    capability_of(weight.device)
    with torch.cuda.device(weight.device):
        return kernels.transform_weight(weight, tile, adjoint, dtype, mode_of(weight.dtype))


def _cuda_conv(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    outputs: int,
    kernel: int,
    pool: int = 0,
    pool_padding: int = 0,
) -> torch.Tensor:
    from cpm_fast.kernels import spectral_conv as kernels

    if spectra.ndim != 4:
        raise ValueError(f"spectra must be those of the fast backend on CUDA, [F, O, 2, C'], got {list(spectra.shape)}")
    capability, spectra = capability_of(x.device), spectra.contiguous()
    bias = None if bias is None else bias.contiguous()
    with torch.cuda.device(x.device):
        out = kernels.forward(x, spectra, bias, relu, kernel, mode_of(x.dtype), capability, gate)
    return F.max_pool2d(out, pool, 2, pool_padding, ceil_mode=pool_padding == 0) if pool else out


def _cuda_weight_gradient(
    gradient: torch.Tensor, gate: torch.Tensor | None, x: torch.Tensor, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    from cpm_fast.kernels import spectral_conv as kernels

    capability, need = capability_of(x.device), (False, True, True)
    # Of the weight only the shape counts where dx is not wanted.
    weight = x.new_empty((gradient.shape[1], x.shape[1], kernel, kernel))
    with torch.cuda.device(x.device):
        gradients = kernels.backward(gradient, x, weight, gate, need, tile, mode_of(x.dtype), capability)
    _, dweight, dbias = gradients
    assert dweight is not None and dbias is not None
    return dweight, dbias


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _no_gradient(ctx: object, *gradients: torch.Tensor) -> None:
    raise RuntimeError("spectral_conv has no gradient; context_conv is the differentiable op")


if backend.native_missing("cpu") is None:
    torch.library.impl("cpm_fast::transform_weight", "CPU", _cpu_transform)
    torch.library.impl("cpm_fast::spectral_conv", "CPU", _cpu_conv)
    torch.library.impl("cpm_fast::spectral_conv_out", "CPU", _cpu_conv_out)
    torch.library.impl("cpm_fast::spectral_weight_gradient", "CPU", _cpu_weight_gradient)
torch.library.impl("cpm_fast::transform_weight", "CUDA", _cuda_transform)
torch.library.impl("cpm_fast::spectral_conv", "CUDA", _cuda_conv)
torch.library.impl("cpm_fast::spectral_weight_gradient", "CUDA", _cuda_weight_gradient)
for _op in ("transform_weight", "spectral_conv", "spectral_weight_gradient"):
    torch.library.register_autograd(f"cpm_fast::{_op}", _no_gradient)
