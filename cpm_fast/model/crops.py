"""The path from a picture to the network's input, which training, validation, evaluation and inference share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.roi import Roi

# Sources are cut to the needed part before warping; OpenCV's warp takes sides up to 32767 pixels.
WARP_SIDE_LIMIT = 32767
# Pixels that a cubic kernel reaches beyond its center, and one for rounding.
CUBIC_REACH = 3


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int) -> np.ndarray:
    """Cut a box out of an image, for training, validation and inference alike.

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
    # Plain numbers: NumPy takes a tenth of a millisecond for the same ones while other data fills the caches.
    (a, b, move_x), (c, d, move_y) = matrix.tolist()
    shrink = reduction_at(math.sqrt(abs(a * d - b * c)))
    reach = CUBIC_REACH * shrink
    corners = [(x - move_x, y - move_y) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)]
    # The corners of the box, in image pixels.
    xs, ys = ([row[0] * x + row[1] * y for x, y in corners] for row in _inverse_rows(a, b, c, d))
    low_x, high_x = max(math.floor(min(xs)) - reach, 0), min(math.ceil(max(xs)) + reach + 1, image.shape[1])
    low_y, high_y = max(math.floor(min(ys)) - reach, 0), min(math.ceil(max(ys)) + reach + 1, image.shape[0])
    if low_x >= high_x or low_y >= high_y:
        return np.full((height, width, image.shape[2]), border, np.uint8)
    part = image[low_y:high_y, low_x:high_x]
    scale_x = scale_y = 1.0
    if shrink > 1:
        reduced = max(1, part.shape[1] // shrink), max(1, part.shape[0] // shrink)
        scale_x, scale_y = part.shape[1] / reduced[0], part.shape[0] / reduced[1]
        part = cv2.resize(part, reduced, interpolation=cv2.INTER_AREA)
    if max(part.shape[:2]) > WARP_SIDE_LIMIT:
        raise ValueError(f"image must have sides of at most {WARP_SIDE_LIMIT} pixels per box, got {part.shape[:2]}")
    # Pixel i of the reduced part covers scale pixels from low + scale * i on: centers are (scale - 1) / 2 further.
    x, y = low_x + (scale_x - 1) / 2, low_y + (scale_y - 1) / 2
    to_x = a * scale_x, b * scale_y, a * x + b * y + move_x
    to_y = c * scale_x, d * scale_y, c * x + d * y + move_y
    return cv2.warpAffine(
        part,
        np.array([to_x, to_y]),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border,) * 3,
    )


def _inverse_rows(a: float, b: float, c: float, d: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the inverse of [[a, b], [c, d]]; of a diagonal matrix exactly its reciprocals."""
    if b == c == 0:
        return (1 / a, 0.0), (0.0, 1 / d)
    determinant = a * d - b * c
    return (d / determinant, -b / determinant), (-c / determinant, a / determinant)


def reduction_at(magnification: float) -> int:
    """Return the power of two by which an image is reduced before it is warped at a magnification."""
    return 2 ** max(0, math.floor(-math.log2(magnification)))


def crop(image: np.ndarray, roi: Roi, config: NetworkConfig) -> np.ndarray:
    """Cut the region of the image to the network's box, `config.padding_value` outside the image.

    Args:
        image: [H, W, 3] uint8 BGR.
        roi: the region.
        config: the network's.

    Returns:
        [height, width, 3] uint8 BGR for `config.input_size` (height, width).
    """
    return warp(image, roi.matrix(config.input_size), config.input_size, config.padding_value)


def scale_crops(
    image: np.ndarray, roi: Roi, config: NetworkConfig, pyramid: Sequence[float] = (1.0,), flip: bool = False
) -> np.ndarray:
    """Cut all crops of one subject: one per pyramid factor; with `flip`, then the same ones mirrored.

    Args:
        image: [H, W, 3] uint8 BGR.
        roi: the subject's region.
        config: the network's.
        pyramid: factors on the magnification.
        flip: whether the mirrored crops follow.

    Returns:
        [S, height, width, 3] uint8 BGR, S = len(pyramid), or twice that with `flip`.
    """
    crops = stacked([crop(image, roi.zoomed(factor), config) for factor in pyramid])
    return np.concatenate([crops, crops[:, :, ::-1]]) if flip else crops


def stacked(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Return crops of one shape as one array, behind a new axis; a single one is not copied."""
    return np.stack(crops) if len(crops) > 1 else crops[0][None]


def network_input(
    crops: np.ndarray | torch.Tensor, config: NetworkConfig, device: str | torch.device | None = None
) -> torch.Tensor:
    """Convert crops to the network's input: its channel order, (pixel - mean) / scale.

    Args:
        crops: [N, H, W, 3] uint8 BGR.
        config: the network's.
        device: of the result; that of the crops if not given. Bytes are moved, not floats.

    Returns:
        [N, 3, H, W] float32.

    Raises:
        TypeError: crops are not uint8.
        ValueError: crops are not [N, H, W, 3].
    """
    pixels = torch.from_numpy(np.ascontiguousarray(crops)) if isinstance(crops, np.ndarray) else crops
    if pixels.dtype != torch.uint8:
        raise TypeError(f"crops must be uint8, got {pixels.dtype}")
    if pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"crops must be [N, H, W, 3], got {list(pixels.shape)}")
    pixels = pixels.to(pixels.device if device is None else device)
    if config.color == "rgb":
        pixels = pixels.flip(-1)
    if type(pixels) is torch.Tensor and pixels.device.type == "cpu" and pixels.numel():
        # A pass of PyTorch's would leave its threads spinning beside the network's: 5 to 8 of 28 ms per picture.
        rows = pixels.reshape(-1, *pixels.shape[2:]).numpy()
        values = _pixel_values(config.pixel_mean, config.pixel_scale)
        return torch.from_numpy(cv2.LUT(rows, values)).reshape(pixels.shape).permute(0, 3, 1, 2)
    mean = torch.tensor(config.pixel_mean, dtype=torch.float32, device=pixels.device)
    scale = torch.tensor(config.pixel_scale, dtype=torch.float32, device=pixels.device)
    return ((pixels.float() - mean) / scale).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _pixel_values(mean: tuple[float, ...], scale: tuple[float, ...]) -> np.ndarray:
    """Return the network's inputs for the 256 pixel values: [1, 256, 3] float32; one column if all channels have one.

    OpenCV looks pixels up in one column in 0.6 of the time.
    """
    if len(set(zip(mean, scale, strict=True))) == 1:
        mean, scale = mean[:1], scale[:1]
    # Not by PyTorch: they are kept, and its tensors depend on the devices and modes of the first caller.
    pixels = np.arange(256, dtype=np.float32).reshape(1, 256, 1)
    return (pixels - np.array(mean, np.float32)) / np.array(scale, np.float32)
