"""From a picture to the network's input: the one path that training, validation, evaluation and inference share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.media.image import warp
from cpm_fast.roi import Roi


def crop(image: np.ndarray, roi: Roi, config: NetworkConfig) -> np.ndarray:
    """The region of the image in the network's box, `config.padding_value` outside the image.

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
    """All crops of one subject: one per pyramid factor; with `flip`, then the same ones mirrored.

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
    """Crops as the network wants them: its channel order, (pixel - mean) / scale.

    Args:
        crops: [N, H, W, 3] uint8 BGR.
        config: the network's.
        device: where the result shall be, if not where the crops are; bytes travel, not floats.

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
    if len(set(config.pixel_mean)) == len(set(config.pixel_scale)) == 1:
        # The same numbers; for all channels at once they take a tenth of the time.
        return pixels.float().sub_(config.pixel_mean[0]).div_(config.pixel_scale[0]).permute(0, 3, 1, 2)
    mean = torch.tensor(config.pixel_mean, dtype=torch.float32, device=pixels.device)
    scale = torch.tensor(config.pixel_scale, dtype=torch.float32, device=pixels.device)
    return ((pixels.float() - mean) / scale).permute(0, 3, 1, 2)
