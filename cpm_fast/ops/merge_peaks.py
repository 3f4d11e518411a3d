"""`merge_peaks`: `peaks` of the parts of `resize_merge` in one pass, without the full-size maps."""

from __future__ import annotations

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import register_native
from cpm_fast.ops.resize_merge import check_finite, check_stack, native_params
from cpm_fast.reference.merge_peaks import merge_peaks as reference_merge_peaks


def merge_peaks(
    maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Locate the highest cell of each part's merged map (test protocol of Wei et al. 2016).

    Within a backend this equals peaks(resize_merge(maps, frames, size)[:, :P], refine) index for index, ties and
    sub-pixel fit included, but only the few pixels are evaluated that bounds of the cubic leave open. The background,
    the last map, is not looked at. A merged pixel that is NaN never wins; a part with nothing but NaN has a NaN point
    and a NaN score; a part that has a NaN, an infinity or magnitudes whose sum over the scales exceeds 1e30 among its
    cells gets the same result as any other, but slower, since all its pixels are evaluated.

    Args:
        maps: [N, S, P+1, h, w] float32, background last; S 1 to 32, h and w 1 to 32768.
        frames: [S, 4] or [N, S, 4] float64, (sx, sy, ox, oy) per scale, as in `Frame`: cell = s * pixel + o; on the
            device of maps. On a GPU frames that are not finite are not refused, since that would make it wait: their
            pixels lie outside.
        size: (H, W) in pixels of the output that is searched, each 1 to 32768.
        refine: whether to go below the pixel, see `peaks`.

    Returns:
        points [N, P, 2] float32, (x, y) in pixels of the output, and scores [N, P] float32. No gradient flows to maps.

    Raises:
        ValueError: a shape does not fit, a size is out of range, or frames are not finite.
        TypeError: maps is not float32, or frames not float64.
        RuntimeError: the devices differ, maps requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> maps = torch.zeros(1, 1, 2, 6, 6)
        >>> maps[0, 0, 0, 2, 3] = 1
        >>> frames = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
        >>> points, scores = merge_peaks(maps, frames, (6, 6), refine=False)
        >>> points.tolist(), scores.tolist()
        ([[[3.0, 2.0]]], [[1.0]])
    """
    check_stack("merge_peaks", maps, frames, size)
    check_storage(maps=maps, frames=frames)
    kind = maps.device.type
    if backend.use_fast("merge_peaks", kind, backend.native_missing(kind)):
        return torch.ops.cpm_fast.merge_peaks(maps, frames, size, refine)
    check_finite(frames)
    return reference_merge_peaks(maps, frames, size, refine)


torch.library.define(
    "cpm_fast::merge_peaks", "(Tensor maps, Tensor frames, SymInt[2] size, bool refine) -> (Tensor, Tensor)"
)


@torch.library.register_fake("cpm_fast::merge_peaks")
def _fake(
    maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    images, parts = maps.shape[0], maps.shape[2] - 1
    return maps.new_empty((images, parts, 2)), maps.new_empty((images, parts))


def _cpu(
    maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    maps, frames = maps.contiguous(), frames.contiguous()
    images, parts = maps.shape[0], maps.shape[2] - 1
    points, scores = maps.new_empty((images, parts, 2)), maps.new_empty((images, parts))
    backend.native().merge_peaks_cpu(
        address("maps", maps),
        address("frames", frames),
        address("points", points),
        address("scores", scores),
        native_params(maps, frames, size),
        refine,
        backend.threads(),
    )
    return points, scores


def _cuda(
    maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    maps, frames = maps.contiguous(), frames.contiguous()
    images, parts = maps.shape[0], maps.shape[2] - 1
    points, scores = maps.new_empty((images, parts, 2)), maps.new_empty((images, parts))
    bounds = maps.new_empty((images, parts, backend.native().merge_peaks_tiles(*size)))
    with torch.cuda.device(maps.device):
        stream = torch.cuda.current_stream().cuda_stream
        backend.native().merge_peaks_cuda(
            address("maps", maps),
            address("frames", frames),
            address("points", points),
            address("scores", scores),
            address("bounds", bounds),
            native_params(maps, frames, size),
            refine,
            maps.device.index,
            stream,
        )
    return points, scores


register_native("merge_peaks", cpu=_cpu, cuda=_cuda)
