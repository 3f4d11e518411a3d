"""Code that convolutions for inference share: layouts of maps, windows of a pool, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from cpm_fast.config import MAX_KERNEL, STRIDE
from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, address_range, check_memory, check_storages, foreign_kind, storages_of

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


def copy_maps(source: torch.Tensor, target: torch.Tensor) -> None:
    """Copy source to target, of one shape [N, C, h, w], on the threads that the CPU's ops use.

    PyTorch's own copy works too, but its threads spin for milliseconds afterward, on the cores of the next layer.
    """
    bound_copy(source, target)()


def bound_copy(source: torch.Tensor, target: torch.Tensor) -> Callable[[], object]:
    """Bind `copy_maps` to these tensors, checked once: every call reads the current values of source.

    The checks take longer than the copy where they run with cold caches, as between two layers.

    Raises:
        RuntimeError: a tensor's memory was released; the call raises it too.
    """
    if not _native_copies(source, target) or source.shape != target.shape:
        return partial(target.copy_, source)
    native = backend.native()
    params = native.CopyMaps(sizes=source.shape, from_strides=source.stride(), to_strides=target.stride())
    tensors = {"source": source, "target": target}
    for name, tensor in tensors.items():
        check_memory(name, tensor)
    storages = storages_of(tensors)

    def call() -> None:
        check_storages(storages)
        native.copy_maps_cpu(source.data_ptr(), target.data_ptr(), params, backend.threads())

    return call


def bound_clone(source: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Bind a copy of maps [N, C, h, w] into a new tensor in channels_last; otherwise as `bound_copy`."""
    if not _native_copies(source):
        return partial(source.clone, memory_format=torch.channels_last)
    native = backend.native()
    kind = {"dtype": source.dtype, "device": source.device, "memory_format": torch.channels_last}
    like = partial(torch.empty, source.shape, **kind)
    params = native.CopyMaps(sizes=source.shape, from_strides=source.stride(), to_strides=like().stride())
    check_memory("source", source)
    storages = storages_of({"source": source})

    def call() -> torch.Tensor:
        check_storages(storages)
        target = like()
        native.copy_maps_cpu(source.data_ptr(), address("target", target), params, backend.threads())
        return target

    return call


def _native_copies(*tensors: torch.Tensor) -> bool:
    """Return whether native code may copy between these tensors; PyTorch does the rest."""
    plain = all(
        each.dtype == torch.float32 and each.device.type == "cpu" and foreign_kind(each) is None for each in tensors
    )
    return plain and backend.native_missing("cpu") is None


def bound_sum(x: torch.Tensor, earlier: torch.Tensor, relu: bool, out: torch.Tensor) -> Callable[[], None]:
    """Bind the sum of two maps to buffers: it closes a residual block.

    NumPy adds in the caller's thread; PyTorch's threads would spin for milliseconds afterward, on the cores of the next
    layer.

    Args:
        x, earlier: [N, C, h, w] float32 on the CPU, in channels_last or channels of such a map.
        relu: whether negative sums become 0; a NaN stays one.
        out: of the same shape; lies apart from both.

    Returns:
        A call that fills `out` from the current values of the others.

    Raises:
        TypeError: a map is not float32.
        ValueError: shapes differ, or `out` shares memory with an input.
    """
    maps = {"x": x, "earlier": earlier, "out": out}
    for name, each in maps.items():
        if each.dtype != torch.float32:
            raise TypeError(f"{name} must be torch.float32, got {each.dtype}")
    if not x.shape == earlier.shape == out.shape:
        raise ValueError(f"x, earlier and out must be of one shape, got {[list(each.shape) for each in maps.values()]}")
    for name in ("x", "earlier"):
        if share_memory(out, maps[name]):
            raise ValueError(f"out must lie apart from {name}, which is read while out is written")
    # Cells one after another, channels innermost.
    a, b, total = (each.detach().permute(0, 2, 3, 1).numpy() for each in maps.values())

    def call() -> None:
        np.add(a, b, out=total)
        if relu:
            np.maximum(total, 0.0, out=total)

    return call


def bound_center_pool(kernel: int, out: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Bind `model.walk.center_pool` to a buffer: averages of windows, 8 cells apart, that end at the map's border.

    NumPy adds in the caller's thread, as for `bound_sum`.

    Args:
        kernel: side of the windows, 8 to 15.
        out: [N, 1, h, w] float32 on the CPU.

    Returns:
        A call that fills `out` from a center map [N or 1, 1, 8h, 8w] of any floating type.
    """
    averages = out.detach()[:, 0].numpy()
    counts = _window_sums(np.ones((1, *(STRIDE * side for side in averages.shape[1:])), np.float32), kernel)

    def call(center_map: torch.Tensor) -> None:
        maps = center_map.detach()[:, 0].float().resolve_neg().numpy()
        np.divide(_window_sums(maps, kernel), counts, out=averages)

    return call


def _window_sums(maps: np.ndarray, kernel: int) -> np.ndarray:
    """Return the sums of windows of maps [N, 8h, 8w]: [N, h, w]."""
    for _ in range(2):
        # A window is a block of rows and the first rows of the next block; then the same for columns.
        blocks = maps.reshape(len(maps), -1, STRIDE, maps.shape[2])
        sums = blocks.sum(2)
        sums[:, :-1] += blocks[:, 1:, : kernel - STRIDE].sum(2)
        maps = np.ascontiguousarray(sums.swapaxes(1, 2))
    return maps
