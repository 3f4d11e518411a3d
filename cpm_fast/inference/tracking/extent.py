"""Boxes around the parts of poses: the overlap of two subjects, and a pose inside another."""

from __future__ import annotations

import numpy as np

# The minimum side of a box in pixels, for thin figures such as a person seen from the side.
LEAST_PX = 1.0
# A pose is inside another if the box of that holds this share of its own, and is this many times as large.
INSIDE_SHARE, INSIDE_TIMES = 0.8, 4.0


def extent(parts: np.ndarray) -> np.ndarray | None:
    """Return the box (left, top, right, bottom) about the known parts of [P, 2]; None if fewer than two are known."""
    known = parts[np.isfinite(parts).all(axis=1)]
    if len(known) < 2:
        return None
    low, high = known.min(axis=0), known.max(axis=0)
    return np.concatenate([low, np.maximum(high, low + LEAST_PX)])


def shared(parts: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the smaller one's box that is in the other's, 0 to 1; 0 where one has no box."""
    one, other = extent(parts), extent(others)
    if one is None or other is None:
        return 0.0
    return _common(one, other) / min(_area(one), _area(other))


def nested_in(parts: np.ndarray, others: np.ndarray) -> bool:
    """Return whether a pose is a much smaller one within another, such as one that the network saw on a limb of it."""
    one, other = extent(parts), extent(others)
    if one is None or other is None:
        return False
    return _common(one, other) >= INSIDE_SHARE * _area(one) and _area(other) >= INSIDE_TIMES * _area(one)


def _common(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.maximum(sides, 0.0).prod())


def _area(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).prod())
