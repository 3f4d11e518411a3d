"""Bootstrap intervals of a mean over samples."""

from __future__ import annotations

import numpy as np

DRAWS = 2000


def bootstrap_interval(
    values: np.ndarray, weights: np.ndarray | None = None, *, share: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of a mean over samples (Efron 1979).

    Samples are drawn with replacement, as many as there are. The interval covers the choice of samples, not the choice
    of a training's seed.

    Args:
        values: [M] of the samples, for instance their shares of found parts.
        weights: [M] weight of each, for instance its number of labeled parts; equal if not given.
        share: of the interval, above 0 and below 1.
        draws: number of resamplings.
        seed: of the resampling.

    Returns:
        Low and high end.

    Raises:
        ValueError: shapes do not fit, there is no sample, or a number is out of its range.

    Examples:
        >>> low, high = bootstrap_interval(np.array([0.0, 1.0, 1.0, 1.0] * 25))
        >>> round(low, 2), round(high, 2)
        (0.66, 0.83)
    """
    values = np.asarray(values, np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    if values.ndim != 1 or not len(values) or weights.shape != values.shape:
        raise ValueError(
            f"values must be [M] of at least one sample, weights too, got {list(values.shape)}, {list(weights.shape)}"
        )
    if not (np.isfinite(values).all() and np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError("values must be finite, and weights positive")
    if not 0 < share < 1 or draws < 1:
        raise ValueError(f"share must be above 0 and below 1 and draws at least 1, got {share} and {draws}")
    chosen = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    means = (values * weights)[chosen].sum(axis=1) / weights[chosen].sum(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
