"""The one-euro filter: steady at rest, a short delay in motion, and parts that appear and disappear."""

import numpy as np
import pytest

from cpm_fast.inference.smoothing import OneEuro, Smoother

RATE, SIDE = 25.0, 200.0


def run(points: np.ndarray, filtering: OneEuro | None = None, rate: float = RATE, side: float = SIDE) -> np.ndarray:
    smoother = Smoother(filtering or OneEuro())
    return np.array([smoother(each, i / rate, side) for i, each in enumerate(points)])


def test_the_formula_on_two_frames():
    """By hand: speed (3 - 0) 10 filtered at 1 Hz, cutoff 2 + 4 |speed| / 10, share w / (w + 1), w = 2 pi f / 10."""
    found = run(np.array([[[0.0, 5.0]], [[3.0, 5.0]]]), OneEuro(2.0, 4.0, 1.0), 10.0, 10.0)
    weight = 2 * np.pi / 10
    speed = 30 * weight / (weight + 1)
    weight *= 2 + 4 * speed / 10
    np.testing.assert_allclose(found[1], [[3 * weight / (weight + 1), 5.0]], rtol=1e-12)


def test_noise_at_rest_is_damped_and_motion_is_followed():
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, (400, 3, 2))
    assert run(noise)[50:].std() < 0.6
    moving = np.linspace(0, 2000, 100)[:, None, None] * np.ones((1, 1, 2))
    behind = (moving - run(moving))[50:]
    # At 500 px, 2.5 sides, per second, the delay is below a twelfth of a second.
    assert 0 < behind.max() < 500 / 12


def test_a_missing_part_stays_missing_and_starts_anew():
    points = np.zeros((6, 2, 2))
    points[:, 1] = 7
    points[2:4, 0] = np.nan
    points[4:, 0] = 90
    found = run(points)
    assert np.isnan(found[2:4, 0]).all() and (found[:2, 0] == 0).all() and (found[4:, 0] == 90).all()
    assert (found[:, 1] == 7).all()


def test_times_that_do_not_pass_start_anew():
    smoother = Smoother(OneEuro())
    smoother(np.zeros((1, 2)), 1.0, SIDE)
    assert (smoother(np.full((1, 2), 9.0), 1.0, SIDE) == 9).all()


def test_the_result_is_a_new_array_each_time():
    smoother = Smoother(OneEuro())
    first = smoother(np.zeros((1, 2), np.float32), 0.0, SIDE)
    second = smoother(np.ones((1, 2), np.float32), 0.04, SIDE)
    before = second.copy()
    smoother(np.full((1, 2), 5, np.float32), 0.08, SIDE)
    assert (first == 0).all() and (second == before).all() and second.dtype == np.float32


@pytest.mark.parametrize("values", [{"cutoff": 0.0}, {"speed_weight": -1.0}, {"speed_cutoff": float("nan")}], ids=str)
def test_rejects(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))} must be a positive number of Hz"):
        OneEuro(**values)
