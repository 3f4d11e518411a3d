"""Scenes of one picture, or of several side by side, many of which cut their subjects as everyday pictures do."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from cpm_fast.data.augment import Draw, draw, recolor
from cpm_fast.data.regions import LEAST_PARTS, border
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.backgrounds import background_of
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.pasting import HIDDEN_ENDS, HIDDEN_PART
from cpm_fast.data.scenes.scene import Scene, photograph
from cpm_fast.model.crops import warp
from cpm_fast.roi import Roi

# Rows and columns of a mosaic; how much narrower or wider a field may be than the others, in shares of them; and the
# largest magnification over that at which a picture fills its field.
MOSAIC_GRIDS, MOSAIC_UNEVEN, MOSAIC_ZOOM = ((1, 1), (1, 2), (1, 3), (2, 3), (2, 2), (2, 4)), 0.3, 1.5
# The shorter side of a field, at least, unless there is only one.
FIELD_PX = 40.0
# How often a field has no subject.
EMPTY_FIELD = 0.12
# How often a field is a close view, which cuts off one end of its subject; the length of the field over that of what
# remains; and the largest magnification.
CLOSE_SHARE, CLOSE_ROOM, CLOSE_ZOOM = 0.5, (1.05, 2.2), 3.0
# How far the rest of the subject may lie from the middle of a close view, in shares of half its width.
CLOSE_BESIDE = 0.4


def mosaic(sample: Sample, material: Material, random: np.random.Generator) -> Scene:
    """Return pictures side by side, each with its own surroundings; each subject is cut by its field."""
    height, width = material.size
    fit = [grid for grid in MOSAIC_GRIDS if min(height / grid[0], width / grid[1]) >= FIELD_PX] or [(1, 1)]
    rows, columns = fit[int(random.integers(len(fit)))]

    def lines(fields: int, pixels: int) -> list[int]:
        shares = random.uniform(1 - MOSAIC_UNEVEN, 1 + MOSAIC_UNEVEN, fields)
        ends = (np.cumsum(shares) / shares.sum() * pixels).round().astype(int).tolist()
        return [0, *ends]

    across, down = lines(rows, height), lines(columns, width)
    fields = [(left, top, right, bottom) for top, bottom in pairwise(across) for left, right in pairwise(down)]
    own = int(random.integers(len(fields)))
    scene = Scene(np.empty((height, width, 3), np.uint8), doubtful=True)
    for number, (left, top, right, bottom) in enumerate(fields):
        size, drawn = (bottom - top, right - left), draw(material.augmentation, random)
        if number != own and random.random() < EMPTY_FIELD:
            scene.image[top:bottom, left:right] = background_of(replace(material, shown=size), random)[0]
            continue
        one = sample if number == own else material.another()
        part = _filling(one, size, drawn, material, random)
        scene.image[top:bottom, left:right] = recolor(part.image, drawn)
        rois, ignored = (
            tuple(Roi((roi.center[0] + left, roi.center[1] + top), roi.side) for roi in each)
            for each in (part.rois, part.ignored)
        )
        scene = replace(scene, rois=scene.rois + rois, ignored=scene.ignored + ignored)
    return scene


def _filling(
    sample: Sample,
    size: tuple[int, int],
    drawn: Draw,
    material: Material,
    random: np.random.Generator,
) -> Scene:
    """Return a part of a picture that fills (H, W) pixels, with its subject or an end of it."""
    shown = np.array(size[::-1], float)
    scale, at = _close(sample, shown, random) or _loose(sample, shown, material, random)
    matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    if drawn.flip:
        matrix[0] *= -1
    matrix[:, 2] = (shown - 1) / 2 - matrix[:, :2] @ (at - 0.5)
    image = warp(sample.image, matrix, size, material.network.padding_value)
    return photograph(image, matrix, sample, material.skeleton, material.network.margin)


def _loose(
    sample: Sample, shown: np.ndarray, material: Material, random: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Return magnification and middle of a view (W, H) of a picture, with the middle of its subject in it."""
    pixels = np.array(sample.image.shape[1::-1], float)
    scale = float((shown / pixels).max()) * math.exp(random.uniform(0, math.log(MOSAIC_ZOOM)))
    half = shown / scale / 2  # of the part, in pixels of the picture
    at = half + random.uniform(0, 1, 2) * (pixels - 2 * half)
    middle = np.array(sample.region(material.network.margin).center)
    return scale, np.clip(np.clip(at, middle - 0.9 * half, middle + 0.9 * half), half, pixels - half)


def _close(sample: Sample, shown: np.ndarray, random: np.random.Generator) -> tuple[float, np.ndarray] | None:
    """Return magnification and middle of a view (W, H) that cuts off one end of a picture's subject, or None."""
    parts = sample.parts_image[sample.labeled & np.isfinite(sample.parts_image).all(axis=1)]
    if random.random() >= CLOSE_SHARE or len(parts) < LEAST_PARTS:
        return None
    height, width = sample.image.shape[:2]
    pixels, end = np.array((width, height), float), int(random.choice(4, p=HIDDEN_ENDS))
    bounds, kept = border(parts, (0, 0, width, height), end, random.uniform(*HIDDEN_PART))
    if len(kept) < LEAST_PARTS:
        return None
    low, high, axis = kept.min(axis=0), kept.max(axis=0), end % 2
    line = float(bounds[end])
    length = abs(line - float((high if end < 2 else low)[axis])) * random.uniform(*CLOSE_ROOM)
    filling = float((shown / pixels).max())
    scale = max(filling, min(float(shown[axis]) / max(length, 1.0), max(CLOSE_ZOOM, filling)))
    half = shown / scale / 2
    at = (low + high) / 2 + random.uniform(-CLOSE_BESIDE, CLOSE_BESIDE, 2) * half
    at[axis] = line + half[axis] if end < 2 else line - half[axis]
    return scale, np.clip(at, half, pixels - half)
