"""Marks that explain a drawn pose: a color for each part and a legend, numbers of subjects, boxes and scores."""

from __future__ import annotations

import colorsys
import warnings
from functools import lru_cache

import cv2
import numpy as np

from cpm_fast.results.fonts import font_for, own_font
from cpm_fast.skeleton import BUILT_IN, Skeleton

PAPER, INK = (255, 255, 255), (40, 34, 30)
# Step from a hue to the next: the golden ratio keeps neighbors apart for any number of them.
HUE_STEP = 0.618
SUBJECT_COLORS = ((60, 76, 231), (219, 152, 52), (113, 204, 46), (18, 156, 243), (182, 89, 155), (156, 188, 26))
# Height of the letters of marks, as a share of the picture's height.
SMALLEST_TEXT_PX, TEXT_SHARE = 11, 1 / 40
LONGEST_LEGEND_TEXT, MOST_COLUMNS = 40, 4

Color = tuple[int, int, int]


@lru_cache(maxsize=64)
def is_person(skeleton: Skeleton) -> bool:
    """Return whether all parts are those of a person, who is drawn by left, right and middle."""
    return any(set(skeleton.names) <= set(known.names) for known in BUILT_IN.values())


@lru_cache(maxsize=64)
def part_colors(skeleton: Skeleton) -> tuple[Color, ...]:
    """Return the BGR color of every part: by side for people, otherwise one color per part."""
    if is_person(skeleton):
        return skeleton.colors
    colors = []
    for i in range(len(skeleton)):
        red, green, blue = colorsys.hsv_to_rgb(i * HUE_STEP % 1, 0.75 if i % 2 else 0.95, 0.95 if i % 3 else 0.75)
        colors.append((round(255 * blue), round(255 * green), round(255 * red)))
    return tuple(colors)


def with_legend(picture: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the picture with the names of the parts beside it, each with its color."""
    return np.concatenate([picture, legend(skeleton, picture.shape[0])], axis=1)


@lru_cache(maxsize=16)
def legend(skeleton: Skeleton, height: int) -> np.ndarray:
    """Return [height, W, 3] uint8 BGR, read-only: the names of the parts in columns, each with its color.

    The text is as large as suits a picture of that height; what does not fit in `MOST_COLUMNS` columns is left out.
    A name whose letters no font here has is a number, from 1, and a warning says so.
    """
    size = text_px(height)
    gap, swatch = size * 3 // 8, size * 7 // 8
    names = [name[:LONGEST_LEGEND_TEXT] for name in skeleton.names]
    lacking = [name for name in names if font_for(name, size) is None]
    if lacking:
        warnings.warn(
            f"no font of this machine has the letters of {', '.join(lacking[:3])}{', ...' * (len(lacking) > 3)}; the "
            "legend has the numbers of these parts; install a font of that alphabet, for instance Noto Sans",
            stacklevel=3,
        )
    texts = [text_mask(f"part {i}" if name in lacking else name, size) for i, name in enumerate(names, 1)]
    row = max(text.shape[0] for text in texts) + gap
    rows = max(1, (height - gap) // row)
    shown = list(zip(texts, part_colors(skeleton), strict=True))[: rows * MOST_COLUMNS]
    columns = [shown[first : first + rows] for first in range(0, len(shown), rows)]
    widths = [max(text.shape[1] for text, _ in column) + swatch + 3 * gap for column in columns]
    panel = np.full((height, sum(widths), 3), PAPER, np.uint8)
    for column, left in zip(columns, np.cumsum([0, *widths[:-1]]).tolist(), strict=True):
        for i, (text, color) in enumerate(column):
            top = gap + i * row
            cv2.circle(panel, (left + gap + swatch // 2, top + text.shape[0] // 2), swatch // 2, color, -1, cv2.LINE_AA)
            put_text(panel, text, (left + 2 * gap + swatch, top), INK)
    panel.flags.writeable = False
    return panel


def text_px(height: int) -> int:
    """Return the size of legible letters in a picture of this height."""
    return max(SMALLEST_TEXT_PX, round(height * TEXT_SHARE))


def mark_subject(
    picture: np.ndarray, box: tuple[float, float, float, float], text: str, subject: int, outlined: bool
) -> None:
    """Draw a subject's text in its color at the top left of its box, and with `outlined` the box, into the picture.

    Args:
        picture: [H, W, 3] uint8 BGR.
        box: left, top, right, bottom, image pixels.
        text: for instance the subject's number.
        subject: its number, which gives the color.
        outlined: whether the box is drawn.
    """
    color = SUBJECT_COLORS[subject % len(SUBJECT_COLORS)]
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(min(max(value, -1e6), 1e6)) for value in box)
    if outlined:
        cv2.rectangle(picture, (left, top), (right, bottom), color, max(1, round(max(height, width) / 400)))
    mask = text_mask(text, text_px(height))
    x, y = (
        min(max(value, 0), max(most, 0))
        for value, most in ((left, width - mask.shape[1]), (top - mask.shape[0], height - mask.shape[0]))
    )
    picture[y : y + mask.shape[0], x : x + mask.shape[1]] = color
    put_text(picture, mask, (x, y), PAPER)


def put_text(picture: np.ndarray, mask: np.ndarray, corner: tuple[int, int], color: Color) -> None:
    """Blend a text in, as far as it lies in the picture."""
    x, y = corner
    part = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    cover = mask[: part.shape[0], : part.shape[1], None] / 255
    part[:] = np.rint(part * (1 - cover) + np.array(color) * cover)


@lru_cache(maxsize=256)
def text_mask(text: str, size: int = 18) -> np.ndarray:
    """Return [h, w] coverage of a line of text, every line of one font of the same height."""
    from PIL import Image, ImageDraw

    font = font_for(text, size) or own_font(size)
    ascent, descent = font.getmetrics()
    canvas = Image.new("L", (int(font.getlength(text)) + 2, ascent + descent))
    ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    return np.asarray(canvas)
