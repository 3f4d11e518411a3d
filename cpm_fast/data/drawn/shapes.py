"""Shapes and colors of drawn pictures: polygons, capsules, and how they are painted."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

Color = tuple[float, float, float]

# Fixed-point bits of the vertices handed to OpenCV: 1/64 px.
SUBPIXEL_BITS = 6

# Angles about the axis of one end of a capsule, in half turns.
HALF_TURN = np.linspace(-0.5, 0.5, 9)


class Polygon(NamedTuple):
    """A convex polygon [n, 2] in heads (y down) with one color; a greater depth is nearer to the viewer."""

    depth: float
    polygon: np.ndarray
    color: Color
    outlined: bool = False


def hull(points: np.ndarray) -> np.ndarray:
    """Return the convex hull of points [n, 2]: [m, 2]."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def capsules(ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return outlines of tapered capsules: ends [n, 2, 2], radii [n, 2] -> [n, 18, 2]."""
    along = ends[:, 1] - ends[:, 0]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    within = length <= np.abs(radii[:, 0] - radii[:, 1])
    if within.any():
        # If one circle contains the other, it is the outline.
        larger = radii.argmax(axis=1)[within]
        ends, radii = ends.copy(), radii.copy()
        ends[within] = ends[within, larger][:, None]
        radii[within] = radii[within, larger][:, None]
    heading = np.arctan2(along[:, 1], along[:, 0])
    # The common tangents touch both circles at this angle from the normal of the axis.
    taper = np.arcsin(np.clip((radii[:, 0] - radii[:, 1]) / length, -1, 1))
    far = heading[:, None] + HALF_TURN * (math.pi - 2 * taper)[:, None]
    near = heading[:, None] + math.pi + HALF_TURN * (math.pi + 2 * taper)[:, None]
    angles = np.concatenate([far, near], axis=1)
    points = np.empty((*angles.shape, 2))
    points[..., 0], points[..., 1] = np.cos(angles), np.sin(angles)
    points *= np.repeat(radii[:, ::-1], len(HALF_TURN), axis=1)[:, :, None]
    return points + np.repeat(ends[:, ::-1], len(HALF_TURN), axis=1)


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Convert pixels to the integers that OpenCV takes with `shift=SUBPIXEL_BITS`."""
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def shade(color: Color, factor: float) -> Color:
    """Make a color lighter or darker, within 0 to 255."""
    b, g, r = color
    return min(255.0, b * factor), min(255.0, g * factor), min(255.0, r * factor)


def pick_color(rng: np.random.Generator, table: tuple[Color, ...], spread: float = 10.0) -> Color:
    """Choose a color between two neighbors of a table, with a little noise."""
    at = rng.random() * (len(table) - 1)
    low, high, part = table[int(at)], table[int(at) + 1], at % 1
    own = rng.normal(0.0, spread, 3).tolist()
    b, g, r = (min(255.0, max(0.0, low[k] + part * (high[k] - low[k]) + own[k])) for k in range(3))
    return b, g, r


def any_color(rng: np.random.Generator, saturation: float = 1.0) -> Color:
    """Choose a random color of at most this saturation."""
    hue, vivid, value = rng.random(3).tolist()
    strength = 0.5 * saturation * vivid
    light = 255 * (0.12 + 0.85 * value)
    b, g, r = (light * (1 - strength + strength * math.cos(2 * math.pi * (hue + k / 3))) for k in range(3))
    return b, g, r


def paint_polygon(image: np.ndarray, points: np.ndarray, color: Color, outline: Color | None = None) -> None:
    """Fill a convex polygon [n, 2] given in fixed point, smooth at its edge."""
    cv2.fillConvexPoly(image, points, color, cv2.LINE_AA, SUBPIXEL_BITS)
    if outline is not None:
        cv2.polylines(image, [points], True, outline, 1, cv2.LINE_AA, SUBPIXEL_BITS)
