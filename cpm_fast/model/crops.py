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
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    linear = matrix[:, :2]
    source = (corners - matrix[:, 2]) @ np.linalg.inv(linear).T  # box corners in image pixels
    shrink = reduction_at(math.sqrt(abs(np.linalg.det(linear))))
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
    crops = np.stack([crop(image, roi.zoomed(factor), config) for factor in pyramid])
    return np.concatenate([crops, crops[:, :, ::-1]]) if flip else crops


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
    """Return the network's inputs for the 256 pixel values: [1, 256, 3] float32."""
    # Not by PyTorch: they are kept, and its tensors depend on the devices and modes of the first caller.
    pixels = np.arange(256, dtype=np.float32).reshape(1, 256, 1)
    return (pixels - np.array(mean, np.float32)) / np.array(scale, np.float32)
