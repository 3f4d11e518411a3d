"""`many_peaks`: every cell of a map that is above a threshold and the highest within a radius."""

from __future__ import annotations

import math

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import check_no_gradient, register_native
from cpm_fast.reference.many_peaks import many_peaks as reference_many_peaks

MAX_SIDE_PX = 32768


def many_peaks(maps: torch.Tensor, threshold: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate every cell that is above a threshold and the highest within a radius.

    A cell is a peak if its value is above `threshold` and no value within `radius` cells on both axes, a square window
    that ends at the border, is higher; of ties in a window the first in row-major order counts. A NaN is no peak and
    hides none. Two peaks are more than `radius` apart on some axis, so a map has at most
    K = ceil(H / (radius + 1)) ceil(W / (radius + 1)).

    The point moves, on each axis by itself, to the vertex of the parabola through the peak and its two neighbors, as
    that of `peaks` does; the score is the peak itself.

    Args:
        maps: [N, H, W] float32; H and W 1 to 32768.
        threshold: that a peak is above; a number, infinities too.
        radius: of the window, in cells, 1 to 32768.

    Returns:
        points [N, K, 2] float32, (x, y) in cells, and scores [N, K] float32: the highest first, ties in row-major
        order, and -inf at (0, 0) behind the last peak. No gradient flows to maps.

    Raises:
        ValueError: maps has another shape, threshold is NaN, or radius is out of its range.
        TypeError: maps is not float32.
        RuntimeError: maps requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> maps = torch.zeros(1, 4, 5)
        >>> maps[0, 0, 1], maps[0, 3, 4] = 1, 2
        >>> points, scores = many_peaks(maps, 0.5, 1)
        >>> points[0, :2].tolist(), scores[0].tolist()
        ([[4.0, 3.0], [1.0, 0.0]], [2.0, 1.0, -inf, -inf, -inf, -inf])
    """
    if maps.ndim != 3 or not all(1 <= side <= MAX_SIDE_PX for side in maps.shape[1:]):
        raise ValueError(f"maps must be [N, H, W] with H and W 1 to {MAX_SIDE_PX}, got {list(maps.shape)}")
    if maps.dtype != torch.float32:
        raise TypeError(f"maps must be torch.float32, got {maps.dtype}")
    if math.isnan(threshold):
        raise ValueError(f"threshold must be a number, got {threshold}")
    if not 1 <= radius <= MAX_SIDE_PX:
        raise ValueError(f"radius must be 1 to {MAX_SIDE_PX} cells, got {radius}")
    check_no_gradient("many_peaks", maps=maps)
    check_storage(maps=maps)
    kind = maps.device.type
    if backend.use_fast("many_peaks", kind, backend.native_missing(kind)):
        return torch.ops.cpm_fast.many_peaks(maps, threshold, radius)
    return reference_many_peaks(maps, threshold, radius)


torch.library.define("cpm_fast::many_peaks", "(Tensor maps, float threshold, int radius) -> (Tensor, Tensor)")


@torch.library.register_fake("cpm_fast::many_peaks")
def _fake(maps: torch.Tensor, threshold: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, height, width = maps.shape
    most = ((height + radius) // (radius + 1)) * ((width + radius) // (radius + 1))
    return maps.new_empty((images, most, 2)), maps.new_empty((images, most))


def _cpu(maps: torch.Tensor, threshold: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    maps = maps.contiguous()
    images, height, width = maps.shape
    points, scores = _fake(maps, threshold, radius)
    native = backend.native()
    native.many_peaks_cpu(
        address("maps", maps),
        address("points", points),
        address("scores", scores),
        native.ManyPeaks(maps=images, height=height, width=width, threshold=threshold, radius=radius),
        backend.threads(),
    )
    return points, scores


def _cuda(maps: torch.Tensor, threshold: float, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    maps = maps.contiguous()
    images, height, width = maps.shape
    points, scores = _fake(maps, threshold, radius)
    found = torch.empty(scores.shape, dtype=torch.int64, device=maps.device)
    native = backend.native()
    with torch.cuda.device(maps.device):
        stream = torch.cuda.current_stream().cuda_stream
        native.many_peaks_cuda(
            address("maps", maps),
            address("points", points),
            address("scores", scores),
            address("found", found),
            native.ManyPeaks(maps=images, height=height, width=width, threshold=threshold, radius=radius),
            maps.device.index,
            stream,
        )
    return points, scores


register_native("many_peaks", cpu=_cpu, cuda=_cuda)
