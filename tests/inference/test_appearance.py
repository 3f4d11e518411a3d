"""Colors of limbs, and boxes about parts, in drawn pictures."""

import numpy as np
import pytest

from cpm_fast.inference.tracking.appearance import blended, color_sameness, limb_colors
from cpm_fast.inference.tracking.extent import extent, nested_in, shared

BLUE, RED = (200.0, 20.0, 10.0), (10.0, 30.0, 220.0)
NAN = (np.nan,) * 3


def picture() -> np.ndarray:
    """Blue on the left of x = 20, red on the right."""
    image = np.empty((40, 40, 3), np.uint8)
    image[:, :20], image[:, 20:] = BLUE, RED
    return image


PARTS = np.array([[8, 8], [8, 32], [31, 8], [31, 32], [np.nan, np.nan], [39, 20], [60, 20]], float)


def test_colors_along_limbs() -> None:
    colors = limb_colors(picture(), PARTS, [(0, 1), (2, 3), (0, 4), (5, 6), (6, 6)])
    assert np.array_equal(colors, [BLUE, RED, NAN, NAN, NAN], equal_nan=True)
    # Half of a limb from one side to the other has each color.
    (across,) = limb_colors(picture(), PARTS + np.array([0.5, 0]), [(0, 2)])
    assert ((np.minimum(BLUE, RED) < across) & (across < np.maximum(BLUE, RED))).all()


def test_colors_of_parts_where_there_are_no_limbs() -> None:
    colors = limb_colors(picture(), PARTS, [])
    # The square about the sixth part leaves the picture.
    assert np.array_equal(colors, [BLUE, BLUE, RED, RED, NAN, NAN, NAN], equal_nan=True)


def test_likeness_of_colors() -> None:
    one = np.array([BLUE, RED, NAN])
    assert color_sameness(one, one) == 1 and color_sameness(one, one + 10) == pytest.approx(np.exp(-300 / 3200))
    assert color_sameness(one, one[[1, 0, 2]]) < 0.01
    assert color_sameness(one, np.array([BLUE, BLUE, RED])) == pytest.approx(0.5, abs=0.01)
    # Nothing is said against somebody of whom no limb is known.
    assert color_sameness(one, np.array([NAN, NAN, RED])) == 1


def test_colors_change_slowly() -> None:
    moved = blended(np.array([BLUE, NAN, RED, NAN]), np.array([RED, RED, NAN, NAN]), 0.25)
    wanted = [0.75 * np.array(BLUE) + 0.25 * np.array(RED), RED, RED, NAN]
    assert np.allclose(moved, wanted, equal_nan=True)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, bottom], [np.nan, np.nan]])


def test_extents() -> None:
    found = extent(box(1, 2, 5, 9))
    assert found is not None and found.tolist() == [1, 2, 5, 9]
    assert extent(box(1, 2, np.nan, 9)) is None
    thin = extent(box(3, 0, 3, 8))
    assert thin is not None and thin.tolist() == [3, 0, 4, 8]


def test_who_is_in_the_way_of_whom() -> None:
    one = box(0, 0, 10, 20)
    assert shared(one, one) == 1 and shared(one, box(10, 0, 20, 20)) == 0 and shared(one, box(30, 0, 40, 9)) == 0
    assert shared(one, box(5, 10, 25, 50)) == shared(box(5, 10, 25, 50), one) == pytest.approx(0.25)
    assert shared(one, box(1, 2, np.nan, 9)) == 0
    assert nested_in(box(2, 2, 6, 10), one) and not nested_in(one, box(2, 2, 6, 10))
    # As large, half outside, beside, or without a box.
    for other in (box(1, 1, 9, 19), box(8, 2, 12, 10), box(20, 2, 24, 9), box(2, 2, np.nan, 10)):
        assert not nested_in(other, one)
