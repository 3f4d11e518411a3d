"""Curves of the percentage of correct key points over its threshold, and the areas below them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cpm_fast.metrics.correct import CURVE_THRESHOLDS, scores


def curve(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    thresholds: Sequence[float] = CURVE_THRESHOLDS,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Compute `pck(...).mean` at every threshold: [K] float64.

    Raises:
        ValueError: as for `scores`.

    Examples:
        >>> curve(np.ones((1, 1, 2)), np.zeros((1, 1, 2)), np.array([10.0]), (0.1, 0.2)).tolist()
        [0.0, 1.0]
    """
    return np.array([score.mean for score in scores(predicted, truth, reference_length, thresholds, valid)])


def area_under_curve(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    thresholds: Sequence[float] = CURVE_THRESHOLDS,
    valid: np.ndarray | None = None,
) -> float:
    """Compute the area under PCK over the thresholds by the trapezoid rule, over their range: 1 if all parts are exact.

    Raises:
        ValueError: as for `curve`, or fewer than two thresholds.

    Examples:
        >>> truth = np.zeros((1, 1, 2))
        >>> round(area_under_curve(truth, truth, np.array([10.0])), 6)
        1.0
    """
    if len(thresholds) < 2:
        raise ValueError(f"thresholds must be at least two for an area, got {list(thresholds)}")
    return area_below(curve(predicted, truth, reference_length, thresholds, valid), thresholds)


def area_below(heights: np.ndarray, thresholds: Sequence[float]) -> float:
    """Return the area below a curve [K] by the trapezoid rule, over the range of its thresholds."""
    area = (np.diff(thresholds) * (heights[1:] + heights[:-1]) / 2).sum()
    return float(area) / (thresholds[-1] - thresholds[0])
