"""`gaussian_targets`: the ideal belief maps of annotated parts, which are the targets of every stage."""

from __future__ import annotations

from typing import Any

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import address, check_storage
from cpm_fast.ops.registration import check_no_gradient, register_native
from cpm_fast.reference.gaussian_targets import gaussian_targets as reference_gaussian_targets

MAX_SIDE_CELLS = 32768
SIGMA_RANGE_PX = (1e-3, 1e6)
STRIDE_RANGE_PX = (1.0, 1e6)


def gaussian_targets(
    parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float
) -> torch.Tensor:
    """Compute ideal belief maps (Wei et al. 2016, section 3.2.1), by the rules of the authors' data layer.

    A person's peak in part p is exp(-d^2 / (2 sigma^2)), d the distance in box pixels between the part and a cell, and
    0 where d^2 / (2 sigma^2) > 4.6052, that is below 1 % or beyond 3.035 sigma. Cell g stands at box pixel
    stride g + stride/2 - 0.5 on each axis. The peaks of several people add, and the sum is clipped at 1. The last map
    is background, 1 - max over the parts. At the border of a peak d^2 is compared in float32, each product and sum
    rounded on its own, so all backends light the same cells; values agree to rounding.

    Args:
        parts: [N, K, P, 2] float32, (x, y) in box pixels, of K people per image; K may be 0. A part may lie outside the
            box: the share of its peak inside is computed.
        labeled: [N, K, P] bool, on the device of parts. Values of parts where it is False do not matter, NaN
            included. A labeled part that is not finite counts as unlabeled: to refuse it would make a GPU wait.
        size: (h, w) of the maps in cells, each 1 to 32768.
        sigma: of the peak, in box pixels, 0.001 to 1e6; the release has 7.
        stride: box pixels per cell, 1 to 1e6; the release has 8.

    Returns:
        [N, P+1, h, w] float32 in [0, 1], contiguous. No gradient flows to parts.

    Raises:
        ValueError: a shape does not fit, or a number is out of range.
        TypeError: parts is not float32, or labeled not bool.
        RuntimeError: the devices differ, parts requires a gradient in grad mode, or the backend is missing.

    Examples:
        >>> parts, labeled = torch.tensor([[[[27.5, 19.5]]]]), torch.ones(1, 1, 1, dtype=torch.bool)
        >>> maps = gaussian_targets(parts, labeled, (6, 6), 7.0, 8.0)
        >>> maps.shape, float(maps[0, 0, 2, 3])  # cell 3 stands at box pixel 27.5
        (torch.Size([1, 2, 6, 6]), 1.0)
    """
    _check(parts, labeled, size, sigma, stride)
    check_storage(parts=parts, labeled=labeled)
    kind = parts.device.type
    if backend.use_fast("gaussian_targets", kind, backend.native_missing(kind)):
        return torch.ops.cpm_fast.gaussian_targets(parts, labeled, size, sigma, stride)
    return reference_gaussian_targets(parts, labeled, size, sigma, stride)


def _check(parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float) -> None:
    if parts.ndim != 4 or parts.shape[3] != 2 or parts.shape[2] == 0:
        raise ValueError(f"parts must be [N, K, P, 2] with P of at least 1, got {list(parts.shape)}")
    if labeled.shape != parts.shape[:3]:
        raise ValueError(f"labeled must be [N, K, P] = {list(parts.shape[:3])}, got {list(labeled.shape)}")
    if parts.dtype != torch.float32:
        raise TypeError(f"parts must be torch.float32, got {parts.dtype}")
    if labeled.dtype != torch.bool:
        raise TypeError(f"labeled must be torch.bool, got {labeled.dtype}")
    if labeled.device != parts.device:
        raise RuntimeError(f"labeled must be on {parts.device} as parts is, got {labeled.device}")
    if len(size) != 2 or not all(1 <= side <= MAX_SIDE_CELLS for side in size):
        raise ValueError(f"size must be (h, w), each 1 to {MAX_SIDE_CELLS} cells, got {size}")
    for name, value, (low, high) in (("sigma", sigma, SIGMA_RANGE_PX), ("stride", stride, STRIDE_RANGE_PX)):
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low:g} to {high:g} box pixels, got {value}")
    check_no_gradient("gaussian_targets", parts=parts)


torch.library.define(
    "cpm_fast::gaussian_targets",
    "(Tensor parts, Tensor labeled, SymInt[2] size, float sigma, float stride) -> Tensor",
)


@torch.library.register_fake("cpm_fast::gaussian_targets")
def _fake(
    parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float
) -> torch.Tensor:
    return parts.new_empty((parts.shape[0], parts.shape[2] + 1, *size))


def _params(parts: torch.Tensor, size: tuple[int, int], sigma: float, stride: float) -> Any:
    images, people, part_count, _ = parts.shape
    return backend.native().GaussianTargets(
        images=images, people=people, parts=part_count, height=size[0], width=size[1], sigma=sigma, stride=stride
    )


def _cpu(
    parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float
) -> torch.Tensor:
    parts, labeled = parts.contiguous(), labeled.contiguous()
    maps = parts.new_empty((parts.shape[0], parts.shape[2] + 1, *size))
    backend.native().gaussian_targets_cpu(
        address("parts", parts),
        address("labeled", labeled),
        address("maps", maps),
        _params(parts, size, sigma, stride),
        backend.threads(),
    )
    return maps


def _cuda(
    parts: torch.Tensor, labeled: torch.Tensor, size: tuple[int, int], sigma: float, stride: float
) -> torch.Tensor:
    parts, labeled = parts.contiguous(), labeled.contiguous()
    maps = parts.new_empty((parts.shape[0], parts.shape[2] + 1, *size))
    with torch.cuda.device(parts.device):
        stream = torch.cuda.current_stream().cuda_stream
        backend.native().gaussian_targets_cuda(
            address("parts", parts),
            address("labeled", labeled),
            address("maps", maps),
            _params(parts, size, sigma, stride),
            parts.device.index,
            stream,
        )
    return maps


register_native("gaussian_targets", cpu=_cpu, cuda=_cuda)
