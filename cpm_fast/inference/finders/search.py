"""Search for subjects by the pose network itself, for weights without a finder: the whole picture, then closer looks.

Stage 1 does not depend on the center map, so it runs on whole pictures (fully convolutional) at several magnifications.
A window that holds all parts of a subject at the size that the network was trained for has a high peak for each. The
best windows are looked at as crops, and each look is centered and scaled by the parts that the last one found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from cpm_fast.config import STRIDE, NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.parts import Found, Sighting, look
from cpm_fast.inference.settings import Settings
from cpm_fast.model.crops import network_input
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.numbers import check_score, is_whole, make_plain
from cpm_fast.system.torch_settings import cpu_threads

# Sides of the windows, as shares of the picture's longer side: from a subject that fills it to one a sixth as long.
SIDES = (1.25, 0.9, 0.62, 0.42, 0.28, 0.19)
# Cells from a window to the next: an eighth of a window of 32 cells.
WINDOW_STEP = 4
# Neighboring windows that are averaged, along an axis.
MIDDLE = 5
# Windows that overlap more show the same subject; as intersection over union.
MOST_OVERLAP = 0.45
CANDIDATES = 16
LOOKS = 2
# Peaks below this are noise, and no measure of where a subject is.
LEAST_PEAK = 0.15
# Two poses are one subject where their parts lie this near: exp(-d^2 / (2 (0.1 side)^2)), the mean over parts.
SAME_SUBJECT, SAME_SHARE = 0.3, 0.1


@dataclass(frozen=True)
class Search:
    """Limits of a search.

    Args:
        max_subjects: the most per picture, the best first; None: all.
        min_find_score: the least mean height of a subject's peaks, at most 1.

    Raises:
        ValueError: a number is out of its range.
    """

    max_subjects: int | None = None
    min_find_score: float = 0.3

    def __post_init__(self) -> None:
        make_plain(self)
        if self.max_subjects is not None and (not is_whole(self.max_subjects) or self.max_subjects < 1):
            raise ValueError(f"max_subjects must be a positive whole number or None, got {self.max_subjects!r}")
        check_score(self.min_find_score, "min_find_score")

    def longer_px(self, config: NetworkConfig) -> int:
        """Return the longer side of an image whose smallest windows fill the network's box."""
        return math.ceil(max(config.input_size) / min(SIDES))

    def sightings(self, engine: Engine, settings: Settings, image: np.ndarray) -> list[Sighting]:
        """Return the subjects in an image [H, W, 3] uint8 BGR, best first."""
        plain = settings.plain()
        views = [View.of(engine, plain, image, windows_of(engine, plain, image))]
        for _ in range(LOOKS):
            views.append(View.of(engine, plain, image, views[-1].centered()))
        scores = np.stack([view.scores for view in views])  # [looks, candidates]
        best = scores.argmax(0)
        order = sorted(range(len(best)), key=lambda i: -scores[best[i], i])
        chosen: list[tuple[Sighting, np.ndarray]] = []
        for i in order:
            view = views[best[i]]
            parts = view.parts[i]
            if view.scores[i] < self.min_find_score or len(chosen) == self.max_subjects:
                break
            if all(sameness(parts, other, kept.roi.side) < SAME_SUBJECT for kept, other in chosen):
                chosen.append((view.sightings(settings)[i], parts))
        return [one for one, _ in chosen]


@dataclass(frozen=True, eq=False)
class View:
    """One look at K regions: parts [K, P, 2] in image pixels, peaks [K, P], and their means [K]."""

    skeleton: Skeleton
    settings: Settings
    rois: Sequence[Roi]
    found: Sequence[Found]
    parts: np.ndarray
    peaks: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, engine: Engine, settings: Settings, image: np.ndarray, rois: Sequence[Roi]) -> View:
        """Run the network on the regions."""
        found, config = look(engine, settings, image, [Sighting(roi) for roi in rois]), engine.config
        parts = [roi.to_image(one.parts_box[-1], config.input_size) for roi, one in zip(rois, found, strict=True)]
        peaks = np.array([one.scores[-1] for one in found]).reshape(-1, config.parts)
        # A belief that is NaN gives a peak that is NaN.
        scores = np.nan_to_num(peaks, nan=0.0).mean(1)
        return cls(config.skeleton, settings, rois, found, np.array(parts).reshape(-1, config.parts, 2), peaks, scores)

    def sightings(self, settings: Settings) -> list[Sighting]:
        """Return the regions, and what was found there if the look was as these settings say."""
        found = self.found if self.settings == settings else [None] * len(self.rois)
        return [Sighting(roi, one) for roi, one in zip(self.rois, found, strict=True)]

    def around(self, place: int) -> Roi:
        """Return the region around the parts of one region, by the rule of training; it stays if too few are sure."""
        return region_of_sure_parts(self.parts[place], self.peaks[place], self.skeleton) or self.rois[place]

    def centered(self) -> list[Roi]:
        """Return the regions around the parts of all."""
        return [self.around(place) for place in range(len(self.rois))]


