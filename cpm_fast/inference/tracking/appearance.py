"""Colors of limbs, which distinguish two subjects in one place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Points along the middle of a limb, as shares of its length; near its ends it is often hidden, or skin for everybody.
ALONG = np.linspace(0.25, 0.75, 5)
# A color is the mean over a square of this side in pixels around each point.
PATCH_PX = 3
# Distance of two colors, in gray levels of BGR, at which they are hardly alike.
COLOR_SPREAD = 40.0


def limb_colors(image: np.ndarray, parts: np.ndarray, limbs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the mean color along the middle of each limb.

    Args:
        image: [H, W, 3] uint8 BGR.
        parts: [P, 2] image pixels; NaN where a part is not known.
        limbs: pairs of parts; if there are none, the color at each part counts.

    Returns:
        [L, 3] gray levels 0 to 255 (L = P without limbs); NaN where an end is not known, or the limb leaves the image.
    """
    ends = np.array(limbs, int).reshape(-1, 2) if len(limbs) else np.repeat(np.arange(len(parts))[:, None], 2, axis=1)
    first, second = parts[ends[:, 0]], parts[ends[:, 1]]  # [L, 2]
    points = first[:, None] + ALONG[:, None] * (second - first)[:, None]  # [L, K, 2]
    known = np.isfinite(points).all(axis=(1, 2))
    reach = np.arange(PATCH_PX) - PATCH_PX // 2
    near = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    pixels = np.round(np.where(known[:, None, None], points, 0.0)).astype(np.int64)[:, :, None] + near
    pixels = pixels.reshape(len(ends), -1, 2)
    known &= ((pixels >= 0) & (pixels < image.shape[1::-1])).all(axis=(1, 2))
    pixels[~known] = 0
    colors = image[pixels[..., 1], pixels[..., 0]].mean(axis=1, dtype=np.float64)  # [L, 3]
    return np.where(known[:, None], colors, np.nan)


def color_sameness(colors: np.ndarray, others: np.ndarray) -> float:
    """Return the similarity of colors [L, 3] over the limbs that both subjects show: 0 to 1; 1 if there are none."""
    squared = ((colors - others) ** 2).sum(axis=-1)
    known = np.isfinite(squared)
    return float(np.exp(-squared[known] / (2 * COLOR_SPREAD**2)).mean()) if known.any() else 1.0


def blended(colors: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    """Return colors [L, 3] moved to new ones by a share; a limb that only one of them shows has that one's color."""
    moved = colors + share * (new - colors)
    return np.where(np.isfinite(moved), moved, np.where(np.isfinite(colors), colors, new))
