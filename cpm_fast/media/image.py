"""Pictures, read whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".tif", ".tiff", ".webp"})

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


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
