"""Bootstrap intervals against the normal approximation, and refused arguments."""

import numpy as np
import pytest

from cpm_fast.evaluation.interval import bootstrap_interval


def test_it_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(3.0, 2.0, 900)
    low, high = bootstrap_interval(values)
    error = values.std() / 30
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    narrow = bootstrap_interval(values, share=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_weights_count_as_that_many_samples_would():
    values, weights = np.array([0.0, 1.0] * 200), np.array([1.0, 3.0] * 200)
    low, high = bootstrap_interval(values, weights)
    assert low < 0.75 < high and high - low < 0.1


def test_it_is_the_same_for_the_same_seed():
    values = np.arange(20.0)
    assert bootstrap_interval(values) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval(np.array([2.0])) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([], {}),
        ([[1.0]], {}),
        ([1.0], {"weights": [1.0, 2.0]}),
        ([np.nan], {}),
        ([1.0], {"weights": [0.0]}),
        ([1.0], {"share": 1.0}),
        ([1.0], {"draws": 0}),
    ],
    ids=str,
)
def test_rejects(values, options):
    with pytest.raises(ValueError, match="must be"):
        bootstrap_interval(np.array(values), **options)
