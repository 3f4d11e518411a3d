"""Metrics of located parts: PCK, PCKh, the FLIC rule and areas under curves, on arrays.

A part is right where its distance to the truth is at most a threshold times the subject's reference length. Comparisons
are not strict and means are pooled over all labeled parts of all subjects, as the LSP and MPII benchmarks do; some
later toolkits compare strictly or average the parts' scores instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cpm_fast.skeleton import FLIC, LSP, MPII, Skeleton

PCK_THRESHOLD = 0.2
PCKH_THRESHOLD = 0.5
# Thresholds of the LSP leaderboard's curve: 0, 0.01, ..., 0.2.
CURVE_THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(21))
# The MPII head size: the head box's diagonal is longer than the head.
HEAD_OF_DIAGONAL = 0.6
# Points of MPII that lie on no joint; the benchmark's total leaves them out.
MPII_LEFT_OUT = ("pelvis", "thorax")


@dataclass(frozen=True)
class Score:
    """Fractions of parts that were found.

    Args:
        mean: found over all labeled parts of all counted samples; NaN where there is none.
        per_part: [P] the same of each part, NaN for a part that is labeled nowhere.
        counts: [P] labeled parts that were counted.
        samples: how many samples were counted.
        left_out: how many were not, because they have no reference length.
        threshold: what the reference length was multiplied with.
    """

    mean: float
    per_part: np.ndarray
    counts: np.ndarray
    samples: int
    left_out: int
    threshold: float


@dataclass(frozen=True)
class FlicScore:
    """Scores as reported on FLIC: the mean of left and right elbow and of left and right wrist, beside all parts."""

    elbow: float
    wrist: float
    parts: Score


def pck(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    threshold: float = PCK_THRESHOLD,
    valid: np.ndarray | None = None,
    in_mean: np.ndarray | None = None,
) -> Score:
    """Percentage of correct key points: |predicted - truth| <= threshold x reference length (Yang and Ramanan 2013).

    Args:
        predicted: [M, P, 2] (x, y); a part that is not finite counts as missed.
        truth: [M, P, 2] in the same frame, NaN where not labeled.
        reference_length: [M] in the same unit; a sample whose length is not finite or not positive is left out.
        threshold: fraction of the reference length, 0 or more.
        valid: [M, P] bool, which parts count; those with a finite truth if not given.
        in_mean: [P] bool, which parts have a share in the mean; all if not given.

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


def pckh(
    predicted: np.ndarray,
    truth: np.ndarray,
    head_box: np.ndarray | None = None,
    *,
    head_length: np.ndarray | None = None,
    skeleton: Skeleton = MPII,
    threshold: float = PCKH_THRESHOLD,
    valid: np.ndarray | None = None,
) -> Score:
    """PCK with the head size as reference length, the rule of the MPII benchmark (Andriluka et al. 2014).

    Pelvis and thorax have their scores in `per_part` but no share in `mean`.

    Args:
        predicted, truth, valid: as for `pck`, parts in the skeleton's order.
        head_box: [M, 4] the annotated x1, y1, x2, y2; the head size is 0.6 of its diagonal.
        head_length: [M] the head size itself, instead of head_box.
        skeleton: the P parts' names.
        threshold: fraction of the head size.

    Raises:
        ValueError: as for `pck`, or not exactly one of head_box and head_length is given.

    Examples:
        >>> import numpy as np
        >>> truth = np.zeros((1, 16, 2))
        >>> pckh(truth + 2, truth, head_length=np.array([10.0])).mean
        1.0
    """
    if (head_box is None) == (head_length is None):
        given = "neither" if head_box is None else "both"
        raise ValueError(f"pckh wants head_box [M, 4] or head_length [M], exactly one of them, got {given}")
    length = np.asarray(head_length) if head_box is None else mpii_reference_length(head_box)
    found = _distances(predicted, truth, length, valid)
    _check_parts(np.asarray(truth), skeleton)
    return _score(found, _threshold(threshold), in_mpii_mean(skeleton.names))


def in_mpii_mean(names: Sequence[str]) -> np.ndarray:
    """Which parts have a share in MPII's mean: [P] bool."""
    return np.array([part not in MPII_LEFT_OUT for part in names], dtype=bool)


def flic(
    predicted: np.ndarray,
    truth: np.ndarray,
    skeleton: Skeleton = FLIC,
    threshold: float = PCK_THRESHOLD,
    valid: np.ndarray | None = None,
) -> FlicScore:
    """Score by the FLIC rule (Sapp and Taskar 2013): PCK of elbows and wrists over |left shoulder - right hip|.

    The length is the truth's, with which the paper's numbers come out; the release's script took the predicted one.

    Args:
        predicted, truth, valid, threshold: as for `pck`, parts in the skeleton's order.
        skeleton: the P parts' names; must have shoulders' and hips' diagonal, elbows and wrists.

    Raises:
        ValueError: as for `pck`, or the skeleton lacks one of these parts.

    Examples:
        >>> import numpy as np
        >>> from cpm_fast.skeleton import FLIC
        >>> truth = np.arange(2.0 * len(FLIC)).reshape(1, -1, 2)
        >>> flic(truth + 0.1, truth).wrist
        1.0
    """
    score = pck(predicted, truth, flic_reference_length(truth, skeleton), threshold, valid)

    def both(part: str) -> float:
        sides = score.per_part[[skeleton.index(f"left_{part}"), skeleton.index(f"right_{part}")]]
        known = sides[~np.isnan(sides)]
        return float(known.mean()) if len(known) else float("nan")

    return FlicScore(both("elbow"), both("wrist"), score)


