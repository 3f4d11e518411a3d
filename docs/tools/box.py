"""The picture of a box, its margin and the network's crop, on a drawn figure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cpm_fast.config import preset
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.crops import warp
from cpm_fast.roi import Roi

PICTURE_PX, CANVAS_PX, BOX_PX = 520, (590, 1090), 368
BOX_COLOR, ROI_COLOR, INK, PAPER = (40, 40, 220), (200, 110, 20), (40, 40, 40), 255


def arrow(canvas: np.ndarray, start: tuple[int, int], end: tuple[int, int], text: str, at: tuple[int, int]) -> None:
    """Draw a line with heads at both ends, and its name."""
    cv2.arrowedLine(canvas, start, end, INK, 1, cv2.LINE_AA, tipLength=0.03)
    cv2.arrowedLine(canvas, end, start, INK, 1, cv2.LINE_AA, tipLength=0.03)
    write(canvas, text, at)


def write(canvas: np.ndarray, text: str, at: tuple[int, int], color: tuple[int, int, int] = INK) -> None:
    """Write a text on a white ground; `at` is its lower left corner."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x, y = at
    cv2.rectangle(canvas, (x - 3, y - height - 3), (x + width + 3, y + below + 1), (PAPER,) * 3, cv2.FILLED)
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)


def rectangle(canvas: np.ndarray, low: np.ndarray, high: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw the rectangle between two corners."""
    cv2.rectangle(canvas, tuple(map(int, low.round())), tuple(map(int, high.round())), color, 2, cv2.LINE_AA)


def box_drawing(figure: int) -> np.ndarray:
    """Return the drawing, [H, W, 3] uint8 BGR."""
    sample = DrawnFigures(figure + 1, seed=3)[figure]
    height, width = sample.image.shape[:2]
    parts = sample.parts_image[sample.labeled]
    # Feet reach below the ankles, the lowest parts.
    box = np.concatenate([parts.min(axis=0) - 8, parts.max(axis=0) + np.array([8, 18])])
    margin = preset("compact").margin
    roi = Roi.from_box(box, margin)
    zoom = PICTURE_PX / max(height, width)
    origin = np.array([20.0, 60.0])

    canvas = np.full((*CANVAS_PX, 3), PAPER, np.uint8)
    picture = cv2.resize(sample.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    x, y = origin.astype(int)
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    write(canvas, "your picture", (x, y - 40))

    low, high = origin + zoom * box[:2], origin + zoom * box[2:]
    rectangle(canvas, low, high, BOX_COLOR)
    write(canvas, "boxes=[[left, top, right, bottom]]", (int(low[0]) - 20, int(low[1]) - 10), BOX_COLOR)
    center, half = np.array(roi.center), roi.side / 2
    low, high = origin + zoom * (center - half), origin + zoom * (center + half)
    rectangle(canvas, low, high, ROI_COLOR)
    side = int(high[1]) + 25
    name = f"side = {margin} x the box's longer side"
    arrow(canvas, (int(low[0]), side), (int(high[0]), side), name, (int(low[0]) + 20, side + 22))

    crop = warp(sample.image, roi.matrix((BOX_PX, BOX_PX)), (BOX_PX, BOX_PX), 128)
    left, top = 690, 80
    canvas[top : top + BOX_PX, left : left + BOX_PX] = crop
    cv2.rectangle(canvas, (left, top), (left + BOX_PX, top + BOX_PX), ROI_COLOR, 2, cv2.LINE_AA)
    write(canvas, "the network sees the square, magnified", (left, top - 32))
    write(canvas, "to its input size; gray outside the picture", (left, top - 12))
    return canvas


def draw_box(folder: Path) -> list[Path]:
    """Write box.png."""
    path = folder / "box.png"
    if not cv2.imwrite(str(path), box_drawing(figure=0)):
        raise OSError(f"{path}: not written")
    return [path]
