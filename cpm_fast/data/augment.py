"""Augmentation: one matrix a sample, for image and points alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi


@dataclass(frozen=True)
class Draw:
    """What one sample is put through; the default leaves it as it is."""

    scale: float = 1.0
    degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False


def draw(config: AugmentationConfig, random: np.random.Generator) -> Draw:
    """Draw scale, rotation, shift and flip, uniformly and independently, always in this order."""
    scale = random.uniform(config.scale_min, config.scale_max)
    degrees = random.uniform(-config.rotate_degrees, config.rotate_degrees)
    shift = random.uniform(-config.shift_px, config.shift_px, 2)
    return Draw(scale, degrees, (float(shift[0]), float(shift[1])), bool(random.random() < config.flip_probability))


def box_matrix(roi: Roi, size: tuple[int, int], drawn: Draw) -> np.ndarray:
    """Image pixels -> box pixels under a draw.

    The release's order: scale, rotate, crop about the center (with its shift), flip. It rotates about the image's
    center and rounds the crop to whole pixels; rotating about the subject's center gives the same crop, unrounded.

    Returns:
        [2, 3] float64; a flip maps x to W - 1 - x.
    """
    height, width = size
    angle = np.deg2rad(drawn.degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = roi.magnification(size) * drawn.scale * turn
    middle = np.array([(width - 1) / 2, (height - 1) / 2]) + drawn.shift
    matrix = np.hstack([linear, (middle - linear @ np.array(roi.center))[:, None]])
    if drawn.flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += width - 1
    return matrix
