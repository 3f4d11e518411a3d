"""Random scenes: a whole picture, several side by side, subjects on a background, or a background alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.data.augment import Draw, box_matrix, draw, recolor
from cpm_fast.data.drawn.synthetic import draw_background
from cpm_fast.data.effects import LEAST_KNOWN, altered, subject_mask, surroundings
from cpm_fast.data.regions import LEAST_PARTS, border, refit
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.scene import (
    LEAST_SEEN,
    SMALLEST_SIDE_PX,
    Scene,
    SceneSubject,
    ignored_of,
    scene_of,
    subjects_of,
)
from cpm_fast.model.crops import warp
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi, transform
from cpm_fast.skeleton import Skeleton

# How often a picture is seen whole, how often several lie side by side, and how often there is a background alone; in
# the rest, subjects are pasted.
WHOLE_SHARE, MOSAIC_SHARE, EMPTY_SHARE = 0.35, 0.3, 0.08
# Rows and columns of a mosaic; how much narrower or wider a field may be than the others, in shares of them; and the
# largest magnification over that at which a picture fills its field.
MOSAIC_GRIDS, MOSAIC_UNEVEN, MOSAIC_ZOOM = ((1, 2), (1, 3), (2, 3), (2, 2), (2, 4)), 0.3, 1.5
# Longer side of a whole picture over the scene's.
WHOLE_SCALE = (0.45, 1.7)
# Turns of whole pictures show their corners, so that they are rare.
WHOLE_TURNED = 0.25
# How often there are one, two, ... subjects, and the sides of their regions over the scene's.
PASTED_SHARES = (0.4, 0.25, 0.2, 0.1, 0.05)
PASTED_SIDE = (0.07, 1.35)
# How far out of the scene the middle of a pasted subject may lie, in shares of its sides.
PASTED_BEYOND = 0.06
# A subject is cut out at this size at least, and shrunk then: masks need room.
CUT_SIDE_PX = 144
# How often something hides one end of a pasted subject, as a table or another person does: which end (left, top, right,
# bottom), and the share of its extent.
HIDDEN_SHARE = 0.35
HIDDEN_ENDS = (0.15, 0.1, 0.15, 0.6)
HIDDEN_PART = (0.15, 0.65)
# How often the larger subjects stand before the smaller ones, how often a background is drawn, and the magnification of
# one from a photograph.
SORTED_SHARE, DRAWN_SHARE, BACKGROUND_SCALE = 0.7, 0.2, (1.0, 3.0)
# How often a background is one of the pictures without subjects, if there are any, and its largest magnification over
# that at which it fills the scene.
GIVEN_SHARE, GIVEN_ZOOM = 0.6, 3.0

Another = Callable[[], Sample]
Background = Callable[[], np.ndarray]


def compose(
    sample: Sample,
    another: Another,
    skeleton: Skeleton,
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
    background: Background | None = None,
) -> Scene:
    """Compose one scene of the size that the network is trained on.

    Args:
        sample: the one that is in the scene, unless the scene is empty.
        another: a function that reads another random sample.
        skeleton: the parts of the samples.
        network: the finder.
        augmentation: ranges of turning, mirroring, colors, blur and compression; its other fields are the pose
            networks'.
        random: the source of all random numbers.
        background: a function that reads a random picture [H, W, 3] without subjects; None: there are none.

    Raises:
        ValueError, OSError: a sample or a background can't be read.
    """
    kind = random.random()
    if kind < WHOLE_SHARE:
        scene = _whole(sample, skeleton, network, augmentation, random)
    elif kind < WHOLE_SHARE + MOSAIC_SHARE:
        scene = _mosaic(sample, another, skeleton, network, augmentation, random)
    elif kind < WHOLE_SHARE + MOSAIC_SHARE + EMPTY_SHARE:
        image, doubtful = _background(another, background, network.input_size, random)
        scene = Scene(image, doubtful=doubtful)
    else:
        scene = _pasted(sample, another, skeleton, network, augmentation, random, background)
    drawn = draw(augmentation, random)
    nobody = np.zeros((1, len(skeleton), 2))
    image = altered(scene.image, nobody, np.zeros((1, len(skeleton)), bool), skeleton, drawn, None)
    return replace(scene, image=image)


def _whole(
    sample: Sample,
    skeleton: Skeleton,
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
) -> Scene:
    """Return a whole picture at some scale, cut by the scene or with nothing around it."""
    size = network.input_size
    height, width = sample.image.shape[:2]
    scale = math.exp(random.uniform(*np.log(WHOLE_SCALE)))
    drawn = draw(augmentation, random)
    degrees = drawn.degrees if random.random() < WHOLE_TURNED else 0.0
    side = max(height, width) / scale  # of the square of the picture that the scene shows
    roi = sample.region(network.margin)
    center = []
    for axis, pixels in enumerate((width, height)):
        # The scene lies within the picture, or the picture within the scene; the subject's middle is in it.
        low, high = sorted((side / 2, pixels - side / 2))
        at = random.uniform(low, high)
        reach = 0.45 * side
        center.append(float(np.clip(at, roi.center[axis] - reach, roi.center[axis] + reach)))
    matrix = box_matrix(Roi((center[0], center[1]), side), size, replace(Draw(), degrees=degrees, flip=drawn.flip))
    image = warp(sample.image, matrix, size, network.padding_value)
    return _photograph(image, matrix, sample, skeleton, network)


def _photograph(
    image: np.ndarray, matrix: np.ndarray, sample: Sample, skeleton: Skeleton, network: NetworkConfig
) -> Scene:
    """Return the scene of a sample's picture, seen through a [2, 3] matrix, with all who are labeled in it."""
    subjects = [subject.moved(matrix) for subject in subjects_of(sample, skeleton, network.margin)]
    nowhere = np.empty((0, 2))
    squares = [
        SceneSubject(square, nowhere, nowhere[:, 0] > 0).moved(matrix).roi
        for square in ignored_of(sample, skeleton, network.margin)
    ]
    return replace(scene_of(image, subjects, squares), doubtful=True)


