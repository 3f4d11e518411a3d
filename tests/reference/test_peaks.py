"""Peaks: ties, borders, NaN, and the sub-pixel fit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cpm_fast.reference.peaks import peaks

NAN, INF = float("nan"), float("inf")


def peak(rows: list[list[float]], refine: bool = False) -> tuple[float, float, float]:
    points, scores = peaks(torch.tensor(rows, dtype=torch.float64)[None, None], refine)
    return (*points[0, 0].tolist(), scores[0, 0].item())


WORKED_MAPS = {
    "plain": ([[0, 1, 0], [2, 0, 0]], (0, 1, 2)),
    "tie: smallest y": ([[0, 3, 3], [3, 0, 0]], (1, 0, 3)),
    "tie: y before x": ([[0, 0, 3], [3, 0, 0]], (2, 0, 3)),
    "flat": ([[0, 0], [0, 0]], (0, 0, 0)),
    "all negative": ([[-4, -2], [-3, -5]], (1, 0, -2)),
    "NaN never wins": ([[NAN, 1], [2, NAN]], (0, 1, 2)),
    "-inf beats NaN": ([[NAN, -INF], [NAN, NAN]], (1, 0, -INF)),
    "inf": ([[1, INF], [INF, 2]], (1, 0, INF)),
    "nothing but NaN": ([[NAN, NAN], [NAN, NAN]], (NAN, NAN, NAN)),
    "one pixel": ([[7.0]], (0, 0, 7)),
}


@pytest.mark.parametrize(("rows", "wanted"), WORKED_MAPS.values(), ids=WORKED_MAPS)
@pytest.mark.parametrize("refine", [False, True], ids=["whole", "refined"])
def test_worked(rows, wanted, refine):
    # On maps two pixels wide every maximum is at a border, so refining changes nothing; three wide: only the score.
    x, y, score = peak(rows, refine)
    np.testing.assert_equal(score, float(wanted[2]))
    if not refine or len(rows[0]) < 3:
        np.testing.assert_equal((x, y), wanted[:2])


ROWS = {
    "leans right": ([0, 2, 1], 1 + 1 / 6),
    "border tie": ([2, 2, 0], 0.0),
    "plateau: half a pixel": ([1, 2, 2], 1.5),
    "even": ([1, 2, 1], 1.0),
    "NaN neighbor": ([1, 2, NAN], 1.0),
    "-inf neighbor": ([-INF, 2, 1], 1.0),
    "border": ([0, 0, 0, 1], 3.0),
    "flat": ([1, 1, 1], 0.0),
}


@pytest.mark.parametrize(("row", "wanted"), ROWS.values(), ids=ROWS)
def test_refine_on_one_axis(row, wanted):
    across = peak([row], True)
    down = peak([[value] for value in row], True)
    assert across[:2] == pytest.approx((wanted, 0)) and down[:2] == pytest.approx((0, wanted))
    assert across[2] == max(value for value in row if value == value)


def test_refine_recovers_a_paraboloid_exactly():
    y, x = np.mgrid[:9, :12]
    points, _ = peaks(torch.tensor(3 - 0.2 * (x - 6.3) ** 2 - 0.1 * (y - 3.8) ** 2)[None, None], True)
    assert points[0, 0].tolist() == pytest.approx([6.3, 3.8])


@given(st.floats(8, 24), st.floats(8, 24), st.floats(3, 8))
def test_refine_recovers_a_gaussian_center(cx, cy, sigma):
    y, x = np.mgrid[:33, :33]
    maps = torch.tensor(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)))[None, None]
    whole, refined = peaks(maps, False)[0][0, 0].tolist(), peaks(maps, True)[0][0, 0].tolist()
    assert whole == pytest.approx([cx, cy], abs=0.5 + 1e-9)
    assert refined == pytest.approx([cx, cy], abs=0.01)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 6)] * 2),
        elements=st.integers(-3, 3).map(float) | st.just(NAN),
    )
)
def test_agrees_with_numpy(maps):
    points, scores = peaks(torch.from_numpy(maps), False)
    refined, same_scores = peaks(torch.from_numpy(maps), True)
    np.testing.assert_array_equal(scores, same_scores)
    for i in np.ndindex(maps.shape[:2]):
        if np.isnan(maps[i]).all():
            assert points[i].isnan().all() and refined[i].isnan().all() and scores[i].isnan()
            continue
        y, x = np.unravel_index(np.nanargmax(maps[i]), maps.shape[2:])
        assert points[i].tolist() == [x, y] and scores[i] == np.nanmax(maps[i])
        assert (refined[i] - points[i]).abs().max() <= 0.5


def test_any_layout_and_no_maps_at_all():
    maps = torch.rand(2, 4, 5, 6).transpose(0, 1)
    for a, b in zip(peaks(maps, True), peaks(maps.contiguous(), True), strict=True):
        assert torch.equal(a, b)
    points, scores = peaks(torch.empty(0, 3, 5, 6), True)
    assert points.shape == (0, 3, 2) and scores.shape == (0, 3)
