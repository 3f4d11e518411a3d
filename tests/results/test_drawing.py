"""Pictures: drawings are at the right places, and all other pixels are unchanged."""

import numpy as np
import pytest

from cpm_fast.results.drawing import (
    GAP_PX,
    PANEL_PX,
    TITLE_PX,
    belief_overlay,
    parts_overlay,
    skeleton_overlay,
    stage_strip,
)
from cpm_fast.skeleton import LEFT_COLOR, LSP, RIGHT_COLOR, Skeleton

ARM = Skeleton(
    "arm", ("left_wrist", "right_wrist", "nose"), (("left_wrist", "right_wrist"),), (("left_wrist", "right_wrist"),)
)
POINTS = np.array([[30.0, 60.0], [90.0, 60.0], [60.0, 20.0]])
PAPER = np.full((120, 120, 3), 128, np.uint8)


def bump(x: float, y: float, h: int = 15, w: int = 15) -> np.ndarray:
    return np.exp(-((np.arange(w)[None] - x) ** 2 + (np.arange(h)[:, None] - y) ** 2) / 2)


def test_parts_and_limbs_stand_where_they_should():
    picture = skeleton_overlay(PAPER, POINTS, np.ones(3), ARM, side=368)
    assert picture is not PAPER and (PAPER == 128).all()
    changed = (picture != 128).any(axis=2)
    for x, y in POINTS.astype(int):
        assert changed[y, x]
    assert changed[60, 30:91].all() and not changed[40, :].any() and not changed[100:].any()
    # The limb is as wide above the line as below it, and as long to the left as to the right.
    assert (changed[61:70] == changed[59:50:-1]).all()
    assert (changed[55:66, 1:60] == changed[55:66, 119:60:-1]).all()


def test_sides_have_their_colors():
    picture = skeleton_overlay(PAPER, POINTS, np.ones(3), ARM, side=368).astype(int)
    left, right = picture[60, 30], picture[60, 90]
    assert ARM.colors[:2] == (LEFT_COLOR, RIGHT_COLOR)
    assert left[0] > left[2] and right[2] > right[0]


@pytest.mark.parametrize("hidden", ["nan", "score", "nan score"])
def test_what_is_not_there_is_not_drawn(hidden):
    points, scores = POINTS.copy(), np.ones(3)
    if hidden == "nan":
        points[1] = np.nan
    else:
        scores[1] = 0.05 if hidden == "score" else np.nan
    changed = (skeleton_overlay(PAPER, points, scores, ARM, side=368) != 128).any(axis=2)
    assert changed[60, 30] and changed[20, 60] and not changed[60, 45:].any()
    nothing = skeleton_overlay(PAPER, np.full((3, 2), np.nan), np.full(3, np.nan), ARM)
    assert (nothing == PAPER).all()


@pytest.mark.parametrize("factor", [1, 4])
def test_widths_grow_with_the_region(factor):
    large = np.full((120 * factor, 120 * factor, 3), 128, np.uint8)
    changed = (skeleton_overlay(large, POINTS * factor, np.ones(3), ARM, side=150 * factor) != 128).any(axis=2)
    width = changed[:, 60 * factor][50 * factor : 70 * factor].sum()
    assert 2 * factor <= width <= 6 * factor


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3)], ids=str)
def test_any_size_and_points_far_outside(shape):
    image = np.zeros(shape, np.uint8)
    points = np.array([[-1e9, 5.0], [1e12, -1e12], [0.0, 0.0]])
    assert skeleton_overlay(image, points, np.ones(3), ARM).shape == shape
    assert skeleton_overlay(image, points * 0, np.ones(3), ARM, side=100).any()


def test_belief_is_hottest_where_it_peaks():
    crop = np.full((120, 120, 3), 60, np.uint8)
    picture = belief_overlay(crop, bump(4, 10)).astype(int)
    heat = picture.sum(axis=2)
    # Cell (4, 10) is at pixel 8 g + 3.5 = (35.5, 83.5).
    assert picture.shape == crop.shape and (crop == 60).all()
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(x - 35.5) <= 2 and abs(y - 83.5) <= 2
    assert heat[5, 110] < 180 and heat[5, 110] == heat[110, 110]
    assert (belief_overlay(crop, bump(4, 10) * np.nan) == belief_overlay(crop, np.full((15, 15), -9.0))).all()
    assert (belief_overlay(crop, np.full((15, 15), 7.0)) == belief_overlay(crop, np.ones((15, 15)))).all()


def test_all_parts_in_their_colors():
    crop = np.full((120, 120, 3), 60, np.uint8)
    beliefs = np.stack([bump(4, 4), bump(10, 4), np.zeros((15, 15)), np.ones((15, 15))])
    picture = parts_overlay(crop, beliefs, ARM).astype(int)
    left, right = picture[35, 35], picture[35, 84]
    assert left[0] > left[2] + 20 and right[2] > right[0] + 20
    assert (picture[110, 60] < 60).all()


@pytest.mark.parametrize("part", [None, "nose", ["left_wrist", "all parts"]], ids=str)
def test_strip_has_a_panel_for_each_stage_and_a_row_for_each_part(part):
    crop = np.full((120, 120, 3), 60, np.uint8)
    beliefs = np.stack([np.stack([bump(4, 4), bump(10, 4), bump(7, 9), np.zeros((15, 15))]) * a for a in (0.3, 0.9)])
    strip = stage_strip(crop, beliefs, ARM, part)
    rows = 2 if isinstance(part, list) else 1
    assert strip.shape == (rows * (TITLE_PX + PANEL_PX + GAP_PX), 3 * (PANEL_PX + GAP_PX) + GAP_PX, 3)
    panels = [strip[TITLE_PX : TITLE_PX + PANEL_PX, GAP_PX + i * (PANEL_PX + GAP_PX) :][:, :PANEL_PX] for i in range(3)]
    pose, first, last = (panel.astype(int) for panel in panels)
    # The pose is at the peaks of the last stage: cell (7, 9) is pixel 59.5, 75.5 of the crop, 2.5 times that here.
    assert (pose[189:192, 149:152] != 60).all()
    assert np.abs(last - first).max() > 40
    titles = strip[:TITLE_PX].astype(int)
    assert (titles < 128).any(), "the titles are written"


def test_strip_takes_pose_and_crops_of_full_size():
    crop = np.zeros((368, 368, 3), np.uint8)
    beliefs = np.zeros((1, 15, 46, 46), np.float32)
    strip = stage_strip(crop, beliefs, LSP, keypoints=np.full((14, 2), 100.0), scores=np.ones(14))
    assert strip.shape[1] == 2 * (368 + GAP_PX) + GAP_PX
    assert strip[TITLE_PX + 100, GAP_PX + 100].any() and not strip[TITLE_PX + 300, GAP_PX + 300].any()
    with pytest.raises(ValueError, match="part must be one of"):
        stage_strip(crop, beliefs, LSP, "tail")
