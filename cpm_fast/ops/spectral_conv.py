"""`spectral_conv`: a same-size convolution by tiles in the frequency domain, and its gradients.

The two halves of the spectral form of `context_conv`: `transform_weight` once, `spectral_conv` for each input.
"""

from __future__ import annotations

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import Chain
from cpm_fast.ops.maps import NO_POOL, Pool, check_out, check_pool, check_weight, note_written, pitch_of
from cpm_fast.ops.memory import check_storage
from cpm_fast.ops.registration import check_no_gradient
from cpm_fast.ops.spectral.checks import (
    TILES,
    check_conv,
    check_gate,
    check_kernel,
    check_tensors,
    check_types,
    dtype_names,
    spectra_types,
)
from cpm_fast.ops.spectral.library import bound_conv
from cpm_fast.reference.spectral_conv import spectral_conv as reference_spectral_conv
from cpm_fast.reference.spectral_conv import spectral_weight_gradient as reference_weight_gradient
from cpm_fast.reference.spectral_conv import transform_weight as reference_transform_weight


def transform_weight(
    weight: torch.Tensor, tile: int, adjoint: bool = False, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Compute the spectra of a convolution's weight on t x t tiles, for `spectral_conv`.

    Args:
        weight: [O, C, k, k] float32, on CUDA also float16 or bfloat16; k odd and at most 15.
        tile: t, one of 16, 20, 22, 24, 32, 36, 48, 54, 64. A tile gives (t - k + 1)^2 outputs, or a whole map of up to
            t - k // 2 cells per side.
        adjoint: of the transposed convolution instead, from O to C channels, for `spectral_input_gradient`.
        dtype: of the result, float32 if None; also bfloat16, and on CUDA float16, whose 10 bits are those of TF32.

    Returns:
        In the layout of the device, C and O exchanged with adjoint; no gradient flows to weight. On the CPU
        [t/2, ceil(O / 16), C, k, 2, 16], of the kernel's rows along x: for each frequency, block of 16 outputs, input
        and row, real and imaginary parts; 0 in outputs beyond the last. On CUDA [t*t/2, O, 2, C'], C' being C rounded
        up to a multiple of 16: for each frequency and output, real and imaginary parts of all inputs; 0 in inputs
        beyond the last; the first entry of each half of the frequencies holds two real ones.

    Raises:
        ValueError: weight has another shape, or there is no such tile.
        TypeError: weight or dtype is not one of those.
        RuntimeError: weight requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> transform_weight(torch.rand(20, 3, 5, 5), 16).shape[0]  # rows of 9 frequencies, packed
        8
    """
    check_weight(weight)
    if tile not in TILES:
        raise ValueError(f"tile must be one of {list(TILES)}, got {tile}")
    check_types(weight=weight)
    dtype = torch.float32 if dtype is None else dtype
    known = spectra_types(weight.device)
    if dtype not in known:
        raise TypeError(f"dtype must be {dtype_names(known)} on {weight.device.type}, got {dtype}")
    check_no_gradient("transform_weight", weight=weight)
    check_storage(weight=weight)
    if _takes_fast("transform_weight", weight):
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
    """Apply a same-size k x k convolution with bias, ReLU and pooling; `transform_weight` has transformed its weight.

    Equal to `context_conv` to rounding. Errors are a share of the largest value of a tile: about 1e-7 of it. So on the
    CPU an image runs by plain sums instead, by itself, where its largest magnitude is more than 8192 times that of a
    block of (k+1)/2 x (k+1)/2 cells, all channels together, that is not all 0, or where a value or a sum is not finite.
    On CUDA nothing is checked: a cell that is not finite reaches all outputs of the tiles that cover it. Any number
    of threads gives the same bits, and pooling the bits that `F.max_pool2d` of the whole output would give. On CUDA
    products are as `context_conv`'s where spectra are float32; with fp16 spectra, sums over a tile, divided by its
    side, must stay below 65504.

    Args:
        x: [N, C, h, w] float32, best in channels_last or some channels of such a map; on CUDA also float16 or bfloat16.
        spectra: of `transform_weight` on the device of x. On the CPU those of bfloat16 take half the memory; x and all
            products stay float32.
        bias: [O], dtype and device of x.
        relu: whether max(0, .) follows.
        kernel: k of the weight, odd and at most 15.
        pool: (side, padding): the maximum over windows of 2 or 3 cells per side, two apart, follows; the first window
            begins `padding` cells before the map, 0, or 1 of 3. Windows are clipped at the border. h and w even.
        out: memory for the result, of its shape, in channels_last or some channels of such a map, apart from x.

    Returns:
        [N, O, h, w] of x's dtype, [N, O, h/2, w/2] with pool, channels_last; or out. No gradient flows: `context_conv`
        is the differentiable op.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a tensor is of another dtype.
        RuntimeError: a tensor requires a gradient in grad mode, the devices differ, or the backend is missing.
    """
    check_conv("x", x, spectra, bias.shape, kernel, bias=bias)
    check_pool(x, pool)
    check_out(x, len(bias), pool, out, spectra=spectra, bias=bias)
    check_no_gradient("spectral_conv", x=x, spectra=spectra, bias=bias, out=out)
    check_storage(x=x, spectra=spectra, bias=bias, out=out)
    side, padding = pool or NO_POOL
    if not _takes_fast("spectral_conv", x):
        made = reference_spectral_conv(x.float(), spectra.float(), bias.float(), relu, kernel, pool).to(x.dtype)
        return made if out is None else out.copy_(made)
    if out is None or x.device.type == "cuda":
        made = torch.ops.cpm_fast.spectral_conv(x, None, spectra, bias, relu, len(bias), kernel, side, padding)
        return made if out is None else out.copy_(made)
    torch.ops.cpm_fast.spectral_conv_out(x, spectra, bias, relu, kernel, side, padding, out)
    note_written(out)
    return out


def bound_spectral_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: Pool | None,
    out: torch.Tensor,
    weight: torch.Tensor | None = None,
) -> Chain:
    """Bind `spectral_conv` to these tensors, checked once: every call reads their current values, and writes out.

    A call costs a few microseconds beside its work; an op called by its name costs forty. Arguments and
    errors are those of `spectral_conv`; x must be in channels_last or channels of such a map, and all on the CPU.
    Images that take plain sums use `weight` if it is given, exactly, and otherwise the weight that follows from the
    spectra.

    Raises:
        As `spectral_conv`, and RuntimeError: the native module is missing.
    """
    check_conv("x", x, spectra, bias.shape, kernel, bias=bias)
    check_pool(x, pool)
    check_out(x, len(bias), pool, out, spectra=spectra, bias=bias)
    if not spectra.is_contiguous() or not bias.is_contiguous() or pitch_of(x) is None:
        raise ValueError("x must be in channels_last, or channels of such a map, spectra and bias contiguous")
    return bound_conv(x, spectra, bias, relu, kernel, pool or NO_POOL, out, weight)


def spectral_input_gradient(
    gradient: torch.Tensor, spectra: torch.Tensor, out: torch.Tensor | None, inputs: int, kernel: int
) -> torch.Tensor:
    """Return the gradient of `spectral_conv` in x.

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
    check_storage(gradient=gradient, spectra=spectra, out=out)
    check_no_gradient("spectral_input_gradient", gradient=gradient, spectra=spectra, out=out)
    if _takes_fast("spectral_input_gradient", gradient):
        return torch.ops.cpm_fast.spectral_conv(gradient, out, spectra, None, False, inputs, kernel)
    gated = gradient.float() if out is None else gradient.float() * (out > 0)
    return reference_spectral_conv(gated, spectra.float(), gated.new_zeros(inputs), False, kernel).to(gradient.dtype)


def spectral_weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, out: torch.Tensor | None, kernel: int, tile: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of `spectral_conv` in the weight that its spectra are of, and in the bias.

    Args:
        gradient: [N, O, h, w] float32, in the output; on CUDA also float16 or bfloat16.
        x: [N, C, h, w] like gradient, the input.
        out: as for `spectral_input_gradient`.
        kernel: k of the weight.
        tile: t, on which the sums are made; any of `transform_weight`, not only the one of the forward pass.

    Returns:
        [O, C, k, k] and [O] of gradient's dtype. Errors are a share of the largest values of a tile, and are not looked
        for: every tap sums over all cells, small and large ones.

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
    check_storage(**tensors)
    if _takes_fast("spectral_weight_gradient", gradient):
        return torch.ops.cpm_fast.spectral_weight_gradient(gradient, out, x, kernel, tile)
    return reference_weight_gradient(gradient, x, out, kernel)


def _given(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _takes_fast(op: str, tensor: torch.Tensor) -> bool:
    kind = tensor.device.type
    missing = backend.triton_missing(kind, tensor.device.index) if kind == "cuda" else backend.native_missing(kind)
    return backend.use_fast(op, kind, missing)
