"""Pictures: read whole or not at all, and one way to cut a box out of them."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".tif", ".tiff", ".webp"})

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
# Sources are cut to what is needed before warping; OpenCV's warp takes sides up to 32767 pixels.
WARP_SIDE_LIMIT = 32767
# Pixels that a cubic kernel reaches beyond its center, and one for rounding.
CUBIC_REACH = 3


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture file, upright by its EXIF orientation.

    Returns:
        [H, W, 3] uint8 BGR; grey is repeated, an alpha channel is dropped, 16 bits become 8.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or cut short; the message names the file.
    """
    data = Path(path).read_bytes()
    if data.startswith(JPEG_START) and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
        raise ValueError(f"{path}: the JPEG is cut short (no end of image after {len(data)} bytes)")
    if data.startswith(PNG_START) and PNG_END not in data[-16:]:
        raise ValueError(f"{path}: the PNG is cut short (no end chunk after {len(data)} bytes)")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ValueError(f"{path}: can't be decoded as a picture: {error.err}") from None
    if image is None:
        raise ValueError(f"{path}: not a picture that can be decoded ({len(data)} bytes)")
    return image


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int) -> np.ndarray:
    """Cut a box out of an image: training, validation and inference all see the network's input through this.

    Bicubic; where the box shrinks the image by 2 or more, the image is first reduced by area averaging, so that
    fine texture does not alias (the release antialiases too, by MATLAB's imresize).

    Args:
        image: [H, W, 3] uint8.
        matrix: [2, 3] affine, image pixels -> box pixels, pixel centers at integers; invertible.
        size: (height, width) of the box.
        border: value of every channel outside the image.

    Returns:
        [height, width, 3] uint8.
    """
    height, width = size
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    linear = matrix[:, :2]
    source = (corners - matrix[:, 2]) @ np.linalg.inv(linear).T  # box corners in image pixels
    shrink = 2 ** max(0, math.floor(-math.log2(math.sqrt(abs(np.linalg.det(linear))))))
    reach = CUBIC_REACH * shrink
    low = np.maximum(np.floor(source.min(axis=0)) - reach, 0).astype(np.int64)
    high = np.minimum(np.ceil(source.max(axis=0)) + reach + 1, image.shape[1::-1]).astype(np.int64)
    if (low >= high).any():
        return np.full((height, width, image.shape[2]), border, np.uint8)
    part = image[low[1] : high[1], low[0] : high[0]]
    offset = low.astype(np.float64)
    scale = np.ones(2)
    if shrink > 1:
        reduced = [max(1, side // shrink) for side in part.shape[1::-1]]
        scale = np.array(part.shape[1::-1]) / reduced
        part = cv2.resize(part, reduced, interpolation=cv2.INTER_AREA)
    # Pixel i of the reduced part covers scale pixels from offset + scale * i on: centers are (scale - 1) / 2 further.
    inner = linear * scale
    shift = linear @ (offset + (scale - 1) / 2) + matrix[:, 2]
    if max(part.shape[:2]) > WARP_SIDE_LIMIT:
        raise ValueError(f"image must have sides of at most {WARP_SIDE_LIMIT} pixels per box, got {part.shape[:2]}")
    return cv2.warpAffine(
        part,
        np.hstack([inner, shift[:, None]]),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border,) * 3,
    )
