"""Scenes of subjects that are cut out of their pictures and pasted on a background."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from cpm_fast.data.augment import Draw, box_matrix, draw, recolor
from cpm_fast.data.effects import LEAST_KNOWN, subject_mask
from cpm_fast.data.regions import LEAST_PARTS, border
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.backgrounds import background_of
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.scene import (
    LEAST_SEEN,
    SMALLEST_SIDE_PX,
    Scene,
    SceneSubject,
    region_in_part,
    scene_of,
    subjects_of,
)
from cpm_fast.model.crops import warp
from cpm_fast.roi import transform

# How often there are one, two, ... subjects, and the sides of their regions over the scene's.
PASTED_SHARES = (0.3, 0.2, 0.2, 0.14, 0.1, 0.06)
PASTED_SIDE = (0.1, 1.35)
# How often several subjects stand in a group, at most so large; the ratio of their sides, and the distance from one to
# the next in shares of the side, to the right and down.
GROUP_SHARE, GROUP_SIDE = 0.5, 0.8
GROUP_RATIO, GROUP_STEP, GROUP_LEVEL = (0.8, 1.25), (0.25, 0.6), 0.1
# How far out of the scene the middle of a pasted subject may lie, in shares of its sides.
PASTED_BEYOND = 0.06
# A subject is cut out at this size at least, and shrunk then: masks need room.
CUT_SIDE_PX = 144
# How often something hides one end of a pasted subject, as a table or another person does: which end (left, top, right,
# bottom), and the share of its extent.
HIDDEN_SHARE = 0.45
HIDDEN_ENDS = (0.12, 0.08, 0.12, 0.68)
HIDDEN_PART = (0.15, 0.8)
# How often the larger subjects stand before the smaller ones.
SORTED_SHARE = 0.7


def pasted(sample: Sample, material: Material, random: np.random.Generator) -> Scene:
    """Return several cut-out subjects on a background."""
    size = material.size
    canvas, doubtful = background_of(material, random)
    count = 1 + int(np.searchsorted(np.cumsum(PASTED_SHARES), random.random()))
    count = min(count, len(PASTED_SHARES))
    sides, middles = _places(count, size, random)
    placed: list[SceneSubject] = []
    shown: list[np.ndarray] = []  # what is left of each subject's mask, [H, W]
    whole: list[float] = []
    for number, side in enumerate(sides.tolist()):
        one = sample if number == 0 else material.another()
        image, mask, subject = cut_out(one, material, round(side), draw(material.augmentation, random))
        if random.random() < HIDDEN_SHARE:
            mask, subject = hide_end(mask, subject, random)
        x, y = middles[number]
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


def _places(count: int, size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the sides [K] of subjects and their middles [K, 2] in a scene of (H, W), alone or in a group."""
    group = count > 1 and random.random() < GROUP_SHARE
    largest = GROUP_SIDE if group else PASTED_SIDE[1]
    sides = np.exp(random.uniform(math.log(PASTED_SIDE[0]), math.log(largest), count)) * max(size)
    middles = random.uniform(-PASTED_BEYOND, 1 + PASTED_BEYOND, (count, 2)) * (size[1], size[0])
    if group:
        sides = sides[0] * random.uniform(*GROUP_RATIO, count)
        steps = np.stack([random.uniform(*GROUP_STEP, count), random.uniform(-GROUP_LEVEL, GROUP_LEVEL, count)], axis=1)
        along = np.cumsum(steps * sides[:, None], axis=0)
        middles = middles[0] + along - along.mean(axis=0)
    sides = np.maximum(sides, SMALLEST_SIDE_PX + 4)
    if random.random() < SORTED_SHARE:
        sides.sort()
    return sides, middles


def cut_out(sample: Sample, material: Material, side: int, drawn: Draw) -> tuple[np.ndarray, np.ndarray, SceneSubject]:
    """Cut a subject out of its picture, turned and mirrored as drawn.

    Returns:
        its region [side, side, 3] uint8; how much of it is the subject's, [side, side] float32 with soft edges; and
        the subject in these pixels.
    """
    skeleton, network = material.skeleton, material.network
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
    """Hide one end of a cut-out subject; its region becomes that of what remains.

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
    (left, top, right, bottom), _ = border(parts, (0, 0, width, height), end, share)
    inside = np.all((parts >= (left, top)) & (parts < (right, bottom)), axis=1)
    if inside.sum() < max(LEAST_PARTS, LEAST_SEEN * len(parts)):
        return mask, subject
    left_over = np.zeros_like(mask)
    left_over[top:bottom, left:right] = mask[top:bottom, left:right]
    roi = region_in_part(subject.roi, parts, inside, (left, top, right, bottom))
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
