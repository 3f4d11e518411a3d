"""gaussian_targets at the sizes of training: the reference, two vectorized separable forms, C++ and CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case, Contestant, relative_error
from cpm_fast.ops import backend
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.reference.gaussian_targets import LOG_CUTOFF
from cpm_fast.reference.gaussian_targets import gaussian_targets as reference
from support.cases import GAUSSIAN_TARGETS_TIMED, RELATIVE_ERROR, TargetsCase


def cases(level: Level, device: str) -> Iterator[Case]:
    timed = GAUSSIAN_TARGETS_TIMED if level == "full" else GAUSSIAN_TARGETS_TIMED[::2]
    for case in timed:
        yield _case(case, level, device)


def numpy_separable(parts: np.ndarray, labeled: np.ndarray, case: TargetsCase) -> np.ndarray:
    """Return maps [N, P+1, h, w] with one exponential per row and column, as in a NumPy data loader."""
    squares, factors = [], []
    for axis, cells in ((0, case.size[1]), (1, case.size[0])):
        centers = np.arange(cells, dtype=np.float32) * np.float32(case.stride) + np.float32(case.stride / 2 - 0.5)
        squared = np.square(centers - parts[..., axis, None])  # [N, K, P, cells]
        squares.append(squared)
        factors.append(np.exp(squared * np.float32(-1 / (2 * case.sigma**2))) * labeled[..., None])
    lit = squares[1][..., :, None] + squares[0][..., None, :] <= np.float32(2 * case.sigma**2 * LOG_CUTOFF)
    peaks = factors[1][..., :, None] * factors[0][..., None, :] * lit  # [N, K, P, h, w]
    beliefs = np.minimum(peaks.sum(axis=1), 1)
    return np.concatenate([beliefs, 1 - beliefs.max(axis=1, keepdims=True)], axis=1)


def torch_separable(parts: torch.Tensor, labeled: torch.Tensor, case: TargetsCase) -> torch.Tensor:
    """Return the same maps in PyTorch."""
    squares, factors = [], []
    for axis, cells in ((0, case.size[1]), (1, case.size[0])):
        centers = torch.arange(cells, dtype=parts.dtype, device=parts.device) * case.stride + (case.stride / 2 - 0.5)
        squared = (centers - parts[..., axis, None]).square()
        squares.append(squared)
        factors.append(torch.exp(squared * (-1 / (2 * case.sigma**2))) * labeled[..., None])
    lit = squares[1][..., :, None] + squares[0][..., None, :] <= 2 * case.sigma**2 * LOG_CUTOFF
    beliefs = (factors[1][..., :, None] * factors[0][..., None, :] * lit).sum(1).clamp_(max=1)
    return torch.cat([beliefs, 1 - beliefs.amax(1, keepdim=True)], 1)


def _case(case: TargetsCase, level: Level, device: str) -> Case:
    parts, labeled = case.inputs(torch.Generator().manual_seed(torch.seed() % 2**32), device)
    settings = (case.size, case.sigma, case.stride)
    # The values are float64 in the cells that float32 lights: at the border of a peak float32 decides by definition.
    lit = reference(parts, labeled, *settings).cpu()[:, :-1] > 0
    wide = reference(parts.double().cpu(), labeled.cpu(), case.size, case.sigma, case.stride)
    beliefs = torch.where(lit, wide[:, :-1], 0)
    oracle = torch.cat([beliefs, 1 - beliefs.amax(1, keepdim=True)], 1)

    contestants = []
    if backend.native_missing(device) is None:
        native = "C++" if device == "cpu" else "CUDA"
        contestants.append(Contestant(native, partial(gaussian_targets, parts, labeled, *settings)))
    contestants.append(Contestant("reference (PyTorch)", partial(reference, parts, labeled, *settings)))
    contestants.append(Contestant("separable PyTorch", partial(torch_separable, parts, labeled, case)))
    if level == "full":
        compiled = torch.compile(torch_separable, dynamic=False)
        contestants.append(Contestant("separable torch.compile", partial(compiled, parts, labeled, case)))
    if device == "cpu":
        arrays = parts.numpy(), labeled.numpy()
        numpy = Contestant("separable NumPy", lambda: torch.from_numpy(numpy_separable(*arrays, case)), "one thread")
        contestants.append(numpy)

    height, width = case.size
    return Case(
        name=f"gaussian_targets {case.images} images, {case.people} people, {case.parts} parts, {height}x{width}",
        contestants=contestants,
        error=lambda result: relative_error(result, oracle),
        bound=RELATIVE_ERROR["gaussian_targets", torch.float32],
        bytes=4 * case.images * (case.parts + 1) * height * width + 9 * labeled.numel(),
        device=device,
        sizes={"images": case.images, "people": case.people, "parts": case.parts, "size": list(case.size)},
    )
