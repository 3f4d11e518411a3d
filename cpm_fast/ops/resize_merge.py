"""`resize_merge`: belief maps of several scales brought to one frame and averaged."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import check_no_gradient, register_native
from cpm_fast.reference.resize_merge import resize_merge as reference_resize_merge

MAX_SIDE = 32768
MAX_SCALES = 32


def resize_merge(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Average maps over S scales, each resized to the same H x W pixels (test protocol of Wei et al. 2016).

    Output pixel x of scale s sees cell sx * x + ox, likewise y, through the cubic convolution kernel of Keys 1981
    with a = -0.5; cells beyond the border are the border's, and nothing is antialiased. If that cell lies outside
    the crop (below -0.5 or above w - 0.5), parts are 0 and the last map, the background, is 1. One resize, where the
    MATLAB release resizes twice and so blurs a little more. Every backend takes the same float32 operations in the
    same order. A cell that is NaN or infinite reaches the pixels whose 4 x 4 cells it is among, also where its weight
    is 0, and no others.

    Args:
        maps: [N, S, P+1, h, w] float32, background last; S 1 to 32, h and w 1 to 32768.
        frames: [S, 4] or [N, S, 4] float64, (sx, sy, ox, oy) per scale, as in `Frame`: cell = s * pixel + o; on the
            device of maps. On a GPU frames that are not finite are not refused, since that would make it wait: their
            pixels lie outside.
        size: (H, W) in pixels of the output, each 1 to 32768.

    Returns:
        [N, P+1, H, W] float32, contiguous. No gradient flows to maps.

    Raises:
        ValueError: a shape does not fit, a size is out of range, or frames are not finite.
        TypeError: maps is not float32, or frames not float64.
        RuntimeError: the devices differ, maps requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> maps = torch.rand(1, 2, 3, 6, 6)
        >>> frames = torch.tensor([[1 / 8, 1 / 8, -0.4375, -0.4375]] * 2, dtype=torch.float64)
        >>> resize_merge(maps, frames, (48, 48)).shape
        torch.Size([1, 3, 48, 48])
    """
    check_stack("resize_merge", maps, frames, size)
    check_storage(maps=maps, frames=frames)
    kind = maps.device.type
    if backend.use_fast("resize_merge", kind, backend.native_missing(kind)):
        return torch.ops.cpm_fast.resize_merge(maps, frames, size)
    check_finite(frames)
    return reference_resize_merge(maps, frames, size)


def check_stack(op: str, maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> None:
    """Check everything about the arguments but their values."""
    if maps.ndim != 5 or maps.shape[2] == 0:
        raise ValueError(f"maps must be [N, S, P+1, h, w] with P+1 of at least 1, got {list(maps.shape)}")
    images, scales, _, height, width = maps.shape
    if not 1 <= scales <= MAX_SCALES or not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(
            f"maps must be [N, S, P+1, h, w] with S 1 to {MAX_SCALES}, h and w 1 to {MAX_SIDE}, got {list(maps.shape)}"
        )
    if tuple(frames.shape) not in ((scales, 4), (images, scales, 4)):
        raise ValueError(f"frames must be [{scales}, 4] or [{images}, {scales}, 4], got {list(frames.shape)}")
    if maps.dtype != torch.float32:
        raise TypeError(f"maps must be torch.float32, got {maps.dtype}")
    if frames.dtype != torch.float64:
        raise TypeError(f"frames must be torch.float64, got {frames.dtype}")
    if frames.device != maps.device:
        raise RuntimeError(f"frames must be on {maps.device} as maps is, got {frames.device}")
    if len(size) != 2 or not all(1 <= side <= MAX_SIDE for side in size):
        raise ValueError(f"size must be (H, W), each 1 to {MAX_SIDE} pixels, got {size}")
    check_no_gradient(op, maps=maps)


def check_finite(frames: torch.Tensor) -> None:
    """Refuse frames that are not finite, if reading them is free; native code checks for itself."""
    if frames.device.type == "cpu" and not torch.compiler.is_compiling() and not frames.isfinite().all():
        raise ValueError(f"frames must be finite, got {frames.tolist()}")


def native_params(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> Any:
    """Return the sizes that native code takes."""
    return _params(tuple(maps.shape), tuple(size), len(frames) if frames.ndim == 3 else 1)


@lru_cache(maxsize=64)
def _params(shape: tuple[int, ...], size: tuple[int, ...], frame_sets: int) -> Any:
    images, scales, count, height, width = shape
    return backend.native().ResizeMerge(
        images=images,
        scales=scales,
        maps=count,
        cell_height=height,
        cell_width=width,
        height=size[0],
        width=size[1],
        frame_sets=frame_sets,
    )


torch.library.define("cpm_fast::resize_merge", "(Tensor maps, Tensor frames, SymInt[2] size) -> Tensor")


@torch.library.register_fake("cpm_fast::resize_merge")
def _fake(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return maps.new_empty((maps.shape[0], maps.shape[2], *size))


def _cpu(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    maps, frames = maps.contiguous(), frames.contiguous()
    merged = maps.new_empty((maps.shape[0], maps.shape[2], *size))
    backend.native().resize_merge_cpu(
        address("maps", maps),
        address("frames", frames),
        address("merged", merged),
        native_params(maps, frames, size),
        backend.threads(),
    )
    return merged


def _cuda(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    maps, frames = maps.contiguous(), frames.contiguous()
    merged = maps.new_empty((maps.shape[0], maps.shape[2], *size))
    with torch.cuda.device(maps.device):
        stream = torch.cuda.current_stream().cuda_stream
        backend.native().resize_merge_cuda(
            address("maps", maps),
            address("frames", frames),
            address("merged", merged),
            native_params(maps, frames, size),
            maps.device.index,
            stream,
        )
    return merged


register_native("resize_merge", cpu=_cpu, cuda=_cuda)
