"""What convolutions for inference share: layouts of maps, windows of a pool, and their checks."""

from __future__ import annotations

import torch

from cpm_fast.ops import backend

MAX_KERNEL = 15
BLOCK = 16
# (side, padding) of the windows of a maximum, two cells apart.
Pool = tuple[int, int]
POOLS: tuple[Pool, ...] = ((2, 0), (3, 0), (3, 1))
NO_POOL: Pool = (0, 0)


def pitch_of(tensor: torch.Tensor) -> int | None:
    """Floats from a cell to the next, of a map in channels_last or some channels of one; None for another layout."""
    images, channels, height, width = tensor.shape
    if width == height == images == 1 or not tensor.numel():
        return channels
    pitch = tensor.stride(3) if width > 1 else tensor.stride(2) if height > 1 else tensor.stride(0)
    wanted = (height * width * pitch, 1, width * pitch, pitch)
    sides = zip(tensor.stride(), wanted, tensor.shape, strict=True)
    return pitch if pitch >= channels and all(step == want or side == 1 for step, want, side in sides) else None


def out_shape(x: torch.Tensor, outputs: int, pool: int) -> tuple[int, ...]:
    """Of what a convolution of x gives, with windows of that many cells a side if not 0."""
    height, width = x.shape[2:]
    return (x.shape[0], outputs, height // 2, width // 2) if pool else (x.shape[0], outputs, height, width)


def check_pool(x: torch.Tensor, pool: Pool | None) -> None:
    """Raises ValueError for windows that there are not, or on odd sides."""
    if pool is None:
        return
    if tuple(pool) not in POOLS:
        raise ValueError(f"pool must be one of {list(POOLS)}, got {pool!r}")
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"x must have even h and w with pool, got {list(x.shape)}")


def check_out(x: torch.Tensor, outputs: int, pool: Pool | None, out: torch.Tensor | None) -> None:
    """Raises what an `out` of another shape, dtype, device or layout is refused with."""
    if out is None:
        return
    if out.dtype != x.dtype:
        raise TypeError(f"out must be {x.dtype} as x is, got {out.dtype}")
    if out.device != x.device:
        raise RuntimeError(f"out must be on {x.device} as x is, got {out.device}")
    wanted = out_shape(x, outputs, (pool or NO_POOL)[0])
    if out.shape != wanted:
        raise ValueError(f"out must be {list(wanted)}, got {list(out.shape)}")
    if pitch_of(out) is None:
        raise ValueError(f"out must be in channels_last, or channels of such a map, got strides {list(out.stride())}")


def check_tensors(first: str, **tensors: torch.Tensor) -> None:
    """Raises where a tensor is not float32, or not where the first is."""
    check_float32(**tensors)
    for name, tensor in tensors.items():
        if tensor.device != tensors[first].device:
            raise RuntimeError(f"{name} must be on {tensors[first].device} as {first} is, got {tensor.device}")


def check_float32(**tensors: torch.Tensor) -> None:
    """Raises where a tensor is not float32."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name} must be torch.float32, got {tensor.dtype}")


def copy_maps(source: torch.Tensor, target: torch.Tensor) -> None:
    """Copy source to target, of one shape [N, C, h, w], on the threads that the CPU's ops use.

    PyTorch's own copy would do, but its threads spin for milliseconds afterwards, on the cores of the next layer.
    """
    plain = all(
        each.dtype == torch.float32 and each.device.type == "cpu" and not each.is_neg() for each in (source, target)
    )
    if not plain or source.shape != target.shape or backend.native_missing("cpu") is not None:
        target.copy_(source)
        return
    backend.native().copy_maps_cpu(
        source.data_ptr(), target.data_ptr(), source.shape, source.stride(), target.stride(), backend.threads()
    )
