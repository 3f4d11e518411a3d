"""Pictures of drawn people in clutter, with exact parts: a dataset that needs no file."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from cpm_fast.data.drawn.figures import SKIN_BGR, Figure, draw_figure
from cpm_fast.data.drawn.poses import UPRIGHT_HEADS
from cpm_fast.data.drawn.shapes import (
    SUBPIXEL_BITS,
    any_color,
    capsules,
    fixed_point,
    paint_polygon,
    pick_color,
    shade,
)
from cpm_fast.data.sample import Sample
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton
from cpm_fast.system.numbers import is_whole

PICTURE_SIDE_PX = (200, 300)
FIGURE_HEIGHT_PX = (110.0, 200.0)
# Room around the joints for the drawing beyond them, such as hands and feet.
MARGIN_PX = 5.0
OVERHANG_SHARE, OVERHANG_PX = 0.04, 12.0
# The probabilities of none, one, two or three; their size over the subject's, and their distance to its side, in its
# upright heights.
OTHERS_SHARES = (0.50, 0.30, 0.14, 0.06)
OTHER_IN_FRONT_SHARE, OTHER_SIZE, OTHER_AWAY = 0.2, (0.55, 1.05), (0.42, 0.9)
OCCLUDER_SHARE = 0.10


class DrawnFigures:
    """Drawn, articulated people, one subject per picture; the truth is exact.

    The subject's limbs, clothes and facing vary; face, hair, collar, print or backpack show its own left and right, as
    in a photograph. Around it are clutter, sticks like limbs and up to three other people; sometimes an object covers
    parts of it (`Sample.occluded`, still labeled; parts that the body itself hides are not marked). A part of the
    subject outside the picture is not labeled; parts of the others keep their places there. A sample depends only on
    seed and index, not on count.

    Args:
        count: number of samples, at least 1.
        seed: not negative; another seed gives other pictures.

    Raises:
        ValueError: count < 1 or seed < 0.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        if not is_whole(count) or count < 1:
            raise ValueError(f"count must be at least 1, got {count!r}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.count = count
        self.seed = seed

    @property
    def name(self) -> str:
        return "synthetic"

    @property
    def skeleton(self) -> Skeleton:
        return LSP

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Draw a sample, anew on every call: 4 to 6 ms.

        Raises:
            IndexError: index is not from 0 to count - 1.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"index must be from 0 to {self.count - 1}, got {index}")
        return draw_sample(np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,))), f"{index:06d}")


class _Placed(NamedTuple):
    """A figure and its place in the picture."""

    figure: Figure
    head_px: float
    origin: np.ndarray
    in_front: bool = False

    def parts_image(self) -> np.ndarray:
        return self.figure.parts_image(self.head_px, self.origin)

    def paint(self, image: np.ndarray) -> None:
        self.figure.paint(image, self.head_px, self.origin)


def draw_sample(rng: np.random.Generator, name: str, subject: bool = True) -> Sample:
    """Draw one picture, or without `subject` the same picture with all but the subject."""
    figure = draw_figure(rng)
    head_px = rng.uniform(*FIGURE_HEIGHT_PX) / UPRIGHT_HEADS
    size, origin = _place(rng, figure, head_px)
    placed = _Placed(figure, head_px, origin)
    parts = placed.parts_image()
    center = _middle(parts)

    image = draw_background(rng, *size)
    others = _others(rng, center, head_px)
    for other in others:
        if not other.in_front:
            other.paint(image)
    if subject:
        placed.paint(image)
    # Everything that changes the pixel of a part from here on hides it.
    cells = np.clip(np.rint(parts), 0, np.array(size)[::-1] - 1).astype(int)
    before = image[cells[:, 1], cells[:, 0]]
    for other in others:
        if other.in_front:
            other.paint(image)
    if rng.random() < OCCLUDER_SHARE:
        _occluder(rng, image, center, head_px)
    occluded = (image[cells[:, 1], cells[:, 0]] != before).any(axis=1)

    labeled = _in_picture(parts, size)
    parts[~labeled] = np.nan
    others_parts = np.array([other.parts_image() for other in others]).reshape(-1, len(LSP), 2)
    return Sample(
        image=camera(rng, image),
        parts_image=parts,
        labeled=labeled,
        roi=Roi.from_parts(parts, labeled, LSP),
        name=name,
        occluded=occluded & labeled,
        others_image=others_parts,
    )


def _others(rng: np.random.Generator, center: np.ndarray, head_px: float) -> list[_Placed]:
    """Return other people, each to one side of a subject with the middle of its parts at `center`."""
    others = []
    for _ in range(int(np.searchsorted(np.cumsum(OTHERS_SHARES), rng.random()))):
        figure = draw_figure(rng)
        other_px = head_px * rng.uniform(*OTHER_SIZE)
        across = rng.uniform(*OTHER_AWAY) * (1 if rng.random() < 0.5 else -1)
        away = np.array([across, rng.uniform(-0.18, 0.12)]) * UPRIGHT_HEADS * head_px
        origin = center + away - other_px * _middle(figure.parts)
        others.append(_Placed(figure, other_px, origin, rng.random() < OTHER_IN_FRONT_SHARE))
    return others


def _middle(parts: np.ndarray) -> np.ndarray:
    return (parts.min(axis=0) + parts.max(axis=0)) / 2


