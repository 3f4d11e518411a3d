"""Reference lengths of subjects: the torso of LSP and FLIC, the head of MPII, and the box of any skeleton."""

from __future__ import annotations

import numpy as np

from cpm_fast.metrics.correct import checked_points
from cpm_fast.skeleton import FLIC, LSP, Skeleton

# The MPII head size: the head box's diagonal is longer than the head.
HEAD_OF_DIAGONAL = 0.6


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
    """Return the longer side of the box around the labeled parts [M, P, 2]: [M], NaN where none is labeled.

    It is for skeletons without a torso. It depends on the pose and on the labeled parts, so such scores compare only
    with each other.

    Raises:
        ValueError: the shape does not fit.

    Examples:
        >>> box_reference_length(np.array([[[0.0, 0.0], [3.0, 4.0], [np.nan, np.nan]]])).tolist()
        [4.0]
    """
    truth = checked_points(truth, "truth")
    known = np.isfinite(truth).all(axis=2, keepdims=True)
    high = np.where(known, truth, -np.inf).max(axis=1, initial=-np.inf)  # [M, 2]
    low = np.where(known, truth, np.inf).min(axis=1, initial=np.inf)
    side = (high - low).max(axis=1)
    return np.where(np.isfinite(side), side, np.nan)


def _torso(truth: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    truth = check_parts(checked_points(truth, "truth"), skeleton)
    ends = truth[:, skeleton.index("left_shoulder")] - truth[:, skeleton.index("right_hip")]
    return np.hypot(ends[:, 0], ends[:, 1])


def check_parts(truth: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return points [M, P, 2].

    Raises:
        ValueError: P is not the skeleton's.
    """
    if truth.shape[1] != len(skeleton):
        raise ValueError(f"truth must have the {len(skeleton)} parts of {skeleton.name!r}, got {truth.shape[1]}")
    return truth
