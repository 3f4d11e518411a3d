"""Search for subjects by a finder, a network of its own that sees the whole picture at coarse scales.

A judge then looks at each region that the finder names: a small pose network, or the pose network itself if the finder
names no smaller one. The belief in a center and the height of the peaks fail in different pictures, so the score of a
subject is a mean of both. Finder and judge also place a subject differently, and its region is between the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from cpm_fast.config import SIDE_UNIT_PX, STRIDE, NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.finders.search import MOST_OVERLAP, SAME_SUBJECT, Search, View, overlap, sameness
from cpm_fast.inference.parts import Sighting
from cpm_fast.inference.settings import Settings
from cpm_fast.model.crops import network_input
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.roi import Roi
from cpm_fast.system.torch_settings import cpu_threads

# The largest magnification: in a small picture a finer level shows no more subjects.
MOST_ENLARGED = 1.5
# The pose network looks at parts of the picture, whose longer side therefore has at least so many pixels.
LONGER_PX = 960
# The minimum distance of peaks, in cells.
RADIUS = 1
# Weaker beliefs, smaller shares of the surest belief, and more regions than these are not looked at: each costs a pass
# of the judge. Levels that must agree give the regions of one subject the same belief, so each of them but the first
# adds half as many looks. In 300 composed scenes of held-out LSP and LSP-extended, a share of 0.4 finds as many
# subjects as 0.3 with 0.5 fewer looks; 0.6 loses one in forty.
LEAST_BELIEF, LEAST_SHARE, MOST_LOOKS = 0.05, 0.4, 8
# Neither are beliefs below this share of the least score: in 180 of those scenes 0.9 saves 0.2 looks compared to
# 0.7, and loses no subject.
SHARE_OF_SCORE = 0.9
# Only the surest of regions that overlap more is looked at; the poses tell which of the others are one subject. In
# drawn scenes, 39 of 840 true regions overlap that of a nearer figure by more than 0.45, and four by more than 0.65.
LOOK_OVERLAP = 0.65
# The share of the belief of one level in a subject's score; the rest is the mean height of its peaks.
BELIEF_SHARE = 0.2
# If the pose network itself is the judge, a region that would overlap itself by more stays, and the pose is known.
SAME_REGION = 0.9
# A side is 2 to the power of a map's value; values beyond these are no measure.
OCTAVES = (-4.0, 5.0)


@dataclass(frozen=True)
class Candidate:
    """A region, and the belief in its center."""

    roi: Roi
    score: float


@dataclass(frozen=True, eq=False)
class Finder:
    """A finder with the limits of its search.

    Args:
        engine: of the finder.
        search: limits; its `min_find_score` is the least score, a weighted mean of the belief in a center and the mean
            height of the peaks.
        judge: the network that looks at the regions; None: the pose network.
    """

    engine: Engine
    search: Search
    judge: Engine | None = None

    def longer_px(self, config: NetworkConfig) -> int:
        """Return the longer side at which no level and no region of the pose network is enlarged much."""
        del config
        return max(LONGER_PX, *self.engine.config.find_sizes)

    def sightings(self, engine: Engine, settings: Settings, image: np.ndarray) -> list[Sighting]:
        """Return the subjects in an image [H, W, 3] uint8 BGR, best first."""
        judge, plain, least = self.judge or engine, settings.plain(), self.search.min_find_score
        found = self._worth_a_look(image, settings.threads)
        view = View.of(judge, plain, image, [one.roi for one in found])
        share = BELIEF_SHARE * self.engine.config.find_levels
        seen = [
            Candidate(one.roi, share * one.score + (1 - share) * max(peak, 0.0))
            for one, peak in zip(found, view.scores.tolist(), strict=True)
        ]
        kept = distinct(seen, view.parts, least)[: self.search.max_subjects]
        regions = {i: halfway(view.rois[i], view.around(i)) for i in kept}
        if not kept:
            whole = Roi.whole_image(*image.shape[:2])
            view = View.of(judge, plain, image, [whole])
            regions = {0: whole} if view.scores[0] >= least else {}
        if self.judge is not None:
            return [Sighting(roi) for roi in regions.values()]
        looks = view.sightings(settings)
        return [looks[i] if overlap(roi, looks[i].roi) > SAME_REGION else Sighting(roi) for i, roi in regions.items()]

    def _worth_a_look(self, image: np.ndarray, threads: int | None) -> list[Candidate]:
        """Return the regions of an image that the judge looks at, the surest first."""
        least = max(LEAST_BELIEF, SHARE_OF_SCORE * self.search.min_find_score)
        with cpu_threads(threads):
            named = candidates(self.engine, image, least)
        found = chosen(named, MOST_LOOKS * (1 + self.engine.config.find_levels) // 2, LOOK_OVERLAP)
        return [one for one in found if one.score >= LEAST_SHARE * found[0].score]


def halfway(seen: Roi, around: Roi) -> Roi:
    """Return the region halfway between the one that was looked at and the one around the parts found there.

    The errors of finder and judge differ: on LSP's last 200 pictures, 87 % of these regions overlap the true one by
    0.75, 84 % of those around the parts, and 71 % of the surer of the two.
    """
    (x, y), (other_x, other_y) = seen.center, around.center
    return Roi(((x + other_x) / 2, (y + other_y) / 2), math.sqrt(seen.side * around.side)).on_grid()


@dataclass(frozen=True, eq=False)
class Level:
    """The maps of a picture at one size.

    Args:
        config: of the finder.
        belief: [1, h, w] float32 on the finder's device; beyond the picture, where it is filled up to whole cells, too.
        cells: [2, h, w], beliefs and sides on the host.
        size: (height, width) of the resized picture.
        across, down: image pixels per pixel of it.
    """

    config: NetworkConfig
    belief: torch.Tensor
    cells: np.ndarray
    size: tuple[int, int]
    across: float
    down: float

    @classmethod
    def of(cls, engine: Engine, picture: np.ndarray, size: tuple[int, int]) -> Level:
        """Run the finder on the picture [h, w, 3] uint8 BGR of an image of this (height, width)."""
        down, across = (pixels / own for pixels, own in zip(size, picture.shape, strict=False))
        with torch.inference_mode():
            maps = maps_of(engine, picture)  # [1, 2, h, w]
            belief = maps[:, 0].contiguous()
        return cls(engine.config, belief, maps[0].cpu().numpy(), picture.shape[:2], across, down)

    def peaks(self, least: float) -> Iterator[Candidate]:
        """Yield the region of every peak in the picture whose belief is above the least."""
        with torch.inference_mode():
            points, scores = (each[0].cpu().numpy() for each in many_peaks(self.belief, least, RADIUS))
        there = scores > least
        for (x, y), score in zip(points[there].tolist(), scores[there].tolist(), strict=True):
            octaves = float(np.clip(self.cells[1, round(y), round(x)], *OCTAVES))
            at_x, at_y = STRIDE * x + self.config.cell_offset, STRIDE * y + self.config.cell_offset
            if not math.isfinite(octaves) or at_y >= self.size[0] or at_x >= self.size[1]:
                continue
            center = ((at_x + 0.5) * self.across - 0.5, (at_y + 0.5) * self.down - 0.5)
            side = SIDE_UNIT_PX * 2**octaves * math.sqrt(self.across * self.down)
            yield Candidate(Roi(center, side).on_grid(), score)

    def belief_at(self, center: tuple[float, float]) -> float:
        """Return the highest belief in the 3 x 3 cells around a point of the image; 0 if it is not a number."""
        beliefs = self.cells[0]
        column, row = (
            min(max(round(((at + 0.5) / each - 0.5 - self.config.cell_offset) / STRIDE), 0), most - 1)
            for at, each, most in zip(center, (self.across, self.down), beliefs.shape[::-1], strict=True)
        )
        rows, columns = (slice(max(0, at - RADIUS), at + RADIUS + 1) for at in (row, column))
        return float(np.nan_to_num(beliefs[rows, columns], nan=0.0).max())


def candidates(engine: Engine, image: np.ndarray, least: float) -> list[Candidate]:
    """Return all peaks of the center maps of an image, at all levels, as regions.

    The score of a region is the mean of the `find_levels` highest beliefs that the levels have at its center.

    Args:
        engine: of a finder.
        image: [H, W, 3] uint8 BGR.
        least: belief that a peak is above.
    """
    height, width = image.shape[:2]
    largest = max(1, round(MOST_ENLARGED * max(height, width)))
    seen: list[Level] = []
    for longer in sorted({min(size, largest) for size in engine.config.find_sizes}, reverse=True):
        picture = resized(image, sides(height, width, longer))
        seen.append(Level.of(engine, picture, (height, width)))
        # The next level is made of this one, unless this one is enlarged.
        image = picture if longer < max(height, width) else image
    agreeing = min(engine.config.find_levels, len(seen))
    found: list[Candidate] = []
    for level in seen:
        others = [other for other in seen if other is not level and agreeing > 1]
        for one in level.peaks(least):
            beliefs = sorted([one.score, *(other.belief_at(one.roi.center) for other in others)])
            found.append(Candidate(one.roi, sum(beliefs[-agreeing:]) / agreeing))
    return found


def maps_of(engine: Engine, picture: np.ndarray) -> torch.Tensor:
    """Return the last stage's maps [1, M, h, w] float32 of a whole picture [H, W, 3] uint8 BGR.

    The picture is filled up to whole cells on the right and below.
    """
    config = engine.config
    height, width = picture.shape[:2]
    border = (config.padding_value,) * 3
    cells = cv2.copyMakeBorder(picture, 0, -height % STRIDE, 0, -width % STRIDE, cv2.BORDER_CONSTANT, value=border)
    return engine(network_input(cells[None], config, engine.device))[-1].float()


def distinct(found: Sequence[Candidate], parts: np.ndarray, least: float) -> list[int]:
    """Return the indices of the candidates with at least the least score, best first.

    Args:
        found: K candidates.
        parts: [K, P, 2], their poses; a pose like a surer one is the same subject.
        least: score.
    """
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda each: -found[each].score):
        new = all(sameness(parts[i], parts[j], found[j].roi.side) < SAME_SUBJECT for j in kept)
        if new and found[i].score >= least:
            kept.append(i)
    return kept


def shrunk(image: np.ndarray, longer: int) -> tuple[np.ndarray, float, float]:
    """Return an image resized to a longer side, and the image pixels per pixel of it, across and down."""
    height, width = image.shape[:2]
    shrinks = longer < max(height, width)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(image, sides(height, width, longer)[::-1], interpolation=interpolation)
    return small, width / small.shape[1], height / small.shape[0]


def sides(height: int, width: int, longer: int) -> tuple[int, int]:
    """Return (height, width) of an image of this height and width once its longer side has so many pixels."""
    share = longer / max(height, width)
    return max(1, round(share * height)), max(1, round(share * width))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image resized to (height, width): by averages over blocks of whole pixels, and linearly by the rest.

    For 640 x 480 px to 480 x 360 this takes 0.2 ms; averages over areas take 1.1 ms.
    """
    block = min(own // wanted for own, wanted in zip(image.shape[:2], size, strict=True))
    if block > 1:
        height, width = image.shape[:2]
        image = cv2.resize(image, (width // block, height // block), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def chosen(found: Sequence[Candidate], most: int | None, most_overlap: float = MOST_OVERLAP) -> list[Candidate]:
    """Return the surest candidates, at most so many, that do not overlap a surer one by more than a share."""
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda each: -each.score):
        if len(kept) == most:
            break
        if all(overlap(one.roi, other.roi) <= most_overlap for other in kept):
            kept.append(one)
    return kept
