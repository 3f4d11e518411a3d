"""Copies, sums and averages of maps, bound to their tensors: none of them wakes PyTorch's threads.

Those spin for up to 15 ms after an operation, on the cores of the next layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from cpm_fast.config import STRIDE
from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import BoundLayer, Call, Chain
from cpm_fast.ops.maps import share_memory
from cpm_fast.ops.memory import address, check_memory, check_storages, foreign_kind, storages_of

# PyTorch copies fewer values than these in the thread of its caller (at::internal::GRAIN_SIZE).
GRAIN = 32768


def copy_maps(source: torch.Tensor, target: torch.Tensor) -> None:
    """Copy source to target, of one shape [N, C, h, w], on the threads that the CPU's ops use.

    PyTorch's own copy works too, but its threads spin for milliseconds afterward, on the cores of the next layer.
    """
    if not _native_copies(source, target) or source.shape != target.shape:
        target.copy_(source)
        return
    addresses = address("source", source), address("target", target)
    backend.native().copy_maps_cpu(*addresses, _copy_params(source, target), backend.threads())


def bound_copy(source: torch.Tensor, target: torch.Tensor) -> Call:
    """Bind `copy_maps` to these tensors, checked once: every call reads the current values of source.

    Returns:
        A `Chain` where native code copies.

    Raises:
        RuntimeError: a tensor's memory was released; the call raises it too.
    """
    if not _native_copies(source, target) or source.shape != target.shape:
        return partial(target.copy_, source)
    params = _copy_params(source, target)

    def add(native: Any, *addresses: int) -> None:
        native.copy_maps(*addresses, params)

    return Chain([BoundLayer({"source": source, "target": target}, add)])


def bound_fill(target: torch.Tensor) -> Callable[[torch.Tensor], object]:
    """Bind `copy_maps` to its target.

    Raises:
        RuntimeError: the target's memory was released; the call raises it too.

    Returns:
        A call that takes a source that `check_memory` accepts, of the target's shape.
    """
    if not _native_copies(target):
        return target.copy_
    check_memory("target", target)
    native, storages = backend.native(), storages_of({"target": target})

    @lru_cache(maxsize=8)
    def params(strides: tuple[int, ...]) -> Any:
        return native.CopyMaps(sizes=target.shape, from_strides=strides, to_strides=target.stride())

    def call(source: torch.Tensor) -> None:
        if source.dtype != torch.float32:
            target.copy_(source)
            return
        check_storages(storages)
        native.copy_maps_cpu(source.data_ptr(), target.data_ptr(), params(source.stride()), backend.threads())

    return call


def bound_clone(source: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Bind a copy of maps [N, C, h, w] into a new tensor in channels_last; otherwise as `bound_copy`."""
    clone = partial(source.clone, memory_format=torch.channels_last)
    if not _native_copies(source):
        return clone
    native = backend.native()
    kind = {"dtype": source.dtype, "device": source.device, "memory_format": torch.channels_last}
    like = partial(torch.empty, source.shape, **kind)
    params = _copy_params(source, like())
    check_memory("source", source)
    storages = storages_of({"source": source})

    def call() -> torch.Tensor:
        check_storages(storages)
        if source.numel() < GRAIN:
            return clone()
        target = like()
        native.copy_maps_cpu(source.data_ptr(), address("target", target), params, backend.threads())
        return target

    return call


def _copy_params(source: torch.Tensor, target: torch.Tensor) -> Any:
    return backend.native().CopyMaps(sizes=source.shape, from_strides=source.stride(), to_strides=target.stride())


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
