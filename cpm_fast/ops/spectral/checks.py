"""Limits and checks of the spectral ops: tiles, kernels, types, and shapes of spectra by device."""

from __future__ import annotations

import torch

from cpm_fast.config import MAX_KERNEL
from cpm_fast.kernels.spectral_plans import padded_channels
from cpm_fast.ops.plans.modes import DTYPES
from cpm_fast.reference.direct_conv import BLOCK

TILES = (16, 20, 22, 24, 32, 36, 48, 54, 64)


def check_conv(
    name: str, x: torch.Tensor, spectra: torch.Tensor, bias_shape: tuple[int, ...], kernel: int, **others: torch.Tensor
) -> None:
    """Refuse a map and spectra whose shapes, types or devices do not fit each other."""
    if x.ndim != 4:
        raise ValueError(f"{name} must be [N, C, h, w], got {list(x.shape)}")
    if len(bias_shape) != 1:
        raise ValueError(f"bias must be [O], got {list(bias_shape)}")
    check_kernel(kernel)
    if x.device.type == "cuda" and spectra.ndim == 4:
        wanted: tuple[int, ...] = (bias_shape[0], 2, padded_channels(x.shape[1]))
    else:
        wanted = (-(-bias_shape[0] // BLOCK), x.shape[1], kernel, 2, BLOCK)
    if spectra.shape[1:] != wanted or tile_of(spectra) not in TILES:
        raise ValueError(f"spectra must be {['F', *wanted]} of transform_weight, got {list(spectra.shape)}")
    check_tensors(name, **{name: x}, **others)
    check_spectra(name, x, spectra)


def check_spectra(name: str, x: torch.Tensor, spectra: torch.Tensor) -> None:
    """Refuse spectra of a type that the ops do not take, or on another device than x."""
    if spectra.dtype not in spectra_types(x.device):
        raise TypeError(f"spectra must be {dtype_names(spectra_types(x.device))}, got {spectra.dtype}")
    if spectra.device != x.device:
        raise RuntimeError(f"spectra must be on {x.device} as {name} is, got {spectra.device}")


def check_kernel(kernel: int) -> None:
    """Refuse a kernel side that is even or too large."""
    if not 1 <= kernel <= MAX_KERNEL or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd and at most {MAX_KERNEL}, got {kernel}")


def check_gate(gradient: torch.Tensor, out: torch.Tensor | None) -> None:
    """Refuse an `out` whose shape is not the gradient's."""
    if out is not None and out.shape != gradient.shape:
        raise ValueError(f"out must be {list(gradient.shape)} as gradient is, got {list(out.shape)}")


def check_tensors(first: str, **tensors: torch.Tensor) -> None:
    """Refuse tensors of other types, or on another device, than the first."""
    check_types(**tensors)
    for name, tensor in tensors.items():
        if tensor.device != tensors[first].device:
            raise RuntimeError(f"{name} must be on {tensors[first].device} as {first} is, got {tensor.device}")
        if tensor.dtype != tensors[first].dtype:
            raise TypeError(f"{name} must be {tensors[first].dtype} as {first} is, got {tensor.dtype}")


def types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Return the types that the spectral ops take on a device."""
    return DTYPES if device.type == "cuda" else (torch.float32,)


def spectra_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Return the types of spectra on a device."""
    return DTYPES if device.type == "cuda" else (torch.float32, torch.bfloat16)


def dtype_names(types: tuple[torch.dtype, ...]) -> str:
    """Name types in words."""
    return " or ".join(str(each) for each in types)


def check_types(**tensors: torch.Tensor) -> None:
    """Refuse tensors of a type that the spectral ops do not take."""
    for name, tensor in tensors.items():
        if tensor.dtype not in types(tensor.device):
            raise TypeError(f"{name} must be {dtype_names(types(tensor.device))}, got {tensor.dtype}")


def tile_of(spectra: torch.Tensor) -> int:
    """Return the tile by the number of frequencies, on CUDA t*t/2, elsewhere t/2; 0 if there is no such tile."""
    by_frequencies = {tile * tile // 2 if spectra.ndim == 4 else tile // 2: tile for tile in TILES}
    return by_frequencies.get(spectra.shape[0], 0) if spectra.ndim in (4, 6) else 0