def region_of_sure_parts(parts: np.ndarray, peaks: np.ndarray, skeleton: Skeleton) -> Roi | None:
    """Return the region around parts [P, 2] whose peaks [P] are sure; None if they are fewer than two, or one point."""
    sure = (peaks > LEAST_PEAK) & np.isfinite(parts).all(1)
    try:
        return Roi.from_parts(parts, sure, skeleton).on_grid()
    except ValueError:
        return None


def windows_of(engine: Engine, settings: Settings, image: np.ndarray) -> list[Roi]:
    """Return the windows in which stage 1 sees the most of a subject, the best first, at most CANDIDATES."""
    longer = max(image.shape[:2])
    scored = [pair for share in SIDES for pair in windows_of_side(engine, settings, image, share * longer)]
    scored.sort(key=lambda pair: -pair[0])
    kept: list[Roi] = []
    for _, roi in scored:
        if len(kept) == CANDIDATES:
            break
        if all(overlap(roi, other) <= MOST_OVERLAP for other in kept):
            kept.append(roi)
    return kept


def windows_of_side(engine: Engine, settings: Settings, image: np.ndarray, side: float) -> list[tuple[float, Roi]]:
    """Score the square windows of a side in image pixels by their highest beliefs, averaged over the parts."""
    config = engine.config
    magnification = min(config.input_size) / side
    width, height = (max(1, round(pixels * magnification)) for pixels in image.shape[1::-1])
    shrinks = magnification < 1
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    border = (config.padding_value,) * 3
    whole_cells = cv2.copyMakeBorder(small, 0, -height % STRIDE, 0, -width % STRIDE, cv2.BORDER_CONSTANT, value=border)
    with cpu_threads(settings.threads), torch.inference_mode():
        beliefs = engine(network_input(whole_cells[None], config, engine.device))[0][:, : config.parts]
        cells = min(config.map_size)
        best = F.max_pool2d(beliefs, cells + 1, WINDOW_STEP, cells // 2)  # [1, P, rows, columns]
        # All windows that hold a subject's peaks have one score: an average over them is highest in their middle.
        averaged = F.avg_pool2d(best.mean(1, keepdim=True), MIDDLE, 1, MIDDLE // 2, count_include_pad=False)
        scores = averaged[0, 0].float().cpu().numpy()
    rows, columns = np.indices(scores.shape).reshape(2, -1) * WINDOW_STEP
    centers = (np.stack([columns, rows], 1) * STRIDE + config.cell_offset + 0.5) / magnification - 0.5
    rois = [Roi((float(x), float(y)), side).on_grid() for x, y in centers]
    return list(zip(scores.ravel().tolist(), rois, strict=True))


def overlap(a: Roi, b: Roi) -> float:
    """Return intersection over union of two squares."""
    shared = 1.0
    for axis in (0, 1):
        high = min(a.center[axis] + a.side / 2, b.center[axis] + b.side / 2)
        low = max(a.center[axis] - a.side / 2, b.center[axis] - b.side / 2)
        shared *= max(high - low, 0.0)
    return shared / (a.side**2 + b.side**2 - shared)


def middle_within(roi: Roi, squares: Sequence[Roi]) -> bool:
    """Return whether a region's middle lies in one of the squares."""
    return any(
        all(abs(a - b) <= square.side / 2 for a, b in zip(roi.center, square.center, strict=True)) for square in squares
    )


def sameness(parts: np.ndarray, others: np.ndarray, side: float) -> float:
    """Return the similarity of two poses [P, 2] over the parts that both have: 0 to 1; 0 if there are none.

    Args:
        parts, others: NaN where a part is not known.
        side: of the subject's region.
    """
    squared = ((parts - others) ** 2).sum(axis=-1)
    known = np.isfinite(squared)
    return float(np.exp(-squared[known] / (2 * (SAME_SHARE * side) ** 2)).mean()) if known.any() else 0.0
