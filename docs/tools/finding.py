"""The pictures of subjects that are found: a group, someone small in a large frame, and a video, all of them drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

import cpm_fast
from cpm_fast.data.drawn.crossing import RATE, crossing_figures
from cpm_fast.data.drawn.figures import draw_figure
from cpm_fast.data.drawn.synthetic import draw_background
from cpm_fast.model.crops import warp

MODEL, SEARCH = "compact-drawn", "search"
GROUP_SIZE, GROUP, GROUP_HEAD_PX = (320, 560), ((90, 165), (230, 170), (350, 160), (475, 170)), 28.0
SMALL_SIZE, SMALL, SMALL_HEAD_PX = (720, 1280), ((860, 430),), 18.0
GROUP_SEED, SMALL_SEED, VIDEO_SEED = 1, 3, 0
# The frames of the video around a meeting, and those of them that are shown.
FIRST_FRAME, FRAMES, SHOWN = 70, 70, (5, 27, 36, 65)
SMALL_SHOWN_PX, GAP_PX, PAPER = 360, 10, 255
QUALITY = 80


def scene(seed: int, size: tuple[int, int], middles: Sequence[tuple[int, int]], head_px: float) -> np.ndarray:
    """Return figures in front of drawn clutter, [H, W, 3] uint8 BGR.

    Args:
        seed: of figures and background.
        size: (height, width).
        middles: (x, y) of each figure.
        head_px: the length of a head.
    """
    random = np.random.default_rng(seed)
    image = draw_background(random, *size)
    for middle in middles:
        figure = draw_figure(random)
        parts = figure.parts_image(head_px, np.zeros(2))
        figure.paint(image, head_px, np.array(middle) - (parts.min(axis=0) + parts.max(axis=0)) / 2)
    return image


def group() -> np.ndarray:
    """Return four people, each found and numbered."""
    image = scene(GROUP_SEED, GROUP_SIZE, GROUP, GROUP_HEAD_PX)
    return cpm_fast.infer(image, model=MODEL, find=SEARCH)[0].plot(details=True)


def small() -> np.ndarray:
    """Return a large frame with someone small, and beside it the region that was found."""
    image = scene(SMALL_SEED, SMALL_SIZE, SMALL, SMALL_HEAD_PX)
    result = cpm_fast.infer(image, model=MODEL, find=SEARCH, max_subjects=1)[0]
    size = (SMALL_SHOWN_PX, SMALL_SHOWN_PX)
    width = round(SMALL_SHOWN_PX * SMALL_SIZE[1] / SMALL_SIZE[0])
    frame = cv2.resize(result.plot(details=True), (width, SMALL_SHOWN_PX), interpolation=cv2.INTER_AREA)
    region = warp(result.plot(), result.rois[0].matrix(size), size, 128)
    return np.concatenate([frame, np.full((SMALL_SHOWN_PX, GAP_PX, 3), PAPER, np.uint8), region], axis=1)


def video() -> np.ndarray:
    """Return four frames of a video in which two people cross, each with its number and color."""
    frames = (image for image, _ in crossing_figures((FIRST_FRAME + FRAMES) / RATE, VIDEO_SEED))
    results = cpm_fast.stream(islice(frames, FIRST_FRAME, None), model=MODEL, find=SEARCH, rate=RATE)
    tiles = []
    for result in results:
        if result.frame in SHOWN:
            tile = result.plot(details=True)
            place = (8, tile.shape[0] - 10)
            white = (PAPER,) * 3
            cv2.putText(tile, f"frame {result.frame}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1, cv2.LINE_AA)
            tiles.append(cv2.copyMakeBorder(tile, 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT, value=white))
    rows = [np.concatenate(tiles[i : i + 2], axis=1) for i in range(0, len(tiles), 2)]
    return np.concatenate(rows)[:-GAP_PX, :-GAP_PX]


def draw_finding(folder: Path) -> list[Path]:
    """Write finding-group.jpg, finding-small.jpg and finding-video.jpg."""
    paths = []
    for name, drawing in (("group", group), ("small", small), ("video", video)):
        paths.append(folder / f"finding-{name}.jpg")
        if not cv2.imwrite(str(paths[-1]), drawing(), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
            raise OSError(f"{paths[-1]}: not written")
    return paths
