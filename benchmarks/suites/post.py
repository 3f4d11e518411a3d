"""After the network: resize_merge, peaks and merge_peaks against OpenCV and PyTorch at the sizes of inference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case, Contestant, relative_error
from cpm_fast.ops import backend
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.reference.resize_merge import cubic_taps
from cpm_fast.reference.resize_merge import resize_merge as resize_merge_reference
from support.cases import RELATIVE_ERROR, RESIZE_MERGE_TIMED, MergeCase

# The relative amount by which belief may be lower at a peer's pixel. OpenCV's cubic has a = -0.75, and its crops are
# cut to whole cells and pixels, which moves its maps by up to half a pixel each: up to 3 % was measured.
LOWER_BOUND = 0.05
# The number of timed cases in a level.
MERGED_CASES: dict[Level, int] = {"quick": 2, "tour": 2, "default": 3, "full": len(RESIZE_MERGE_TIMED)}


def cases(level: Level, device: str) -> Iterator[Case]:
    for i, case in enumerate(RESIZE_MERGE_TIMED[: MERGED_CASES[level]]):
        maps, frames = case.inputs(torch.Generator().manual_seed(torch.seed() % 2**32), device)
        yield _merge_peaks(case, maps, frames)
        # The reference of resize_merge takes seconds at the sizes of whole pictures.
        if level == "full" or i < MERGED_CASES["quick"]:
            yield _resize_merge(case, maps, frames)
            yield _peaks(case, resize_merge(maps, frames, case.size))


def matrix(scale: torch.Tensor, offset: torch.Tensor, pixels: int, cells: int) -> torch.Tensor:
    """Return the matrix [pixels, cells] float32 of one axis of one frame, zero outside."""
    taps, weights, inside = cubic_taps(scale[None], offset[None], pixels, cells)
    dense = weights.new_zeros(pixels, cells).scatter_add_(1, taps[0], weights[0] * inside[0, :, None])
    return dense.float()


class Matrices:
    """The peer in PyTorch: both axes of each scale as matrices, computed once and not timed; [N, P, H, W]."""

    def __init__(self, case: MergeCase, frames: torch.Tensor) -> None:
        (height, width), (h, w) = case.size, case.cells
        self.across = torch.stack([matrix(sx, ox, width, w) for sx, _, ox, _ in frames])  # [S, W, w]
        down = torch.stack([matrix(sy, oy, height, h) for _, sy, _, oy in frames])  # [S, H, h]
        # The sum over the scales is part of the second product.
        self.down = down.permute(1, 0, 2).reshape(height, -1) / len(frames)  # [H, S h]

    def merge(self, maps: torch.Tensor) -> torch.Tensor:
        rows = maps[:, :, :-1].transpose(1, 2) @ self.across.mT  # [N, P, S, h, W]
        return self.down @ rows.flatten(2, 3)

    def peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        merged = self.merge(maps)
        scores, index = merged.flatten(2).max(-1)
        width = merged.shape[3]
        return torch.stack([index % width, index // width], -1).float(), scores


class OpenCV:
    """The peer in OpenCV: cv2.resize of the visible cells to whole pixels, added up; then minMaxLoc."""

    def __init__(self, case: MergeCase, frames: torch.Tensor) -> None:
        self.size = case.size
        self.cuts = []
        for sx, sy, ox, oy in frames.tolist():
            down, across = (sy, oy, case.size[0], case.cells[0]), (sx, ox, case.size[1], case.cells[1])
            self.cuts.append([self.cut(*axis) for axis in (down, across)])

    @staticmethod
    def cut(scale: float, offset: float, pixels: int, cells: int) -> tuple[slice, slice]:
        """Return the visible cells, and their pixels."""
        first, last = max(0, round(offset)), min(cells - 1, round(scale * (pixels - 1) + offset))
        place = max(0, round((first - 0.5 - offset) / scale)), min(pixels, round((last + 0.5 - offset) / scale))
        return slice(first, last + 1), slice(*place)

    def sum(self, maps: np.ndarray) -> np.ndarray:
        """Return the sum [H, W] of one part [S, h, w]."""
        total = np.zeros(self.size, np.float32)
        for cells, ((rows, to_rows), (columns, to_columns)) in zip(maps, self.cuts, strict=True):
            size = (to_columns.stop - to_columns.start, to_rows.stop - to_rows.start)
            total[to_rows, to_columns] += cv2.resize(cells[rows, columns], size, interpolation=cv2.INTER_CUBIC)
        return total

    def peaks(self, maps: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (maps.shape[0], maps.shape[2] - 1)
        found = [cv2.minMaxLoc(self.sum(image[:, part])) for image in maps for part in range(shape[1])]
        points = torch.tensor([place for _, _, _, place in found], dtype=torch.float32).view(*shape, 2)
        return points, torch.tensor([value for _, value, _, _ in found]).view(shape) / maps.shape[1]


def _native(device: str) -> str:
    return "C++" if device == "cpu" else "CUDA"


def _name(op: str, case: MergeCase) -> str:
    return f"{op} {case.name}, {case.parts} parts, {case.cells[0]}x{case.cells[1]} cells"


def _sizes(case: MergeCase) -> dict[str, Any]:
    return {"images": case.images, "scales": len(case.factors), "parts": case.parts, "size": list(case.size)}


def _merge_peaks(case: MergeCase, maps: torch.Tensor, frames: torch.Tensor) -> Case:
    device = maps.device.type
    oracle = resize_merge_reference(maps.double().cpu(), frames.cpu(), case.size)[:, :-1].flatten(2)  # [N, P, H W]

    def error(found: tuple[torch.Tensor, torch.Tensor]) -> float:
        x, y = found[0].cpu().long().unbind(-1)
        there = oracle.gather(2, (y * case.size[1] + x)[..., None])[..., 0]
        return float((1 - there / oracle.amax(-1)).max())

    contestants = []
    if backend.native_missing(device) is None:
        contestants.append(Contestant(_native(device), partial(merge_peaks, maps, frames, case.size, False)))
        two_steps = Contestant("materialized", lambda: peaks(resize_merge(maps, frames, case.size)[:, :-1], False))
        contestants.append(two_steps)
    contestants.append(Contestant("PyTorch matrices", partial(Matrices(case, frames).peaks, maps)))
    if device == "cpu":
        cv2.setNumThreads(torch.get_num_threads())
        contestants.append(Contestant("OpenCV resize", partial(OpenCV(case, frames).peaks, maps.numpy()), "a = -0.75"))
    return Case(
        name=_name("merge_peaks", case),
        contestants=contestants,
        error=error,
        bound=LOWER_BOUND,
        bytes=4 * maps[:, :, :-1].numel() + 12 * case.images * case.parts,
        device=device,
        sizes=_sizes(case),
    )


def _resize_merge(case: MergeCase, maps: torch.Tensor, frames: torch.Tensor) -> Case:
    device = maps.device.type
    oracle = resize_merge_reference(maps.double().cpu(), frames.cpu(), case.size)
    contestants = []
    if backend.native_missing(device) is None:
        contestants.append(Contestant(_native(device), partial(resize_merge, maps, frames, case.size)))
    contestants.append(Contestant("reference (PyTorch)", partial(resize_merge_reference, maps, frames, case.size)))
    matrices = Matrices(case, frames)
    contestants.append(Contestant("PyTorch matrices", partial(matrices.merge, maps), "parts only"))
    return Case(
        name=_name("resize_merge", case),
        contestants=contestants,
        error=lambda merged: relative_error(merged, oracle[:, : merged.shape[1]]),
        bound=RELATIVE_ERROR["resize_merge", torch.float32],
        bytes=4 * (maps.numel() + oracle.numel()),
        device=device,
        sizes=_sizes(case),
    )


def _peaks(case: MergeCase, merged: torch.Tensor) -> Case:
    device = merged.device.type
    oracle = merged.double().cpu().flatten(2).amax(-1)
    contestants = []
    if backend.native_missing(device) is None:
        contestants.append(Contestant(_native(device), lambda: peaks(merged, False)[1]))
    contestants.append(Contestant("PyTorch max", lambda: merged.flatten(2).max(-1).values))
    return Case(
        name=_name("peaks", case),
        contestants=contestants,
        error=lambda scores: relative_error(scores, oracle),
        bound=1e-7,
        bytes=4 * merged.numel(),
        device=device,
        sizes=_sizes(case),
    )
