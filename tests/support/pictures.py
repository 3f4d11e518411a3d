"""Small pictures, and files of them."""

import io

import numpy as np
from PIL import Image


def picture(height=24, width=40) -> np.ndarray:
    """Return BGR: red at the top left, blue at the top right, green below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 2] = 255
    image[: height // 2, width // 2 :, 0] = 255
    image[height // 2 :, :, 1] = 255
    return image


def flat(value: int, size=(48, 64)) -> np.ndarray:
    """Return BGR of one gray."""
    return np.full((*size, 3), value, np.uint8)


def encode(image: np.ndarray, form: str, **options) -> bytes:
    """Encode RGB, gray or with alpha, by PIL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(height=24, width=40, **options) -> bytes:
    return encode(picture(height, width)[..., ::-1], "JPEG", quality=95, **options)


def saved(tmp_path, data: bytes, name="photo.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    return path
