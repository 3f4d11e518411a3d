"""Subjects found by the pose network itself: drawn figures in a large picture, and refused arguments."""

from __future__ import annotations

import numpy as np
import pytest

import cpm_fast
from cpm_fast.data.drawn.figures import draw_figure
from cpm_fast.engine import Engine
from cpm_fast.inference.finders.search import Search, overlap, region_of_sure_parts, sameness, windows_of_side
from cpm_fast.inference.settings import Settings
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP
from support.small_network import TINY

WEIGHTS = "compact-drawn"
SIZE = (360, 480)


def scene(
    rng: np.random.Generator, middles: list[tuple[int, int]], head_px: float = 20.0
) -> tuple[np.ndarray, list[Roi]]:
    """Return figures of about 150 px on a plain wall around these points, and their regions by the rule of training."""
    image = np.full((*SIZE, 3), rng.integers(90, 160, 3), np.uint8)
    regions = []
    for middle in middles:
        figure = draw_figure(rng)
        parts = figure.parts_image(head_px, np.zeros(2))
        origin = np.array(middle) - (parts.min(0) + parts.max(0)) / 2
        figure.paint(image, head_px, origin)
        regions.append(Roi.from_parts(parts + origin, np.ones(len(parts), bool), LSP))
    return image, regions


def test_a_small_figure_is_found_wherever_it_is() -> None:
    rng = np.random.default_rng(1)
    middles = [(100, 110), (370, 240), (240, 180), (390, 110), (100, 250)]
    scenes = [scene(rng, [middle]) for middle in middles]
    found = cpm_fast.find([image for image, _ in scenes], model=WEIGHTS, find="search", max_subjects=1)
    overlaps = [
        max((overlap(roi, true) for roi in rois), default=0.0) for rois, (_, [true]) in zip(found, scenes, strict=True)
    ]
    assert sum(value > 0.5 for value in overlaps) >= 4, overlaps
    # Without a search the whole picture is the region.
    assert all(overlap(Roi.whole_image(*SIZE), true) < 0.3 for _, (true,) in scenes)


def test_two_figures_are_two_subjects_and_infer_looks_at_them() -> None:
    image, true = scene(np.random.default_rng(3), [(110, 180), (370, 180)])
    result = cpm_fast.infer(image, model=WEIGHTS, find="search", max_subjects=2)[0]
    assert result.roi_source == "found" and len(result) == 2
    best = [max(overlap(roi, one) for roi in result.rois) for one in true]
    assert min(best) > 0.4, best
    again = cpm_fast.infer(image, model=WEIGHTS, rois=list(result.rois))[0]
    # Sums of other batches may be in another order.
    assert np.allclose(result.keypoints, again.keypoints, atol=1e-3)
    assert [list(rois) for rois in cpm_fast.find([image], model=WEIGHTS, find="search", max_subjects=2)] == [
        list(result.rois)
    ]


def test_an_empty_picture_has_no_subjects_and_one_warning() -> None:
    blank = np.full((*SIZE, 3), 128, np.uint8)
    with pytest.warns(UserWarning, match="no subject found in image 0 and 1 others"):
        results = cpm_fast.infer([blank, blank], model=WEIGHTS, find="search")
    assert [len(result) for result in results] == [0, 0] and results[0].roi_source == "found"
    with pytest.warns(UserWarning, match="probably wrong.*whole picture was taken as one subject"):
        assert len(cpm_fast.infer(blank, model=WEIGHTS, find=False)[0]) == 1


def test_fewer_subjects_with_a_higher_score() -> None:
    image, _ = scene(np.random.default_rng(3), [(110, 180), (370, 180)])
    counts = [
        len(cpm_fast.find(image, model=WEIGHTS, find="search", min_find_score=score)[0]) for score in (0.0, 0.3, 1.0)
    ]
    assert counts[0] >= counts[1] >= 1 and counts[2] == 0


def test_windows_stand_where_their_beliefs_come_from() -> None:
    """A window's best score moves with the figure, in image pixels."""
    engine, settings = Engine(cpm_fast.load(WEIGHTS)), Settings()
    for middle in ((110, 120), (350, 240)):
        image, (true,) = scene(np.random.default_rng(7), [middle])
        _, best = max(windows_of_side(engine, settings, image, true.side), key=lambda pair: pair[0])
        assert np.hypot(best.center[0] - middle[0], best.center[1] - middle[1]) < true.side / 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"find": None}, 'find must be "auto", "search", False, a finder or a function'),
        ({"find": "whole"}, "find='whole' is find=False here"),
        ({"find": "search", "boxes": [[0, 0, 10, 10]]}, "boxes or rois say where they are"),
        ({"model": CPM(TINY), "max_subjects": 2}, "max_subjects is for subjects that are looked for"),
        ({"find": False, "min_find_score": 0.2}, "min_find_score is for subjects that are looked for"),
        ({"find": "search", "max_subjects": 0}, "max_subjects must be a positive whole number"),
        ({"find": "search", "min_find_score": float("nan")}, "min_find_score must be a finite number"),
    ],
    ids=["find", "word of the command", "boxes too", "no search", "search off", "none", "NaN"],
)
def test_rejects(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cpm_fast.infer(np.zeros((40, 40, 3), np.uint8), **{"model": WEIGHTS, **options})


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 1), (9, 9)], ids=str)
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    engine = Engine(cpm_fast.load(WEIGHTS))
    for one in Search(min_find_score=-1.0).sightings(engine, Settings(), image):
        assert one.roi.side > 0 and np.isfinite(one.roi.center).all()


def test_overlap_and_sameness() -> None:
    assert overlap(Roi((0, 0), 2), Roi((0, 0), 2)) == 1 and overlap(Roi((0, 0), 2), Roi((5, 0), 2)) == 0
    assert overlap(Roi((0, 0), 2), Roi((1, 0), 2)) == pytest.approx(1 / 3)
    parts = np.random.default_rng(0).normal(size=(14, 2))
    assert sameness(parts, parts, 1.0) == 1 and sameness(parts, parts + 5, 1.0) < 1e-6


def test_no_region_of_too_few_sure_parts() -> None:
    parts, sure = np.random.default_rng(0).normal(size=(14, 2)) * 50, np.zeros(14)
    assert region_of_sure_parts(parts, sure, LSP) is None
    sure[:2] = 1.0
    assert region_of_sure_parts(parts, sure, LSP) is not None
    assert region_of_sure_parts(np.zeros((14, 2)), np.ones(14), LSP) is None
