"""The assignment of subjects to poses, beside SciPy's."""

import numpy as np
import pytest

from cpm_fast.inference.tracking.assignment import best_pairs


@pytest.mark.parametrize("whole", [False, True], ids=["any numbers", "ties"])
def test_the_sum_is_the_largest(whole):
    optimize = pytest.importorskip("scipy.optimize", reason='the oracle needs pip install -e ".[test]"')
    random = np.random.default_rng(0)
    for _ in range(300):
        size = random.integers(0, 7, 2)
        values = random.integers(-3, 4, size).astype(float) if whole else random.uniform(-1, 1, size)
        pairs = best_pairs(values)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        gains = np.maximum(values, 0)
        rows, columns = optimize.linear_sum_assignment(gains, maximize=True)
        assert sum(values[pair] for pair in pairs) == pytest.approx(gains[rows, columns].sum())
        assert all(values[pair] > 0 for pair in pairs)


def test_pairs_below_the_least_are_none():
    values = np.array([[0.9, 0.2], [0.3, 0.05]])
    assert best_pairs(values, 0.1) == [(0, 0)] and best_pairs(values, 0.01) == [(0, 0), (1, 1)]
    assert best_pairs(np.zeros((0, 3))) == best_pairs(np.zeros((3, 0))) == []


@pytest.mark.parametrize("values", [np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]])], ids=str)
def test_rejects(values):
    with pytest.raises(ValueError, match="values must be a finite matrix"):
        best_pairs(values)
