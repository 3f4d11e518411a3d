"""Decoding of belief maps to parts: mirrored crops turned back, scales merged in the nominal box, peaks taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from cpm_fast.config import STRIDE, NetworkConfig
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.roi import Frame
from cpm_fast.skeleton import Skeleton


def belief_to_parts(
    maps: torch.Tensor, pyramid: Sequence[float], config: NetworkConfig, refine: bool = True, flip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Locate the parts that the belief maps of a subject's crops agree on.

    Every map is resized to the pixels of the nominal box, the mean over the crops taken, and each part stands at the
    peak of its map (test protocol of Wei et al. 2016, in the box instead of the whole image).

    Args:
        maps: [N, S, P+1, h, w] one stage's output for the crops of `crops.scale_crops`, in their order; without
            background ([N, S, P, h, w]) where the network has none.
        pyramid: its factors, S of them; S / 2 with flip.
        config: the network's.
        refine: sub-pixel peaks, see `ops.peaks`.
        flip: whether the second half of S are mirrored crops.

    Returns:
        parts_box [N, P, 2] float64, (x, y) pixels of the nominal box, and scores [N, P] float64.

    Raises:
        ValueError: maps are not of this form.
    """
    scales = len(pyramid) * (2 if flip else 1)
    if maps.ndim != 5 or maps.shape[1:3] != (scales, config.maps):
        raise ValueError(
            f"maps must be [N, {scales}, {config.maps}, h, w] for {len(pyramid)} pyramid factors, "
            f"flip {flip} and {config.parts} parts, got {list(maps.shape)}"
        )
    if flip:
        half = scales // 2
        maps = torch.cat([maps[:, :half], unmirror(maps[:, half:], config.skeleton)], dim=1)
    if not config.background:
        # merge_peaks requires one, and does not read it.
        maps = F.pad(maps, (0, 0, 0, 0, 0, 1))
    if maps.device.type == "mps":
        # It has no float64, in which frames are.
        maps = maps.cpu()
    frames = scale_frames(pyramid, config, flip).to(maps.device)
    points, scores = merge_peaks(maps.float(), frames, config.input_size, refine)
    return points.double().cpu().numpy(), scores.double().cpu().numpy()


def unmirror(maps: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Mirror maps [..., P or P+1, h, w] of a mirrored crop back, with left and right exchanged."""
    order = [*skeleton.mirror, *range(len(skeleton), maps.shape[-3])]
    return maps.flip(-1)[..., order, :, :]


def scale_frames(pyramid: Sequence[float], config: NetworkConfig, flip: bool = False) -> torch.Tensor:
    """Return frames [S, 4] float64: pixels of the nominal box to cells of each crop's map, mirrored ones turned back.

    Cell g of a row turned back was cell w - 1 - g, at pixel 8 (w - 1 - g) + offset of the mirrored crop, which is
    pixel 8 g + 7 - offset of the crop: the same for 3.5, and only there.
    """
    return torch.from_numpy(_frame_rows(tuple(pyramid), config.input_size, config.cell_offset, flip).copy())


@lru_cache(maxsize=8)
def _frame_rows(pyramid: tuple[float, ...], size: tuple[int, int], cell_offset: float, flip: bool) -> np.ndarray:
    def frame(factor: float, offset: float) -> Frame:
        return Frame.of_crop(size, STRIDE, offset, factor)

    frames = [frame(factor, cell_offset) for factor in pyramid]
    if flip:
        turned = [frame(factor, STRIDE - 1 - cell_offset).ox for factor in pyramid]
        frames += [dataclasses.replace(plain, ox=ox) for plain, ox in zip(frames, turned, strict=True)]
    return np.array([dataclasses.astuple(frame) for frame in frames], np.float64)
