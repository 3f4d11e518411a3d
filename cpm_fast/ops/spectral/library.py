"""The registration of the spectral ops with PyTorch: schemas, shapes, and implementations by device.

`spectral_conv.py` checks their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from cpm_fast.kernels.fourier import frequencies
from cpm_fast.kernels.spectral_plans import padded_channels
from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import BoundLayer, Chain
from cpm_fast.ops.maps import NO_POOL, Pool, out_shape, pitch_of
from cpm_fast.ops.memory import address, optional_address
from cpm_fast.ops.plans.modes import capability_of, mode_of
from cpm_fast.ops.registration import refuse_gradient
from cpm_fast.ops.spectral.checks import tile_of
from cpm_fast.ops.spectral.plain_sums import convolve_directly, weight_of
from cpm_fast.ops.spectral.workspace import WORKSPACE_BYTES, spectra_workspaces, workspaces
from cpm_fast.reference.direct_conv import BLOCK


def bound_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: Pool,
    out: torch.Tensor,
    weight: torch.Tensor | None,
) -> Chain:
    """Return the convolution of these very tensors, which have been checked, on the CPU; spectra are of weight."""
    params = _conv_params(x, spectra, len(bias), kernel, pool, out)

    def add(native: Any, *addresses: int) -> None:
        native.spectral_conv(*addresses, params, relu)

    def mend(images: list[int]) -> None:
        taps = weight_of(spectra, kernel, len(bias)) if weight is None else weight
        convolve_directly(images, x, None, taps, bias, relu, pool, out)

    return Chain([BoundLayer({"x": x, "spectra": spectra, "bias": bias, "out": out}, add, mend)])


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


def conv_of_weight(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    weight: torch.Tensor,
    tile: int,
    bias: torch.Tensor | None,
    relu: bool,
    adjoint: bool = False,
) -> torch.Tensor:
    """Return the convolution on the CPU, or its gradient in x, by spectra that are used once."""
    spectra = spectra_of(weight, tile, adjoint)
    outputs, kernel = weight.shape[1 if adjoint else 0], weight.shape[-1]
    out = _fake_conv(x, gate, spectra, bias, relu, outputs, kernel)

    def taps() -> torch.Tensor:
        return weight.flip(2, 3).transpose(0, 1) if adjoint else weight

    _run(x, gate, spectra, bias, relu, kernel, *NO_POOL, out, taps)
    return out


def spectra_of(weight: torch.Tensor, tile: int, adjoint: bool = False) -> torch.Tensor:
    """Return the spectra of a weight, which the next call on this thread overwrites.

    They lie in memory that the thread keeps: to take new memory, which a large tensor does every time, costs more than
    to write them.
    """
    shape = _spectra_shape(weight, tile, adjoint)
    spectra = spectra_workspaces.take(math.prod(shape))[: math.prod(shape)].view(shape)
    _transform(weight, spectra, tile, adjoint)
    return spectra


def _spectra_shape(weight: torch.Tensor, tile: int, adjoint: bool) -> tuple[int, ...]:
    outputs, inputs = (weight.shape[1], weight.shape[0]) if adjoint else (weight.shape[0], weight.shape[1])
    return tile // 2, (outputs + BLOCK - 1) // BLOCK, inputs, weight.shape[-1], 2, BLOCK


def _transform(weight: torch.Tensor, spectra: torch.Tensor, tile: int, adjoint: bool) -> None:
    weight = weight.contiguous()
    outputs, inputs, kernel, _ = weight.shape
    pointers = address("weight", weight), address("spectra", spectra)
    backend.native().transform_weight_cpu(*pointers, outputs, inputs, kernel, tile, adjoint, backend.threads())


@torch.library.register_fake("cpm_fast::transform_weight")
def _fake_transform(weight: torch.Tensor, tile: int, adjoint: bool, dtype: torch.dtype) -> torch.Tensor:
    if weight.device.type == "cuda":
        outputs, inputs = (weight.shape[1], weight.shape[0]) if adjoint else (weight.shape[0], weight.shape[1])
        return weight.new_empty((frequencies(tile), outputs, 2, padded_channels(inputs)), dtype=dtype)
    return weight.new_empty(_spectra_shape(weight, tile, adjoint), dtype=dtype)


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
    spectra = _fake_transform(weight, tile, adjoint, torch.float32)
    _transform(weight, spectra, tile, adjoint)
    return spectra.to(dtype)


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
    weight: Callable[[], torch.Tensor] | None = None,
) -> None:
    native, threads = backend.native(), backend.threads()
    if gate is not None or pitch_of(x) is None:
        x = channels_last(x)
    gate, spectra = None if gate is None else channels_last(gate), spectra.contiguous()
    bias = None if bias is None else bias.contiguous()
    params = _conv_params(x, spectra, out.shape[1], kernel, (pool, pool_padding), out)
    workspace = workspaces.take(native.spectral_workspace(params, WORKSPACE_BYTES, threads))
    pointers = (
        address("x", x),
        (optional_address("gate", gate), *NO_POOL),
        address("spectra", spectra),
        optional_address("bias", bias),
        address("out", out),
    )
    wide = native.spectral_conv_cpu(*pointers, params, relu, workspace.data_ptr(), WORKSPACE_BYTES, threads, 0)
    if wide:
        taps = weight_of(spectra, kernel, out.shape[1]) if weight is None else weight()
        convolve_directly(wide, x, gate, taps, bias, relu, (pool, pool_padding), out)


def _conv_params(
    x: torch.Tensor, spectra: torch.Tensor, outputs: int, kernel: int, pool: Pool, out: torch.Tensor
) -> Any:
    return params_of(x, outputs, kernel, tile_of(spectra), pool, out, spectra.dtype == torch.bfloat16)


def params_of(
    x: torch.Tensor,
    outputs: int,
    kernel: int,
    tile: int,
    pool: Pool = NO_POOL,
    out: torch.Tensor | None = None,
    bf16: bool = False,
) -> Any:
    """Return the sizes of a convolution of x, as native code takes them."""
    images, inputs, height, width = x.shape
    return backend.native().SpectralConv(
        images=images,
        height=height,
        width=width,
        inputs=inputs,
        outputs=outputs,
        kernel=kernel,
        tile=tile,
        x_pitch=pitch_of(x) or 0,
        out_pitch=0 if out is None else pitch_of(out) or 0,
        pool=pool[0],
        pool_padding=pool[1],
        bf16=bf16,
    )


def _cpu_weight_gradient(
    gradient: torch.Tensor, gate: torch.Tensor | None, x: torch.Tensor, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    native, threads = backend.native(), backend.threads()
    gradient, x, gate = channels_last(gradient), channels_last(x), None if gate is None else channels_last(gate)
    dweight, dbias = _fake_weight_gradient(gradient, gate, x, kernel, tile)
    params = params_of(x, gradient.shape[1], kernel, tile)
    workspace = workspaces.take(native.spectral_gradient_workspace(params, WORKSPACE_BYTES, threads))
    pointers = (
        address("gradient", gradient),
        (optional_address("gate", gate), *NO_POOL),
        address("x", x),
        address("dweight", dweight),
        address("dbias", dbias),
    )
    native.spectral_weight_gradient_cpu(*pointers, params, workspace.data_ptr(), WORKSPACE_BYTES, threads)
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
    # Without dx only the weight's shape counts.
    weight = x.new_empty((gradient.shape[1], x.shape[1], kernel, kernel))
    with torch.cuda.device(x.device):
        gradients = kernels.backward(gradient, x, weight, gate, need, tile, mode_of(x.dtype), capability)
    _, dweight, dbias = gradients
    assert dweight is not None and dbias is not None
    return dweight, dbias


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor with channels at consecutive places, then columns, rows and images."""
    return tensor.contiguous(memory_format=torch.channels_last)


if backend.native_missing("cpu") is None:
    torch.library.impl("cpm_fast::transform_weight", "CPU", _cpu_transform)
    torch.library.impl("cpm_fast::spectral_conv", "CPU", _cpu_conv)
    torch.library.impl("cpm_fast::spectral_conv_out", "CPU", _cpu_conv_out)
    torch.library.impl("cpm_fast::spectral_weight_gradient", "CPU", _cpu_weight_gradient)
torch.library.impl("cpm_fast::transform_weight", "CUDA", _cuda_transform)
torch.library.impl("cpm_fast::spectral_conv", "CUDA", _cuda_conv)
torch.library.impl("cpm_fast::spectral_weight_gradient", "CUDA", _cuda_weight_gradient)
for _op in ("transform_weight", "spectral_conv", "spectral_weight_gradient"):
    refuse_gradient(_op, f"{_op} has no gradient; context_conv is the differentiable op")