def scores(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    thresholds: Sequence[float] = CURVE_THRESHOLDS,
    valid: np.ndarray | None = None,
    in_mean: np.ndarray | None = None,
) -> list[Score]:
    """`pck(...)` at every threshold, K of them.

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


def curve(
    predicted: np.ndarray,
    truth: np.ndarray,
    reference_length: np.ndarray,
    thresholds: Sequence[float] = CURVE_THRESHOLDS,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """`pck(...).mean` at every threshold: [K] float64.

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
    """Area under PCK over the thresholds by the trapezoid rule, over their range: 1 where every part is exact.

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


def errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|predicted - truth| of every part: [M, P], NaN where it is not labeled or not predicted.

    Args:
        predicted, truth: [M, P, 2] in the same frame.

    Raises:
        ValueError: shapes do not fit.

    Examples:
        >>> errors(np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2))).tolist()
        [[5.0]]
    """
    predicted, truth = _points(predicted, "predicted"), _points(truth, "truth")
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted must be of truth's shape {list(truth.shape)}, got {list(predicted.shape)}")
    offset = np.where(np.isfinite(predicted), predicted, np.nan) - truth
    return np.hypot(offset[..., 0], offset[..., 1])


def lsp_reference_length(truth: np.ndarray, skeleton: Skeleton = LSP) -> np.ndarray:
    """Return the torso of LSP's PCK, |left shoulder - right hip| of the truth: [M], NaN where one is not labeled.

    The other diagonal gives other numbers: 84.41 instead of 84.32 for the released LSP predictions.

    Args:
        truth: [M, P, 2] in the skeleton's order, NaN where not labeled.

    Raises:
        ValueError: the shape does not fit, or the skeleton lacks one of the two parts.
    """
    return _torso(truth, skeleton)


def flic_reference_length(truth: np.ndarray, skeleton: Skeleton = FLIC) -> np.ndarray:
    """Return the torso of the FLIC rule, |left shoulder - right hip| of the truth: [M], as `lsp_reference_length`."""
    return _torso(truth, skeleton)


def mpii_reference_length(head_box: np.ndarray) -> np.ndarray:
    """Return the head size of PCKh, 0.6 x the diagonal of head boxes [M, 4] (x1, y1, x2, y2): [M].

    Raises:
        ValueError: the shape does not fit.

    Examples:
        >>> mpii_reference_length(np.array([[0.0, 0.0, 30.0, 40.0]])).tolist()
        [30.0]
    """
    head_box = np.asarray(head_box, dtype=np.float64)
    if head_box.ndim != 2 or head_box.shape[1] != 4:
        raise ValueError(f"head_box must be [M, 4], got {list(head_box.shape)}")
    return HEAD_OF_DIAGONAL * np.hypot(head_box[:, 2] - head_box[:, 0], head_box[:, 3] - head_box[:, 1])


def box_reference_length(truth: np.ndarray) -> np.ndarray:
    """Return the longer side of the box about the labeled parts [M, P, 2]: [M], NaN where none is labeled.

    For skeletons without a torso; it depends on pose and on which parts are labeled, so such numbers compare with
    themselves only.

    Raises:
        ValueError: the shape does not fit.

    Examples:
        >>> box_reference_length(np.array([[[0.0, 0.0], [3.0, 4.0], [np.nan, np.nan]]])).tolist()
        [4.0]
    """
    truth = _points(truth, "truth")
    known = np.isfinite(truth).all(axis=2, keepdims=True)
    high = np.where(known, truth, -np.inf).max(axis=1, initial=-np.inf)  # [M, 2]
    low = np.where(known, truth, np.inf).min(axis=1, initial=np.inf)
    side = (high - low).max(axis=1)
    return np.where(np.isfinite(side), side, np.nan)


def _torso(truth: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    truth = _check_parts(_points(truth, "truth"), skeleton)
    ends = truth[:, skeleton.index("left_shoulder")] - truth[:, skeleton.index("right_hip")]
    return np.hypot(ends[:, 0], ends[:, 1])


def _points(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] != 2:
        raise ValueError(f"{name} must be [M, P, 2], got {list(values.shape)}")
    return values


def _check_parts(truth: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    if truth.shape[1] != len(skeleton):
        raise ValueError(f"truth must have the {len(skeleton)} parts of {skeleton.name!r}, got {truth.shape[1]}")
    return truth


def _threshold(threshold: float) -> float:
    if not np.isfinite(threshold) or threshold < 0:
        raise ValueError(f"threshold must be a finite number, 0 or more, got {threshold}")
    return float(threshold)


@dataclass(frozen=True)
class _Distances:
    """Distances [M, P], infinite where not predicted; lengths [M], counted parts [M, P], counted samples [M]."""

    distance: np.ndarray
    length: np.ndarray
    counted: np.ndarray
    samples: np.ndarray


def _distances(
    predicted: np.ndarray, truth: np.ndarray, reference_length: np.ndarray, valid: np.ndarray | None
) -> _Distances:
    truth = _points(truth, "truth")
    predicted = _points(predicted, "predicted")
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