def _mosaic(
    sample: Sample,
    another: Another,
    skeleton: Skeleton,
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
) -> Scene:
    """Return several pictures side by side, each with its own surroundings; each subject is cut by its field."""
    height, width = network.input_size
    rows, columns = MOSAIC_GRIDS[int(random.integers(len(MOSAIC_GRIDS)))]

    def lines(fields: int, pixels: int) -> list[int]:
        shares = random.uniform(1 - MOSAIC_UNEVEN, 1 + MOSAIC_UNEVEN, fields)
        ends = (np.cumsum(shares) / shares.sum() * pixels).round().astype(int).tolist()
        return [0, *ends]

    across, down = lines(rows, height), lines(columns, width)
    fields = [(left, top, right, bottom) for top, bottom in pairwise(across) for left, right in pairwise(down)]
    own = int(random.integers(len(fields)))
    scene = Scene(np.empty((height, width, 3), np.uint8), doubtful=True)
    for number, (left, top, right, bottom) in enumerate(fields):
        one = sample if number == own else another()
        drawn = draw(augmentation, random)
        part = _filling(one, (bottom - top, right - left), drawn, skeleton, network, random)
        scene.image[top:bottom, left:right] = recolor(part.image, drawn)
        rois, ignored = (
            tuple(Roi((roi.center[0] + left, roi.center[1] + top), roi.side) for roi in each)
            for each in (part.rois, part.ignored)
        )
        scene = replace(scene, rois=scene.rois + rois, ignored=scene.ignored + ignored)
    return scene


def _filling(
    sample: Sample,
    size: tuple[int, int],
    drawn: Draw,
    skeleton: Skeleton,
    network: NetworkConfig,
    random: np.random.Generator,
) -> Scene:
    """Return a part of a picture that fills (H, W) pixels, with the middle of its subject in it."""
    pixels = np.array(sample.image.shape[1::-1], float)
    shown = np.array(size[::-1], float)
    scale = float((shown / pixels).max()) * math.exp(random.uniform(0, math.log(MOSAIC_ZOOM)))
    half = shown / scale / 2  # of the part, in pixels of the picture
    at = half + random.uniform(0, 1, 2) * (pixels - 2 * half)
    middle = np.array(sample.region(network.margin).center)
    at = np.clip(np.clip(at, middle - 0.9 * half, middle + 0.9 * half), half, pixels - half)
    matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
    if drawn.flip:
        matrix[0] *= -1
    matrix[:, 2] = (shown - 1) / 2 - matrix[:, :2] @ (at - 0.5)
    image = warp(sample.image, matrix, size, network.padding_value)
    return _photograph(image, matrix, sample, skeleton, network)


