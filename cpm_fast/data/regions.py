"""Random regions like those of finders, users and photographs' edges: off, of half a body, or of a whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cpm_fast.data.augment import Draw
from cpm_fast.data.sample import Sample
from cpm_fast.roi import Roi

# With fewer parts than this there is no size.
LEAST_PARTS = 4
# A region shrinks with the remaining parts, at most to this share of its side.
LEAST_SHARE = 0.5
# The whole picture may be a subject's region if the subject's own takes at least this share of it.
WHOLE_SHARE = 0.5


@dataclass(frozen=True)
class RandomView:
    """The random view of one sample.

    Args:
        roi: the region.
        bounds: left, top, right, bottom of the remaining picture, whole image pixels.
    """

    roi: Roi
    bounds: tuple[int, int, int, int]


def view(sample: Sample, margin: float, drawn: Draw) -> RandomView:
    """Return region and picture of a sample under a draw.

    First the region is the whole picture, or half a body's; then the picture ends at a line through the subject, and
    the region is that of the parts before the line; then center and side are off, as a finder's are.

    Args:
        sample: with its own region or box.
        margin: the network's.
        drawn: what was drawn.

    Raises:
        ValueError: the sample has neither region nor box.
    """
    roi = sample.region(margin)
    height, width = sample.image.shape[:2]
    bounds = (0, 0, width, height)
    parts = sample.parts_image[sample.labeled & np.isfinite(sample.parts_image).all(axis=1)]
    if drawn.whole:
        whole = Roi.whole_image(height, width)
        roi = whole if roi.side >= WHOLE_SHARE * whole.side else roi
    if drawn.half is not None and len(parts):
        kept = half(parts, drawn.half)
        roi, parts = (refit(roi, parts, kept), kept) if len(kept) >= LEAST_PARTS else (roi, parts)
    if drawn.border is not None and len(parts):
        cut, kept = border(parts, bounds, *drawn.border)
        if len(kept) >= LEAST_PARTS:
            roi, bounds = refit(roi, parts, kept), cut
    right, down, larger = drawn.region_error
    center = (roi.center[0] + right * roi.side, roi.center[1] + down * roi.side)
    return RandomView(Roi(center, roi.side * math.exp(larger)), bounds)


def half(parts: np.ndarray, end: int) -> np.ndarray:
    """Return the parts [K, 2] on one side of their middle along the longest axis; `end` is 0 for the upper side."""
    away = parts - parts.mean(axis=0)
    axis = np.linalg.svd(away, full_matrices=False)[2][0]
    # The axis points down, or right where it is level.
    axis = axis if (axis[1], axis[0]) > (0.0, 0.0) else -axis
    along = away @ axis
    return parts[along > 0] if end else parts[along <= 0]


def border(
    parts: np.ndarray, bounds: tuple[int, int, int, int], side: int, share: float
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Return the bounds of a picture that ends at a line through the subject, and the remaining parts.

    Args:
        parts: [K, 2] image pixels.
        bounds: of the picture.
        side: the side to cut off: 0 left, 1 top, 2 right, 3 bottom.
        share: share of the parts' extent to cut off from that side.
    """
    axis, high = side % 2, side >= 2
    if bounds[axis + 2] - bounds[axis] < 2:
        return bounds, parts
    low_end, high_end = parts[:, axis].min(), parts[:, axis].max()
    line = high_end - share * (high_end - low_end) if high else low_end + share * (high_end - low_end)
    at = int(np.clip(round(float(line)), bounds[axis] + 1, bounds[axis + 2] - 1))
    cut = list(bounds)
    cut[side] = at
    kept = parts[parts[:, axis] < at] if high else parts[parts[:, axis] >= at]
    return (cut[0], cut[1], cut[2], cut[3]), kept


def refit(roi: Roi, parts: np.ndarray, kept: np.ndarray) -> Roi:
    """Return the region of some of a subject's parts, by the rule behind the region of all of them.

    The side shrinks as the extent of the parts does, at most to `LEAST_SHARE`; the center moves with theirs.
    """
    (low, high), (kept_low, kept_high) = ((each.min(axis=0), each.max(axis=0)) for each in (parts, kept))
    extent = float((high - low).max())
    share = max(LEAST_SHARE, float((kept_high - kept_low).max()) / extent) if extent > 0 else 1.0
    x, y = (kept_low + kept_high) / 2 + share * (np.array(roi.center) - (low + high) / 2)
    return Roi((float(x), float(y)), share * roi.side)
