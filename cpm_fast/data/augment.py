"""Augmentation: one matrix per sample, for image and points alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi

# Errors of a region are normally distributed, cut off at this many standard deviations.
MOST_DEVIATIONS = 3.0
# Compression at a higher quality is invisible.
BEST_JPEG = 95


@dataclass(frozen=True)
class Draw:
    """The random changes of one sample; the default changes nothing.

    Args:
        scale, degrees, shift, flip: of the geometry, see `box_matrix`.
        center_error: error of the center map's peak, box pixels.
        brightness: added, 0 to 255.
        contrast, saturation: factors on the differences to the mean and to gray.
        occluder: (left, top, right, bottom) of a rectangle in shares of the box, or None.
        occluder_color: BGR.
        region_error: errors of the region: to the right and down in shares of its side, and the logarithm of the factor
            on its side.
        whole: the region is the whole picture.
        half: the region covers the parts at one end of the body: 0 the upper, 1 the lower; or None.
        border: (side, share): the picture ends where so large a share of the subject is cut off from a side, 0 left,
            1 top, 2 right, 3 bottom; or None.
        background: the surroundings of another subject stand behind the people.
        piece: (left, top, right, bottom) of a piece of another picture in shares of the box, or None.
        piece_from: place of the piece in the other picture, (x, y), 0 to 1.
        piece_round: the piece is an ellipse.
        other: index of the other sample, as a share of all.
        blur: standard deviation in box pixels.
        jpeg_quality: of a compression, or None.
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
    region_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    whole: bool = False
    half: int | None = None
    border: tuple[int, float] | None = None
    background: bool = False
    piece: tuple[float, float, float, float] | None = None
    piece_from: tuple[float, float] = (0.0, 0.0)
    piece_round: bool = False
    other: float = 0.0
    blur: float = 0.0
    jpeg_quality: int | None = None

    @property
    def needs_other(self) -> bool:
        """Whether a draw needs another picture."""
        return self.background or self.piece is not None


def draw(config: AugmentationConfig, random: np.random.Generator) -> Draw:
    """Draw every change, uniformly and independently, always in this order, so that disabled ones change nothing."""
    scale = random.uniform(config.scale_min, config.scale_max)
    degrees = random.uniform(-config.rotate_degrees, config.rotate_degrees)
    shift = random.uniform(-config.shift_px, config.shift_px, 2)
    flip = bool(random.random() < config.flip_probability)
    error_x, error_y = random.uniform(-config.center_px, config.center_px, 2).tolist()
    brightness, contrast, saturation = random.uniform(-1, 1, 3).tolist()
    hidden = random.random() < config.occlude_probability
    middle, sides = random.random(2), random.uniform(0, config.occlude_share, 2)
    rectangle = _rectangle(middle, sides)
    blue, green, red = random.integers(0, 256, 3).tolist()
    right, down, larger = random.normal(size=3).clip(-MOST_DEVIATIONS, MOST_DEVIATIONS).tolist()
    whole, halved, cut, behind, pasted, blurred, compressed = random.random(7).tolist()
    end, side = int(random.integers(2)), int(random.integers(4))
    share = float(random.random())
    middle, sides = random.random(2), random.uniform(0, config.occlude_share, 2)
    piece, (from_x, from_y), rounded = _rectangle(middle, sides), random.random(2).tolist(), random.random() < 0.5
    other, blur, quality = random.random(3).tolist()
    return Draw(
        scale=scale,
        degrees=degrees,
        shift=(float(shift[0]), float(shift[1])),
        flip=flip,
        center_error=(error_x, error_y),
        brightness=255 * config.brightness * brightness,
        contrast=1 + config.contrast * contrast,
        saturation=1 + config.saturation * saturation,
        occluder=rectangle if hidden else None,
        occluder_color=(blue, green, red),
        region_error=(config.region_center * right, config.region_center * down, config.region_scale * larger),
        whole=whole < config.whole_probability,
        half=end if halved < config.half_probability else None,
        border=(side, config.border_share * share) if cut < config.border_probability else None,
        background=behind < config.background_probability,
        piece=piece if pasted < config.paste_probability else None,
        piece_from=(from_x, from_y) if pasted < config.paste_probability else (0.0, 0.0),
        piece_round=rounded and pasted < config.paste_probability,
        other=other if min(behind - config.background_probability, pasted - config.paste_probability) < 0 else 0.0,
        blur=config.blur_px * blur if blurred < config.blur_probability else 0.0,
        jpeg_quality=(
            round(config.jpeg_quality + quality * (BEST_JPEG - config.jpeg_quality))
            if compressed < config.jpeg_probability
            else None
        ),
    )


def _rectangle(middle: np.ndarray, sides: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom in shares of the box, cut off at its edges."""
    left, top, right, bottom = np.clip([*(middle - sides / 2), *(middle + sides / 2)], 0, 1).tolist()
    return left, top, right, bottom


def box_matrix(roi: Roi, size: tuple[int, int], drawn: Draw) -> np.ndarray:
    """Return the affine map from image pixels to box pixels under a draw.

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
    """Apply a draw's saturation, contrast, brightness and rectangle, in this order: a new [H, W, 3] uint8 BGR."""
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