def _in_picture(parts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which parts [..., 2] lie within a picture of size (height, width): [...] bool."""
    return np.all((parts >= 0) & (parts <= np.array(size)[::-1] - 1), axis=-1)


def _place(rng: np.random.Generator, figure: Figure, head_px: float) -> tuple[tuple[int, int], np.ndarray]:
    """Return a picture's size (height, width) for the figure, which rarely sticks out, and the pelvis's place in it."""
    low, high = figure.parts.min(axis=0) * head_px - MARGIN_PX, figure.parts.max(axis=0) * head_px + MARGIN_PX
    width, height = np.maximum(rng.integers(*PICTURE_SIDE_PX, size=2, endpoint=True), np.ceil(high - low) + 1)
    first, last = -low, np.array([width - 1, height - 1]) - high
    if rng.random() < OVERHANG_SHARE:
        first, last = first - OVERHANG_PX - MARGIN_PX, last + OVERHANG_PX + MARGIN_PX
    return (int(height), int(width)), rng.uniform(first, last)


def draw_background(rng: np.random.Generator, height: int, width: int, clutter: float = 1.0) -> np.ndarray:
    """Draw a gradient with a rough texture, perhaps a floor, and rectangles, lines, circles and sticks like limbs.

    `clutter` multiplies their number, which is 2 to 11.
    """
    corners = np.array([any_color(rng, 0.6) for _ in range(4)]).reshape(2, 2, 3)
    # Half of the walls are nearly even: their corners have similar colors.
    corners += (0.2 if rng.random() < 0.5 else 0.75) * (corners.mean(axis=(0, 1)) - corners)
    image: np.ndarray = cv2.resize(corners.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        level = int(height * rng.uniform(0.55, 0.9))
        cv2.rectangle(image, (0, level), (width, height), any_color(rng, 0.5), -1)
    cell = rng.uniform(4.0, 40.0)
    grain = rng.integers(0, 256, (int(height / cell) + 2, int(width / cell) + 2, 3), dtype=np.uint8)
    if rng.random() < 0.7:
        grain[:] = grain[:, :, :1]
    strength = rng.uniform(0.0, 0.25)
    image = cv2.addWeighted(
        image, 1.0, cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR), strength, -128 * strength
    )
    for kind in rng.integers(0, 4, round(clutter * int(rng.integers(2, 12)))):
        _clutter(rng, image, int(kind))
    return image


def _clutter(rng: np.random.Generator, image: np.ndarray, kind: int) -> None:
    height, width = image.shape[:2]
    at = rng.random(2) * (width, height)
    reach = rng.uniform(8, 60, 2)
    angle = rng.uniform(0, 2 * math.pi)
    along = np.array([math.cos(angle), math.sin(angle)])
    color = any_color(rng, 0.8)
    if kind == 0:
        if rng.random() < 0.5:
            along = np.array([1.0, 0.0])
        aside = np.array([-along[1], along[0]])
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * reach
        paint_polygon(image, fixed_point(at + corners @ np.stack([along, aside])), color)
    elif kind == 1:
        ends = fixed_point(np.stack([at - 4 * reach[0] * along, at + 4 * reach[0] * along])).tolist()
        cv2.line(image, ends[0], ends[1], color, int(rng.integers(1, 5)), cv2.LINE_AA, SUBPIXEL_BITS)
    elif kind == 2:
        x, y = fixed_point(at).tolist()
        radius, thickness = int(reach[0] * 2 ** (SUBPIXEL_BITS - 1)), -1 if rng.random() < 0.5 else 2
        cv2.circle(image, (x, y), radius, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    else:
        _stick(rng, image, at, along * reach[0])


def _stick(rng: np.random.Generator, image: np.ndarray, at: np.ndarray, along: np.ndarray) -> None:
    """Draw one or two capsules end to end, like a limb; half of them have a color of skin."""
    color = pick_color(rng, SKIN_BGR) if rng.random() < 0.5 else any_color(rng)
    bend = rng.uniform(-1.8, 1.8)
    turned = np.array([[math.cos(bend), math.sin(bend)], [-math.sin(bend), math.cos(bend)]]) @ along
    ends = np.array([[at, at + along], [at + along, at + along + turned]])
    radii = rng.uniform(2.0, 6.0) * np.array([[1.2, 1.0], [1.0, 0.8]])
    ends = np.concatenate([ends, ends - 0.25 * radii[:, :, None]])
    shapes = fixed_point(capsules(ends, np.concatenate([radii, 0.5 * radii])))
    for shape, tint in zip(shapes, (1.0, 1.0, 1.15, 1.15), strict=True):
        paint_polygon(image, shape, shade(color, tint))


def _occluder(rng: np.random.Generator, image: np.ndarray, center: np.ndarray, head_px: float) -> None:
    """Draw a post, a rail or a box in front of the subject."""
    at = center + rng.uniform(-1.6, 1.6, 2) * head_px
    half = rng.uniform(0.2, 0.45) * head_px
    kind = rng.random()
    if kind < 0.4:
        reach = np.array([half, 400.0])
    elif kind < 0.7:
        reach = np.array([400.0, half])
    else:
        reach = rng.uniform(0.4, 0.9, 2) * head_px
    corners = at + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * reach
    color = any_color(rng, 0.6)
    paint_polygon(image, fixed_point(corners), color, shade(color, 0.6))


def camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add a little blur, contrast, brightness and noise."""
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.3, 0.8))
    contrast, brightness, noise = rng.uniform((0.75, -22.0, 0.0), (1.15, 22.0, 0.14))
    grain = rng.bit_generator.random_raw(-(-image.size // 8)).view(np.uint8)[: image.size].reshape(image.shape)
    return cv2.addWeighted(image, contrast, grain, noise, brightness + 128 * (1 - contrast) - 128 * noise)
