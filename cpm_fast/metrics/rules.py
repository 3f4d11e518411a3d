"""The rules of the benchmarks MPII and FLIC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cpm_fast.metrics.correct import PCK_THRESHOLD, Score, checked_points, pck
from cpm_fast.metrics.lengths import check_parts, flic_reference_length, mpii_reference_length
from cpm_fast.skeleton import FLIC, MPII, Skeleton

PCKH_THRESHOLD = 0.5
# Points of MPII that lie on no joint; the benchmark's total leaves them out.
MPII_LEFT_OUT = ("pelvis", "thorax")


@dataclass(frozen=True)
class FlicScore:
    """Scores as reported on FLIC: the mean of left and right elbow and of left and right wrist, beside all parts."""

    elbow: float
    wrist: float
    parts: Score


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
    """Compute PCK with the head size as reference length, as the MPII benchmark does (Andriluka et al. 2014).

    Pelvis and thorax have their scores in `per_part`, but do not count in `mean`.

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
        raise ValueError(f"pckh must be given head_box [M, 4] or head_length [M], exactly one of them, got {given}")
    length = np.asarray(head_length) if head_box is None else mpii_reference_length(head_box)
    check_parts(checked_points(truth, "truth"), skeleton)
    return pck(predicted, truth, length, threshold, valid, in_mpii_mean(skeleton.names))


def in_mpii_mean(names: Sequence[str]) -> np.ndarray:
    """Return which parts count in MPII's mean: [P] bool."""
    return np.array([part not in MPII_LEFT_OUT for part in names], dtype=bool)


def flic(
    predicted: np.ndarray,
    truth: np.ndarray,
    skeleton: Skeleton = FLIC,
    threshold: float = PCK_THRESHOLD,
    valid: np.ndarray | None = None,
) -> FlicScore:
    """Score by the FLIC rule (Sapp and Taskar 2013): PCK of elbows and wrists over |left shoulder - right hip|.

    The length is the truth's, which gives the paper's numbers; the release's script took the predicted one.

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