def _pasted(
    sample: Sample,
    another: Another,
    skeleton: Skeleton,
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
    background: Background | None,
) -> Scene:
    """Return several cut-out subjects on a background."""
    size = network.input_size
    canvas, doubtful = _background(another, background, size, random)
    count = 1 + int(np.searchsorted(np.cumsum(PASTED_SHARES), random.random()))
    count = min(count, len(PASTED_SHARES))
    sides = np.exp(random.uniform(math.log(PASTED_SIDE[0]), math.log(PASTED_SIDE[1]), count)) * max(size)
    sides = np.maximum(sides, SMALLEST_SIDE_PX + 4)
    if random.random() < SORTED_SHARE:
        sides.sort()
    placed: list[SceneSubject] = []
    shown: list[np.ndarray] = []  # what is left of each subject's mask, [H, W]
    whole: list[float] = []
    for number, side in enumerate(sides.tolist()):
        one = sample if number == 0 else another()
        image, mask, subject = cut_out(one, skeleton, network, round(side), draw(augmentation, random))
        if random.random() < HIDDEN_SHARE:
            mask, subject = hide_end(mask, subject, random)
        x, y = random.uniform(-PASTED_BEYOND, 1 + PASTED_BEYOND, 2) * (size[1], size[0])
        left, top = round(float(x) - image.shape[1] / 2), round(float(y) - image.shape[0] / 2)
        laid = _paste(canvas, image, mask, left, top)
        shown = [one_mask * (1 - laid) for one_mask in shown]
        shown.append(laid)
        whole.append(float(mask.sum()))
        placed.append(subject.moved(np.array([[1.0, 0.0, left], [0.0, 1.0, top]])))
    scene = Scene(canvas, doubtful=doubtful)
    for subject, left_over, area in zip(placed, shown, whole, strict=True):
        fine = float(left_over.sum()) >= LEAST_SEEN * area
        own = scene_of(canvas, [subject]) if fine else Scene(canvas, (), (subject.roi,))
        scene = replace(scene, rois=scene.rois + own.rois, ignored=scene.ignored + own.ignored)
    return scene


def cut_out(
    sample: Sample, skeleton: Skeleton, network: NetworkConfig, side: int, drawn: Draw
) -> tuple[np.ndarray, np.ndarray, SceneSubject]:
    """Cut a subject out of its picture, turned and mirrored as drawn.

    Returns:
        its region [side, side, 3] uint8; how much of it is the subject's, [side, side] float32 with soft edges; and
        the subject in these pixels.
    """
    large = max(side, CUT_SIDE_PX)
    subject = subjects_of(sample, skeleton, network.margin)[0]
    matrix = box_matrix(subject.roi, (large, large), replace(Draw(), degrees=drawn.degrees, flip=drawn.flip))
    image = warp(sample.image, matrix, (large, large), network.padding_value)
    height, width = sample.image.shape[:2]
    inside = warp(np.full((height, width, 1), 255, np.uint8), matrix, (large, large), 0)
    known = sample.labeled & np.isfinite(sample.parts_image).all(axis=1)
    if known.mean() >= LEAST_KNOWN and skeleton.limbs:
        parts = transform(matrix, np.nan_to_num(sample.parts_image))
        mask = subject_mask((large, large), parts[None], known[None], skeleton)
    else:
        mask = _ellipse(sample, subject, matrix, large)
    mask = mask * (inside.reshape(large, large).astype(np.float32) / 255)
    image = recolor(
        image, replace(Draw(), brightness=drawn.brightness, contrast=drawn.contrast, saturation=drawn.saturation)
    )
    moved = subject.moved(matrix)
    if large > side:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
        share = side / large
        moved = moved.moved(np.array([[share, 0.0, (share - 1) / 2], [0.0, share, (share - 1) / 2]]))
    return image, mask, moved


