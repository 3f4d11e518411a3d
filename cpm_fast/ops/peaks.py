"""`peaks`: the highest point of each belief map."""

from __future__ import annotations

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import check_no_gradient, register_native
from cpm_fast.reference.peaks import peaks as reference_peaks

MAX_SIDE_PX = 32768


def peaks(maps: torch.Tensor, refine: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate the maximum of every map (Wei et al. 2016, Section 3.2: the part is where belief peaks).

    Ties go to the first in row-major order: smallest y, then smallest x (the MATLAB release: smallest x first). A NaN
    never wins; a map of nothing but NaN has a NaN point and a NaN score.

    With `refine` the point moves, on each axis by itself, to the vertex of the parabola through the maximum c and its
    two neighbors l and r (the release stays on the pixel):

        offset = (l - r) / (2 (l - 2 c + r)), clamped to +-0.5

    It doesn't move along an axis on which the maximum lies at the border or the parabola has no finite peak
    (l - 2 c + r not negative, or a neighbor not finite). The score is the maximum itself, refined or not.

    Args:
        maps: [N, M, H, W] float32; H and W 1 to 32768.
        refine: whether to go below the pixel.

    Returns:
        points [N, M, 2] float32, (x, y) in pixels of the map, and scores [N, M] float32. No gradient flows to maps.

    Raises:
        ValueError: maps has another shape.
        TypeError: maps is not float32.
        RuntimeError: maps requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> maps = torch.zeros(1, 1, 4, 5)
        >>> maps[0, 0, 2, 3] = 1
        >>> points, scores = peaks(maps, refine=False)
        >>> points.tolist(), scores.tolist()
        ([[[3.0, 2.0]]], [[1.0]])
    """
    if maps.ndim != 4 or not all(1 <= side <= MAX_SIDE_PX for side in maps.shape[2:]):
        raise ValueError(f"maps must be [N, M, H, W] with H and W 1 to {MAX_SIDE_PX}, got {list(maps.shape)}")
    if maps.dtype != torch.float32:
        raise TypeError(f"maps must be torch.float32, got {maps.dtype}")
    check_no_gradient("peaks", maps=maps)
    check_storage(maps=maps)
    kind = maps.device.type
    if backend.use_fast("peaks", kind, backend.native_missing(kind)):
        return torch.ops.cpm_fast.peaks(maps, refine)
    return reference_peaks(maps, refine)


torch.library.define("cpm_fast::peaks", "(Tensor maps, bool refine) -> (Tensor, Tensor)")


@torch.library.register_fake("cpm_fast::peaks")
def _fake(maps: torch.Tensor, refine: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return maps.new_empty((*maps.shape[:2], 2)), maps.new_empty(maps.shape[:2])


def _cpu(maps: torch.Tensor, refine: bool) -> tuple[torch.Tensor, torch.Tensor]:
    maps = maps.contiguous()
    images, count, height, width = maps.shape
    points, scores = maps.new_empty((images, count, 2)), maps.new_empty((images, count))
    native = backend.native()
    native.peaks_cpu(
        address("maps", maps),
        address("points", points),
        address("scores", scores),
        native.Peaks(maps=images * count, height=height, width=width, refine=refine),
        backend.threads(),
    )
    return points, scores


def _cuda(maps: torch.Tensor, refine: bool) -> tuple[torch.Tensor, torch.Tensor]:
    maps = maps.contiguous()
    images, count, height, width = maps.shape
    points, scores = maps.new_empty((images, count, 2)), maps.new_empty((images, count))
    native = backend.native()
    with torch.cuda.device(maps.device):
        stream = torch.cuda.current_stream().cuda_stream
        native.peaks_cuda(
            address("maps", maps),
            address("points", points),
            address("scores", scores),
            native.Peaks(maps=images * count, height=height, width=width, refine=refine),
            maps.device.index,
            stream,
        )
    return points, scores


register_native("peaks", cpu=_cpu, cuda=_cuda)
