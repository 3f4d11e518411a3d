"""The picture of the data flow through the network: picture, region, crop, belief maps, pose of a drawn figure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import cpm_fast
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.crops import warp
from cpm_fast.results.drawing import parts_overlay

SEED, FIGURE = 11, 2
SIDE_PX, GAP_PX, TITLE_PX = 300, 14, 34
PAPER, INK, REGION = 255, (40, 40, 40), (200, 110, 20)
SHOWN_PART = "right_wrist"


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """Put a title above a picture of SIDE_PX x SIDE_PX."""
    tile = np.full((SIDE_PX + TITLE_PX, SIDE_PX, 3), PAPER, np.uint8)
    tile[TITLE_PX:] = picture
    cv2.putText(tile, title, (2, TITLE_PX - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return tile


def fitted(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Shrink or enlarge a picture to fit a white square, at its upper left; also return the factor."""
    zoom = SIDE_PX / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)[:SIDE_PX, :SIDE_PX]
    square = np.full((SIDE_PX, SIDE_PX, 3), PAPER, np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square, zoom


def heat_map(belief: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Color a belief map, 0 to 1, with the crop faintly behind it."""
    levels = np.uint8(np.rint(255 * np.clip(belief, 0, 1)))
    heat = cv2.applyColorMap(
        cv2.resize(levels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_INFERNO
    )
    behind = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(heat, 0.75, cv2.resize(behind, (SIDE_PX, SIDE_PX)), 0.25, 0)


def rows(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Arrange tiles in rows with gaps between them."""
    gap = np.full((tiles[0].shape[0], GAP_PX, 3), PAPER, np.uint8)
    lines = []
    for first in range(0, len(tiles), columns):
        line = tiles[first : first + columns]
        lines.append(np.concatenate([piece for tile in line for piece in (tile, gap)][:-1], axis=1))
    return np.concatenate(lines)


def draw_data_flow(folder: Path) -> list[Path]:
    """Write data-flow.png."""
    sample = DrawnFigures(FIGURE + 1, SEED)[FIGURE]
    model = cpm_fast.load("compact-drawn", device="cpu")
    size, offset = model.config.input_size, model.config.cell_offset
    result = cpm_fast.infer([sample.image], model=model, rois=[sample.roi], belief_maps=True)[0]
    beliefs = result.belief_maps[0]  # [T, P+1, h, w]

    def shown(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)

    picture, zoom = fitted(sample.image)
    center, half = np.array(sample.roi.center), sample.roi.side / 2
    low, high = (tuple(int(v) for v in np.rint(zoom * (center + sign * half))) for sign in (-1, 1))
    cv2.rectangle(picture, low, high, REGION, 2, cv2.LINE_AA)
    crop = warp(sample.image, sample.roi.matrix(size), size, 128)
    tiles = [titled(picture, "picture and region"), titled(shown(crop), f"crop, {size[1]} x {size[0]} px")]
    names = model.skeleton.names
    part = names.index(SHOWN_PART)
    brightest = beliefs[:, part].max()
    for stage, maps in enumerate(beliefs, 1):
        tiles.append(titled(heat_map(maps[part] / brightest, crop), f"stage {stage}: {SHOWN_PART.replace('_', ' ')}"))
    tiles.append(titled(shown(parts_overlay(crop, beliefs[-1], model.skeleton, offset)), "last stage: all parts"))
    tiles.append(titled(heat_map(beliefs[-1, -1], crop), "last stage: background"))
    pose, _ = fitted(result.plot())
    tiles.append(titled(pose, "peaks: the pose"))
    while len(tiles) % 4:
        tiles.append(np.full_like(tiles[0], PAPER))
    path = folder / "data-flow.png"
    if not cv2.imwrite(str(path), rows(tiles, 4)):
        raise OSError(f"{path}: not written")
    return [path]
