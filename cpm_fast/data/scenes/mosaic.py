"""Scenes of several pictures side by side."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from cpm_fast.data.augment import Draw, draw, recolor
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.scene import Scene, photograph
from cpm_fast.model.crops import warp
from cpm_fast.roi import Roi

# Rows and columns of a mosaic; how much narrower or wider a field may be than the others, in shares of them; and the
# largest magnification over that at which a picture fills its field.
MOSAIC_GRIDS, MOSAIC_UNEVEN, MOSAIC_ZOOM = ((1, 2), (1, 3), (2, 3), (2, 2), (2, 4)), 0.3, 1.5


def mosaic(sample: Sample, material: Material, random: np.random.Generator) -> Scene:
    """Return several pictures side by side, each with its own surroundings; each subject is cut by its field."""
    height, width = material.size
    rows, columns = MOSAIC_GRIDS[int(random.integers(len(MOSAIC_GRIDS)))]

    def lines(fields: int, pixels: int) -> list[int]:
        shares = random.uniform(1 - MOSAIC_UNEVEN, 1 + MOSAIC_UNEVEN, fields)
        ends = (np.cumsum(shares) / shares.sum() * pixels).round().astype(int).tolist()
        return [0, *ends]

    across, down = lines(rows, height), lines(columns, width)
    fields = [(left, top, right, bottom) for top, bottom in pairwise(across) for left, right in pairwise(down)]
    own = int(random.integers(len(fields)))
    scene = Scene(np.empty((height, width, 3), np.uint8), doubtful=True)
    for number, (left, top, right, bottom) in enumerate(fields):
        one = sample if number == own else material.another()
        drawn = draw(material.augmentation, random)
        part = _filling(one, (bottom - top, right - left), drawn, material, random)
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
    """Return a part of a picture that fills (H, W) pixels, with the middle of its subject in it."""
    pixels = np.array(sample.image.shape[1::-1], float)
    shown = np.array(size[::-1], float)
    scale = float((shown / pixels).max()) * math.exp(random.uniform(0, math.log(MOSAIC_ZOOM)))
    half = shown / scale / 2  # of the part, in pixels of the picture
    at = half + random.uniform(0, 1, 2) * (pixels - 2 * half)
    middle = np.array(sample.region(material.network.margin).center)
    at = np.clip(np.clip(at, middle - 0.9 * half, middle + 0.9 * half), half, pixels - half)
    matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    if drawn.flip:
        matrix[0] *= -1
    matrix[:, 2] = (shown - 1) / 2 - matrix[:, :2] @ (at - 0.5)
    image = warp(sample.image, matrix, size, material.network.padding_value)
    return photograph(image, matrix, sample, material.skeleton, material.network.margin)
