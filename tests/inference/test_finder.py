"""Regions from the maps of a finder, by a network with given maps, and the looks of the pose network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import cpm_fast
from benchmarks.studies.drawn_scenes import scenes_of
from cpm_fast.config import preset
from cpm_fast.data.drawn.scenes import DrawnScenes
from cpm_fast.evaluation.finding.whole_pictures import matched_regions
from cpm_fast.inference.finders.finder import MOST_LOOKS, Candidate, Finder, candidates, chosen, distinct, resized
from cpm_fast.inference.finders.search import Search, overlap
from cpm_fast.inference.parts import Found, Sighting
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from support.small_network import TINY_FINDER

WEIGHTS = "compact-drawn"
# The pose in a region that the pose network has looked at.
FOUND = Found(np.zeros((1, 14, 2)), np.zeros((1, 14)), None, 0.0, 0.0, 0.0)
# Whole cells at all levels.
PICTURE = np.zeros((256, 320, 3), np.uint8)


class Given:
    """An engine whose center and side maps are one peak per subject, at any size of picture.

    Args:
        subjects: x, y and side of each, shares of the picture's width, its height and its longer side; and its belief.
    """

    config = preset("finder")
    device = torch.device("cpu")

    def __init__(self, *subjects: tuple[float, float, float, float]) -> None:
        self.subjects = subjects
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        height, width = crops.shape[2:]
        self.sizes.append((height, width))
        maps = torch.zeros(1, 2, height // 8, width // 8)
        for x, y, side, belief in self.subjects:
            rows, columns = np.ogrid[: height // 8, : width // 8]
            squared = (rows - (y * height - 4) / 8) ** 2 + (columns - (x * width - 4) / 8) ** 2
            # A parabola, so that its vertex between the cells is the middle.
            near = torch.from_numpy(belief * np.clip(1 - squared / 5, 0, None)).float()
            maps[0, 1][near > maps[0, 0]] = float(np.log2(side * max(height, width) / 64))
            maps[0, 0] = torch.maximum(maps[0, 0], near)
        return [maps]


@dataclass(frozen=True)
class Looks:
    """A judge with equal scores for every region, all parts in its middle, and a given score for the whole.

    Args:
        whole: the score of the whole picture.
        peak: that of the regions.
        moved: how far to the right of a region's middle the region of its parts is.
        grown: the side of that region, as a multiple.
    """

    whole: float
    peak: float
    moved: float = 0.0
    grown: float = 1.0
    looks: list[int] = field(default_factory=list)
    judges: list[Any] = field(default_factory=list)

    def of(self, engine: Any, settings: Any, image: np.ndarray, rois: list[Roi]) -> SimpleNamespace:
        self.looks.append(len(rois))
        self.judges.append(engine)
        whole = Roi.whole_image(*image.shape[:2])
        return SimpleNamespace(
            scores=np.array([self.whole if roi == whole else self.peak for roi in rois]),
            parts=np.array([[roi.center] * 14 for roi in rois]),
            rois=rois,
            around=lambda i: Roi((rois[i].center[0] + self.moved, rois[i].center[1]), rois[i].side * self.grown),
            sightings=lambda _: [Sighting(roi, FOUND) for roi in rois],
        )


def regions(
    engine: Any, image: np.ndarray = PICTURE, whole: float = 0.0, peak: float = 0.5, **limits: Any
) -> list[Roi]:
    return seen_by(Looks(whole, peak), engine, image, **limits)


def seen_by(looks: Looks, engine: Any, image: np.ndarray = PICTURE, **limits: Any) -> list[Roi]:
    return [one.roi for one in sightings(looks, engine, image, **limits)]


def sightings(
    looks: Looks, engine: Any, image: np.ndarray = PICTURE, judge: Any = None, **limits: Any
) -> list[Sighting]:
    finder = Finder(engine, Search(**{"min_find_score": 0.3, **limits}), judge)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cpm_fast.inference.finders.finder.View", looks)
        return finder.sightings(engine, cpm_fast.inference.settings.Settings(), image)


def test_peaks_become_regions_in_pixels_of_the_picture() -> None:
    engine = Given((0.25, 0.5, 0.4, 0.9), (0.75, 0.25, 0.2, 0.6))
    for scale in (1, 3):
        image = np.zeros((256 * scale, 320 * scale, 3), np.uint8)
        first, second = regions(engine, image)
        assert np.allclose(first.center, (80 * scale, 128 * scale), atol=2 * scale)
        assert np.allclose(second.center, (240 * scale, 64 * scale), atol=2 * scale)
        assert first.side == pytest.approx(0.4 * 320 * scale, rel=0.02)
        assert second.side == pytest.approx(0.2 * 320 * scale, rel=0.02)
    assert engine.sizes[:3] == [(384, 480), (192, 240), (96, 120)]


def test_limits() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9), (0.5, 0.5, 0.3, 0.6), (0.8, 0.5, 0.3, 0.4))
    assert [len(regions(engine, min_find_score=least)) for least in (0.1, 0.5, 0.55, 0.95)] == [3, 2, 1, 0]
    assert len(regions(engine, max_subjects=2)) == 2 and regions(engine, max_subjects=1)[0].center[0] < 100


def test_whole_picture_is_the_subject_if_nobody_else_is() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9), (0.7, 0.5, 0.2, 0.6))
    whole = [Roi.whole_image(*PICTURE.shape[:2])]
    surer = Looks(0.9, 0.4)
    assert len(seen_by(surer, engine)) == 2 and surer.looks == [2]
    # Nobody is left of the two.
    assert regions(engine, whole=0.6, peak=0.1, min_find_score=0.5) == whole
    # NaN peaks belong to no subject.
    assert len(regions(engine, whole=float("nan"))) == 2
    nobody = Given()
    assert regions(nobody, whole=0.31) == whole and regions(nobody, whole=0.29) == []
    assert regions(nobody, whole=float("nan")) == []
    # Its region stays, wherever the parts are.
    assert seen_by(Looks(0.6, 0.0, moved=90.0), nobody) == whole


def test_a_fifth_of_the_belief_and_four_of_the_peaks_are_the_score() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9), (0.7, 0.5, 0.2, 0.4))
    assert [len(regions(engine, peak=peak)) for peak in (0.5, 0.25, 0.1, -2.0)] == [2, 1, 0, 0]
    assert len(regions(engine, peak=-2.0, min_find_score=0.1)) == 1


class Unsure(Given):
    """The same, but only the finest level sees the first subject, and only levels of 240 px and more the second."""

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        width, subjects = crops.shape[3], self.subjects
        self.subjects = subjects[sum(width < least for least in (480, 240)) :]
        try:
            return super().__call__(crops)
        finally:
            self.subjects = subjects


@pytest.mark.parametrize(("levels", "shares"), [(1, [1, 1, 1]), (2, [0.5, 1, 1]), (3, [1 / 3, 2 / 3, 1])])
def test_levels_must_agree(levels: int, shares: list[float]) -> None:
    engine = Unsure((0.2, 0.5, 0.2, 0.9), (0.5, 0.5, 0.2, 0.9), (0.8, 0.5, 0.2, 0.9))
    engine.config = replace(engine.config, find_levels=levels)
    best = [0.0] * 3
    for one in candidates(engine, PICTURE, 0.05):
        place = int(one.roi.center[0] / 320 * 3)
        best[place] = max(best[place], one.score)
    assert best == pytest.approx([0.9 * share for share in shares], rel=0.1)
    # A picture that has one level only is enough for itself.
    engine.config = replace(engine.config, find_sizes=(480,))
    assert max(one.score for one in candidates(engine, PICTURE, 0.05)) == pytest.approx(0.9, rel=0.1)


def test_each_level_that_agrees_has_a_fifth_of_the_score() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9))
    engine.config = replace(engine.config, find_levels=2)
    # The belief is 0.81 in the cells beside the center, which lies between them.
    score = 0.4 * 0.81 + 0.6 * 0.5
    assert [len(regions(engine, min_find_score=least)) for least in (score - 0.01, score + 0.01)] == [1, 0]


def test_drawn_figures_are_found_without_a_box() -> None:
    """Bundled weights name their finder; it finds nearly all figures of twelve scenes, and hardly anything else."""
    counts = []
    for image, true in scenes_of(DrawnScenes(12, seed=31)):
        result = cpm_fast.infer(image, model=WEIGHTS, progress=False)[0]
        assert result.roi_source == "found"
        hits = len(matched_regions(result.rois, true, 0.5))
        counts.append((len(true), hits, len(result) - hits))
    figures, found, false = np.sum(counts, axis=0)
    assert figures == 42 and found >= 37 and false <= 3


def test_the_region_is_between_that_of_the_finder_and_that_around_the_parts() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9), (0.7, 0.5, 0.2, 0.6))
    first = regions(engine)
    moved = sightings(Looks(0.0, 0.5, moved=40.0, grown=1.44), engine)
    for one, was in zip(moved, first, strict=True):
        assert one.roi.center == (was.center[0] + 20.0, was.center[1])
        assert one.roi.side == pytest.approx(1.2 * was.side, abs=0.1) and one.roi == one.roi.on_grid()
    # The pose network has not looked there yet.
    assert [one.found for one in moved] == [None, None]


def test_a_region_that_hardly_moves_stays_and_the_pose_is_known() -> None:
    engine = Given((0.2, 0.5, 0.3, 0.9), (0.7, 0.5, 0.2, 0.6))
    first, near = regions(engine), Looks(0.0, 0.5, moved=4.0)
    assert [(one.roi, one.found) for one in sightings(near, engine)] == [(roi, FOUND) for roi in first]
    assert near.looks == [2]
    # The larger of the two regions overlaps itself by more.
    found = [one.found for one in sightings(Looks(0.0, 0.5, moved=8.0), engine)]
    assert found == [FOUND, None]


def test_a_judge_looks_instead_of_the_pose_network() -> None:
    engine, judge = Given((0.2, 0.5, 0.3, 0.9), (0.7, 0.5, 0.2, 0.6)), object()
    looks = Looks(0.6, 0.5, moved=4.0)
    found = sightings(looks, engine, judge=judge)
    assert looks.judges == [judge]
    # No pose is known, so each region is the best there is.
    assert [one.found for one in found] == [None, None]
    assert [one.roi.center[0] - was.center[0] for one, was in zip(found, regions(engine), strict=True)] == [2.0, 2.0]
    alone = Looks(0.6, 0.5)
    (whole,) = sightings(alone, Given(), judge=judge)
    assert (whole.roi, whole.found) == (Roi.whole_image(*PICTURE.shape[:2]), None) and alone.judges == [judge, judge]
    # The pose network itself looks if there is no other.
    own = Looks(0.6, 0.5)
    sightings(own, engine)
    assert own.judges == [engine]


def test_one_pose_is_one_subject() -> None:
    first, surer, other = (Roi((x, 100), 80) for x in (100, 140, 300))
    found = [Candidate(first, 0.5), Candidate(surer, 0.7), Candidate(other, 0.4)]
    parts = np.array([[[100.0, 100.0]] * 14, [[102.0, 100.0]] * 14, [[300.0, 100.0]] * 14])
    assert distinct(found, parts, 0.3) == [1, 2] and distinct(found, parts, 0.45) == [1]


def test_so_many_regions_are_looked_at() -> None:
    many = [((i % 5) * 0.2 + 0.1, (i // 5) * 0.33 + 0.16, 0.08, 0.9) for i in range(15)]
    engine = Given(*many)
    assert len(regions(engine)) == MOST_LOOKS
    engine.config = replace(engine.config, find_levels=2)
    assert len(regions(engine)) == 3 * MOST_LOOKS // 2


def test_a_much_weaker_belief_than_the_surest_is_not_looked_at() -> None:
    sure, weak, weakest = (0.2, 0.5, 0.3, 0.9), (0.5, 0.5, 0.3, 0.42), (0.8, 0.5, 0.3, 0.34)
    assert len(regions(Given(sure, weak, weakest))) == 2
    assert len(regions(Given(weak, weakest))) == 2
    # Neither is one that no peaks make a subject of, and only the whole picture is seen.
    for least, looks in ((0.33, [2]), (0.4, [1]), (0.45, [0, 1])):
        surest = Looks(0.0, 0.9)
        seen_by(surest, Given(weak, weakest), min_find_score=least)
        assert surest.looks == looks


def test_each_level_is_made_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def heard(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        made.append((max(image.shape[:2]), max(size)))
        return resized(image, size)

    monkeypatch.setattr("cpm_fast.inference.finders.finder.resized", heard)
    engine = Given()
    for longer in (640, 200):
        candidates(engine, np.zeros((longer // 2, longer, 3), np.uint8), 0.1)
    # A level that is enlarged shows less than the picture.
    assert made == [(640, 480), (480, 240), (240, 120), (200, 300), (200, 240), (200, 120)]


@pytest.mark.parametrize(("longer", "levels"), [(640, [480, 240, 120]), (200, [304, 240, 120]), (60, [96])])
def test_a_small_picture_is_not_enlarged_further(longer: int, levels: list[int]) -> None:
    engine = Given((0.5, 0.5, 0.5, 0.9))
    candidates(engine, np.zeros((longer // 2, longer, 3), np.uint8), 0.1)
    assert [width for _, width in engine.sizes] == levels


def test_one_subject_at_two_levels_is_one() -> None:
    """Both levels find it at slightly different places; the one with the higher score stays."""
    near = [
        Candidate(Roi((100, 100), 80), 0.5),
        Candidate(Roi((104, 98), 90), 0.7),
        Candidate(Roi((300, 100), 80), 0.4),
    ]
    assert [one.score for one in chosen(near, None)] == [0.7, 0.4]
    assert [one.score for one in chosen(near, 1)] == [0.7]


def test_regions_that_overlap_by_more_than_half_are_both_looked_at() -> None:
    """Two who stand close have nearly the same region; their poses tell them apart."""
    first, second = regions(Given((0.44, 0.5, 0.5, 0.9), (0.56, 0.5, 0.5, 0.8)))
    assert 0.6 < overlap(first, second) < 0.65


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 1), (9, 9), (1000, 40)], ids=str)
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = CPM(TINY_FINDER).eval()
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    for one in candidates(cpm_fast.Engine(model), image, -1.0):
        assert one.roi.side > 0 and np.isfinite(one.roi.center).all()


def test_maps_that_are_no_numbers_find_nobody() -> None:
    class Broken(Given):
        def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
            return [torch.full_like(maps, float("nan")) for maps in super().__call__(crops)]

    class Strange(Given):
        def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
            (maps,) = super().__call__(crops)
            maps[:, 1] = float("inf")
            return [maps]

    assert regions(Broken((0.5, 0.5, 0.3, 0.9))) == []
    assert all(roi.side < 1e5 for roi in regions(Strange((0.5, 0.5, 0.3, 0.9))))