def hide_end(mask: np.ndarray, subject: SceneSubject, random: np.random.Generator) -> tuple[np.ndarray, SceneSubject]:
    """Hide one end of a cut-out subject; its region becomes that of the parts that remain.

    A subject that would keep too few parts stays whole.

    Args:
        mask: [side, side], see `cut_out`.
        subject: in the same pixels.
        random: the source of all random numbers.
    """
    end = int(random.choice(4, p=HIDDEN_ENDS))
    share = random.uniform(*HIDDEN_PART)
    parts, height, width = subject.parts, *mask.shape
    if not len(parts):
        return mask, subject
    (left, top, right, bottom), kept = border(parts, (0, 0, width, height), end, share)
    if len(kept) < max(LEAST_PARTS, LEAST_SEEN * len(parts)):
        return mask, subject
    left_over = np.zeros_like(mask)
    left_over[top:bottom, left:right] = mask[top:bottom, left:right]
    inside = ((parts >= (left, top)) & (parts < (right, bottom))).all(axis=1)
    roi = refit(subject.roi, parts, parts[inside])
    return left_over, SceneSubject(roi, parts[inside], subject.shown[inside])


def _ellipse(sample: Sample, subject: SceneSubject, matrix: np.ndarray, side: int) -> np.ndarray:
    """Return a soft ellipse about a box, or about the middle of a region, [side, side] float32."""
    box = sample.box_image
    (x, y), half = subject.roi.center, subject.roi.side / 2
    left, top, right, bottom = (x - half, y - half, x + half, y + half) if box is None else box
    corners = transform(matrix, np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float))
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, cv2.minAreaRect(corners.astype(np.float32)), 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.02 * side))


def _paste(canvas: np.ndarray, image: np.ndarray, mask: np.ndarray, left: int, top: int) -> np.ndarray:
    """Blend an image [h, w, 3] into a canvas, in place; return its share of each pixel, [H, W]."""
    height, width = canvas.shape[:2]
    laid = np.zeros((height, width), np.float32)
    low_x, low_y = max(left, 0), max(top, 0)
    high_x, high_y = min(left + image.shape[1], width), min(top + image.shape[0], height)
    if low_x >= high_x or low_y >= high_y:
        return laid
    part = np.s_[low_y - top : high_y - top, low_x - left : high_x - left]
    place = np.s_[low_y:high_y, low_x:high_x]
    laid[place] = mask[part]
    share = np.ascontiguousarray(mask[part])
    canvas[place] = cv2.blendLinear(
        np.ascontiguousarray(image[part]), np.ascontiguousarray(canvas[place]), share, 1 - share
    )
    return laid


def _background(
    another: Another, background: Background | None, size: tuple[int, int], random: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Return a picture without subjects, or surroundings of one, mirrored to the scene's size, or drawn clutter.

    The second value says whether unlabeled subjects may be in these pixels [H, W, 3], as in surroundings.
    """
    if background is not None and random.random() < GIVEN_SHARE:
        return _part(background(), size, random), False
    other = another()
    strip = surroundings(other)
    # The whole picture is given if nothing is beside the subject.
    if random.random() < DRAWN_SHARE or strip is other.image or len(other.others_image) or len(other.ignored_image):
        return draw_background(random, *size), False
    if random.random() < 0.5:
        strip = strip[:, ::-1]
    scale = math.exp(random.uniform(*np.log(BACKGROUND_SCALE)))
    high, wide = (min(most, max(1, round(scale * side))) for most, side in zip(size, strip.shape, strict=False))
    filled = cv2.resize(np.ascontiguousarray(strip), (wide, high), interpolation=cv2.INTER_AREA)
    top, left = (int(random.integers(side - length + 1)) for side, length in zip(size, (high, wide), strict=True))
    below, right = size[0] - high - top, size[1] - wide - left
    return cv2.copyMakeBorder(filled, top, below, left, right, cv2.BORDER_REFLECT), True


def _part(picture: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return a random part of a picture that fills (H, W) pixels, half of the time mirrored."""
    pixels, shown = np.array(picture.shape[:2], float), np.array(size, float)
    scale = float((shown / pixels).max()) * math.exp(random.uniform(0, math.log(GIVEN_ZOOM)))
    high, wide = np.maximum(1, np.minimum(shown / scale, pixels).astype(int)).tolist()
    top, left = (
        int(random.integers(side - length + 1)) for side, length in zip(picture.shape, (high, wide), strict=False)
    )
    part = picture[top : top + high, left : left + wide]
    part = part[:, ::-1] if random.random() < 0.5 else part
    return cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=cv2.INTER_AREA)
