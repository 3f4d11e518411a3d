"""Code that convolutions for inference share: layouts of maps, windows of a pool, and their checks."""

from __future__ import annotations

import torch

from cpm_fast.config import MAX_KERNEL
from cpm_fast.ops.memory import address_range, foreign_kind

# (side, padding) of the windows of a maximum, two cells apart.
Pool = tuple[int, int]
POOLS: tuple[Pool, ...] = ((2, 0), (3, 0), (3, 1))
NO_POOL: Pool = (0, 0)


def pitch_of(tensor: torch.Tensor) -> int | None:
    """Return the floats from a cell to the next of a map in channels_last, or channels of one; None for other layouts.

    The step of a side of 1 does not matter, channels included, so that the strides of such a tensor fit several
    layouts: this number reaches exactly the tensor's own values.
    """
    images, channels, height, width = tensor.shape
    if not tensor.numel():
        return channels
    sides = (images, channels, height, width)
    pitch = channels
    for axis in (3, 2, 0):
        if sides[axis] > 1:
            pitch = tensor.stride(axis)
            break
    wanted = (height * width * pitch, 1, width * pitch, pitch)
    fits = all(side == 1 or step == want for side, step, want in zip(sides, tensor.stride(), wanted, strict=True))
    return pitch if fits and pitch >= channels else None


def out_shape(x: torch.Tensor, outputs: int, pool: int) -> tuple[int, ...]:
    """Return the shape of a convolution of x, with pooling windows of `pool` cells per side if that is not 0."""
    height, width = x.shape[2:]
    return (x.shape[0], outputs, height // 2, width // 2) if pool else (x.shape[0], outputs, height, width)


def check_pool(x: torch.Tensor, pool: Pool | None) -> None:
    """Raise ValueError for windows that do not exist, or on odd sides."""
    if pool is None:
        return
    if tuple(pool) not in POOLS:
        raise ValueError(f"pool must be one of {list(POOLS)}, got {pool!r}")
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"x must have even h and w with pool, got {list(x.shape)}")


def check_out(x: torch.Tensor, outputs: int, pool: Pool | None, out: torch.Tensor | None, **read: torch.Tensor) -> None:
    """Refuse an `out` of another shape, dtype, device or layout, or one that is also read."""
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
    for name, tensor in {"x": x, **read}.items():
        if share_memory(out, tensor):
            raise ValueError(f"out must lie apart from {name}, which is read while out is written")


def note_written(out: torch.Tensor) -> None:
    """Tell autograd that native code has written a tensor that it may have kept for a backward pass."""
    if not torch.compiler.is_compiling() and not out.is_inference():
        torch.autograd.graph.increment_version(out)


def share_memory(out: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether writing a map may change another tensor; different channels of one map lie apart."""
    if not out.numel() or not other.numel() or any(map(foreign_kind, (out, other))) or out.device.type == "meta":
        return False
    if out.untyped_storage().data_ptr() != other.untyped_storage().data_ptr():
        return False
    (begin, end), (other_begin, other_end) = address_range(out), address_range(other)
    if begin >= other_end or other_begin >= end:
        return False
    pitch = pitch_of(out)
    if pitch is None or other.ndim != 4 or pitch_of(other) != pitch:
        return True
    channels, other_channels = out.shape[1], other.shape[1]
    step = (other_begin - begin) // out.element_size() % pitch
    return not (channels <= step and step + other_channels <= pitch)


def check_weight(weight: torch.Tensor) -> None:
    """Refuse a tensor that is no weight of a convolution."""
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise ValueError(f"weight must be [O, C, k, k] with odd k, got {list(weight.shape)}")
    if weight.shape[2] > MAX_KERNEL:
        raise ValueError(f"weight must have k of at most {MAX_KERNEL}, got {list(weight.shape)}")
