"""Augmentation: one matrix a sample, for image and points alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi


@dataclass(frozen=True)
class Draw:
    """The random changes of one sample; the default leaves it as it is.

    Args:
        scale, degrees, shift, flip: of the geometry, see `box_matrix`.
        center_error: how far the center that the network is told is off, box pixels.
        brightness: added, 0 to 255.
        contrast, saturation: factors on the differences to the mean and to gray.
        occluder: (left, top, right, bottom) of a rectangle in shares of the box, or None.
        occluder_color: BGR.
    """

    scale: float = 1.0
    degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    center_error: tuple[float, float] = (0.0, 0.0)
    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    occluder: tuple[float, float, float, float] | None = None
    occluder_color: tuple[int, int, int] = (0, 0, 0)


def draw(config: AugmentationConfig, random: np.random.Generator) -> Draw:
    """Draw every change, uniformly and independently, always in this order, so that what is off changes nothing."""
    scale = random.uniform(config.scale_min, config.scale_max)
    degrees = random.uniform(-config.rotate_degrees, config.rotate_degrees)
    shift = random.uniform(-config.shift_px, config.shift_px, 2)
    flip = bool(random.random() < config.flip_probability)
    error_x, error_y = random.uniform(-config.center_px, config.center_px, 2).tolist()
    brightness, contrast, saturation = random.uniform(-1, 1, 3).tolist()
    hidden = random.random() < config.occlude_probability
    middle, sides = random.random(2), random.uniform(0, config.occlude_share, 2)
    left, top, right, bottom = np.clip([*(middle - sides / 2), *(middle + sides / 2)], 0, 1).tolist()
    blue, green, red = random.integers(0, 256, 3).tolist()
    return Draw(
        scale=scale,
        degrees=degrees,
        shift=(float(shift[0]), float(shift[1])),
        flip=flip,
        center_error=(error_x, error_y),
        brightness=255 * config.brightness * brightness,
        contrast=1 + config.contrast * contrast,
        saturation=1 + config.saturation * saturation,
        occluder=(left, top, right, bottom) if hidden else None,
        occluder_color=(blue, green, red),
    )


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


def recolor(crop: np.ndarray, drawn: Draw) -> np.ndarray:
    """Saturation, contrast and brightness of a draw, in this order, and its rectangle: [H, W, 3] uint8 BGR, new."""
    if (drawn.brightness, drawn.contrast, drawn.saturation) != (0.0, 1.0, 1.0):
        pixels = crop.astype(np.float32)
        gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None]
        pixels = gray + drawn.saturation * (pixels - gray)
        mean = pixels.mean()
        crop = np.clip(np.rint(mean + drawn.contrast * (pixels - mean) + drawn.brightness), 0, 255).astype(np.uint8)
    if drawn.occluder is not None:
        height, width = crop.shape[:2]
        left, top, right, bottom = np.rint(np.array(drawn.occluder) * (width, height, width, height)).astype(int)
        crop = crop.copy()
        crop[top:bottom, left:right] = drawn.occluder_color
    return crop
