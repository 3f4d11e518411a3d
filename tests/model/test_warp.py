"""Boxes are cut out of pictures at the right places."""

import cv2
import numpy as np
import pytest

from cpm_fast.model.crops import warp
from cpm_fast.roi import Roi

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def smooth(height=40, width=50, dx=0.0, dy=0.0) -> np.ndarray:
    """Return slow waves, shifted by dx, dy pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    value = 128 + 60 * np.sin((x + dx) / 6) + 50 * np.cos((y + dy) / 7)
    return np.repeat(np.rint(value)[..., None], 3, axis=2).astype(np.uint8)


def test_identity_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    assert np.array_equal(warp(image, IDENTITY, (33, 47), 128), image)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (0.25, -0.75), (-3.5, 2.25)])
def test_shift_below_a_pixel(dx, dy):
    shifted = warp(smooth(), np.array([[1, 0, -dx], [0, 1, -dy]]), (40, 50), 128)
    difference = shifted.astype(int) - smooth(dx=dx, dy=dy)
    assert np.abs(difference[6:-6, 6:-6]).max() <= 2


def test_outside_is_the_border_value():
    image = np.full((10, 10, 3), 200, np.uint8)
    box = warp(image, np.array([[1.0, 0, 10], [0, 1, 10]]), (30, 30), 77)
    assert (box[:8] == 77).all()
    assert (box[:, 22:] == 77).all()
    assert (box[12:18, 12:18] == 200).all()


@pytest.mark.parametrize("shift", [(1e3, 0), (-1e3, 0), (0, 1e6), (1e9, -1e9)])
@pytest.mark.parametrize("scale", [4.0, 1.0, 0.1])
def test_box_wholly_outside(shift, scale):
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    box = warp(smooth(), matrix, (16, 24), 128)
    assert box.shape == (16, 24, 3)
    assert (box == 128).all()


@pytest.mark.parametrize("factor", [1.0, 0.7, 0.5, 0.37, 0.25, 0.11, 1.7, 3.3])
@pytest.mark.parametrize("degrees", [0, 30])
def test_a_dot_stays_where_the_matrix_puts_it(factor, degrees):
    """The centroid of a wide dot is right within 0.05 px of the box, for every position of the reduction's grid."""
    y, x = np.mgrid[:400, :500]
    turn = np.deg2rad(degrees)
    linear = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    sigma = 3.0 / factor
    for center in (np.array([201.3, 180.8]), np.array([260.0, 213.5])):
        dot = 255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))
        image = np.repeat(np.rint(dot)[..., None], 3, axis=2).astype(np.uint8)
        target = np.array([31.4, 27.7])
        box = warp(image, np.hstack([linear, (target - linear @ center)[:, None]]), (60, 64), 0)[..., 0].astype(float)
        rows, columns = np.mgrid[:60, :64]
        found = np.array([(box * columns).sum(), (box * rows).sum()]) / box.sum()
        assert np.abs(found - target).max() < 0.05


def test_shrinking_does_not_alias():
    """A checkerboard of single pixels becomes gray, not a pattern."""
    board = np.repeat(((np.indices((512, 512)).sum(axis=0) % 2) * 255)[..., None], 3, axis=2).astype(np.uint8)
    box = warp(board, np.array([[0.13, 0, 0], [0, 0.13, 0]]), (60, 60), 128)
    assert np.abs(box[4:-4, 4:-4].astype(int) - 128).max() < 40


@pytest.mark.parametrize("factor", [3.3, 1.7, 1.0, 0.7, 0.5, 0.3, 0.17])
@pytest.mark.parametrize("degrees", [0, 45])
@pytest.mark.parametrize("offset", [0.0, 0.37, 0.81])
def test_no_border_value_gets_into_a_box_within_the_image(factor, degrees, offset):
    """At the box's edges the cubic kernel and the reduction read only pixels of the image."""
    turn = np.deg2rad(degrees)
    linear = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    center = np.array([300 + offset, 310 - offset])
    box = warp(
        np.full((600, 620, 3), 200, np.uint8), np.hstack([linear, (31.5 - linear @ center)[:, None]]), (64, 64), 0
    )
    assert np.abs(box.astype(int) - 200).max() <= 1


@pytest.mark.parametrize("factor", [2.0, 1.0, 0.6, 0.5, 0.21])
def test_only_what_is_needed_of_the_image_counts(factor):
    """A box cut from the image equals the same box cut from a window of it, except for the reduction's own grid."""
    image = np.random.default_rng(1).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    roi = Roi((350.25, 300.75), 64 / factor)
    whole = warp(image, roi.matrix((64, 64)), (64, 64), 128)
    margin = 64
    low = np.floor(np.array(roi.center) - roi.side / 2).astype(int) - margin
    high = np.ceil(np.array(roi.center) + roi.side / 2).astype(int) + margin
    low = np.maximum(low, 0)
    window = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    shifted = Roi((roi.center[0] - low[0], roi.center[1] - low[1]), roi.side)
    cut = warp(window, shifted.matrix((64, 64)), (64, 64), 128)
    assert np.abs(cut.astype(int) - whole).max() <= 1


def test_one_pixel_image():
    image = np.full((1, 1, 3), 9, np.uint8)
    box = warp(image, Roi.whole_image(1, 1).matrix((64, 64)), (64, 64), 128)
    assert box.shape == (64, 64, 3)
    assert abs(int(box[32, 32, 0]) - 9) < 8
    # Eight pixels per side: the cubic kernel reaches two of them.
    box = warp(image, Roi((0, 0), 8).matrix((64, 64)), (64, 64), 128)
    assert (box[:12] == 128).all()
    assert (box[31:33, 31:33] < 20).all()
    assert warp(image, Roi((0, 0), 100).matrix((64, 64)), (64, 64), 128).shape == (64, 64, 3)


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
def test_very_long_image(tall):
    image = np.full((10, 20000, 3), 30, np.uint8)
    image[:, 10000:] = 220
    if tall:
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
    box = warp(image, Roi.whole_image(*image.shape[:2]).matrix((64, 64)), (64, 64), 128)
    box = box.transpose(1, 0, 2) if tall else box
    assert box.shape == (64, 64, 3)
    assert (box[:30] == 128).all()
    assert (box[:, :6] == 128).all()
    detail = Roi((5.0, 10000.0) if tall else (10000.0, 5.0), 20).matrix((64, 64))
    box = warp(image, detail, (64, 64), 128)
    box = box.transpose(1, 0, 2) if tall else box
    assert abs(int(box[32, 5, 0]) - 30) <= 4
    assert abs(int(box[32, 58, 0]) - 220) <= 4


def test_image_longer_than_opencv_can_warp():
    image = np.zeros((2, 40000, 3), np.uint8)
    assert warp(image, Roi((35000.0, 1.0), 64).matrix((64, 64)), (64, 64), 128)[31, 32].tolist() == [0, 0, 0]
    assert warp(image, Roi.whole_image(2, 40000).matrix((64, 64)), (64, 64), 128).shape == (64, 64, 3)
    with pytest.raises(ValueError, match="image must have sides of at most 32767 pixels per box"):
        warp(image, IDENTITY, (2, 40000), 128)


def test_matches_opencv_where_nothing_is_reduced():
    image = np.random.default_rng(2).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    matrix = np.array([[1.2, 0.3, -10.5], [-0.3, 1.2, 14.25]])
    expected = cv2.warpAffine(
        image, matrix, (64, 48), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=(128,) * 3
    )
    assert np.abs(warp(image, matrix, (48, 64), 128).astype(int) - expected).max() <= 8
