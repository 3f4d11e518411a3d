"""Fractions of parts that lie close enough to their truth, at one threshold or at many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cpm_fast.system.numbers import is_finite

PCK_THRESHOLD = 0.2
# Thresholds of the LSP leaderboard's curve: 0, 0.01, ..., 0.2.
CURVE_THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(21))


@dataclass(frozen=True)
class Score:
    """Fractions of found parts.

    Args:
        mean: over all labeled parts of all counted samples; NaN if there is none.
        per_part: [P] the same of each part, NaN for a part that is labeled nowhere.
        counts: [P] labeled parts that were counted.
        samples: number of counted samples.
        left_out: number of samples that were left out because they have no reference length.
        threshold: the factor on the reference length.
    """

    mean: float
    per_part: np.ndarray
    counts: np.ndarray
    samples: int
    left_out: int
    threshold: float


def pck(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    threshold: float = PCK_THRESHOLD,
    valid: np.ndarray | None = None,
    in_mean: np.ndarray | None = None,
) -> Score:
    """Compute the percentage of correct key points (Yang and Ramanan 2013).

    A part is correct if |predicted - truth| <= threshold x reference length.

    Args:
        predicted: [M, P, 2] (x, y); a part that is not finite counts as missed.
        truth: [M, P, 2] in the same frame, NaN where not labeled.
        reference_length: [M] in the same unit; a sample whose length is not finite or not positive is left out.
        threshold: fraction of the reference length, 0 or more.
        valid: [M, P] bool, which parts count; those with a finite truth if not given.
        in_mean: [P] bool, which parts count in the mean; all if not given.

    Returns:
        Fractions from 0 to 1.

    Raises:
        ValueError: shapes do not fit, the threshold is negative, or a part counts that has no truth.

    Examples:
        >>> import numpy as np
        >>> truth = np.zeros((1, 2, 2))
        >>> predicted = truth + [[0, 1], [0, 9]]
        >>> pck(predicted, truth, np.array([20.0]), threshold=0.2).mean
        0.5
    """
    return _score(_distances(predicted, truth, reference_length, valid), _threshold(threshold), in_mean)


def scores(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    thresholds: Sequence[float] = CURVE_THRESHOLDS,
    valid: np.ndarray | None = None,
    in_mean: np.ndarray | None = None,
) -> list[Score]:
    """Compute `pck(...)` at each of K thresholds.

    Raises:
        ValueError: as for `pck`, or thresholds do not rise.

    Examples:
        >>> truth = np.zeros((1, 2, 2))
        >>> predicted = np.array([[[1.0, 0.0], [3.0, 0.0]]])
        >>> [score.mean for score in scores(predicted, truth, np.array([10.0]), (0.1, 0.2, 0.3))]
        [0.5, 0.5, 1.0]
    """
    thresholds = [_threshold(value) for value in thresholds]
    if not thresholds or any(low >= high for low, high in pairwise(thresholds)):
        raise ValueError(f"thresholds must be rising numbers, at least one, got {thresholds}")
    found = _distances(predicted, truth, reference_length, valid)
    return [_score(found, value, in_mean) for value in thresholds]


def errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute |predicted - truth| of every part: [M, P], NaN where it is not labeled or not predicted.

    Args:
        predicted, truth: [M, P, 2] in the same frame.

    Raises:
        ValueError: shapes do not fit.

    Examples:
        >>> errors(np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2))).tolist()
        [[5.0]]
    """
    predicted, truth = checked_points(predicted, "predicted"), checked_points(truth, "truth")
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted must be of truth's shape {list(truth.shape)}, got {list(predicted.shape)}")
    offset = np.where(np.isfinite(predicted), predicted, np.nan) - truth
    return np.hypot(offset[..., 0], offset[..., 1])


def checked_points(values: np.ndarray, name: str) -> np.ndarray:
    """Return points as float64.

    Raises:
        ValueError: they are not [M, P, 2].
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] != 2:
        raise ValueError(f"{name} must be [M, P, 2], got {list(values.shape)}")
    return values


def _threshold(threshold: float) -> float:
    if not is_finite(threshold) or threshold < 0:
        raise ValueError(f"threshold must be a finite number, 0 or more, got {threshold!r}")
    return float(threshold)


@dataclass(frozen=True)
class _Distances:
    """Return distances [M, P], infinite where not predicted; lengths [M], counted parts [M, P], counted samples [M]."""

    distance: np.ndarray
    length: np.ndarray
    counted: np.ndarray
    samples: np.ndarray


def _distances(
    predicted: np.ndarray, truth: np.ndarray, reference_length: np.ndarray, valid: np.ndarray | None
) -> _Distances:
    truth = checked_points(truth, "truth")
    predicted = checked_points(predicted, "predicted")
    length = np.asarray(reference_length, dtype=np.float64)
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted must be of truth's shape {list(truth.shape)}, got {list(predicted.shape)}")
    if length.shape != truth.shape[:1]:
        raise ValueError(f"reference_length must be [{len(truth)}], got {list(length.shape)}")
    known = np.isfinite(truth).all(axis=2)
    counted = known if valid is None else np.asarray(valid)
    if counted.shape != known.shape or counted.dtype != np.bool_:
        raise ValueError(f"valid must be {list(known.shape)} bool, got {list(counted.shape)} {counted.dtype}")
    if (counted & ~known).any():
        sample, part = np.argwhere(counted & ~known)[0]
        raise ValueError(f"truth must be finite where valid is set, got {truth[sample, part]} at [{sample}, {part}]")
    samples = np.isfinite(length) & (length > 0)
    located = (np.isfinite(predicted).all(axis=2) & counted)[..., None]
    offset = np.where(located, predicted, np.inf) - np.where(counted[..., None], truth, 0.0)  # [M, P, 2]
    distance = np.hypot(offset[..., 0], offset[..., 1])
    return _Distances(distance, np.where(samples, length, 0.0), counted & samples[:, None], samples)


def _score(found: _Distances, threshold: float, in_mean: np.ndarray | None = None) -> Score:
    # Not strict, as the release and the MPII toolkit compare; an exact hit counts at threshold 0.
    right = found.distance <= threshold * found.length[:, None]
    hits = (right & found.counted).sum(axis=0)
    counts = found.counted.sum(axis=0)
    per_part = np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)
    chosen = np.ones(len(counts), bool) if in_mean is None else in_mean
    # Pooled, as the release counts (11805 of 14000 parts): a part that is labeled more often weighs more.
    total = int(counts[chosen].sum())
    mean = float(hits[chosen].sum() / total) if total else float("nan")
    samples = int(found.samples.sum())
    return Score(mean, per_part, counts, samples, len(found.samples) - samples, threshold)
