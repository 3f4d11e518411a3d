"""Random changes of a crop's pixels: another background, pieces of other pictures, colors, blur and JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from cpm_fast.data.augment import Draw, recolor
from cpm_fast.data.sample import Sample
from cpm_fast.skeleton import Skeleton

# Half the width of the kept area around a limb, in shares of the longest limb of the subject; a person's upper body is
# about twice as wide as a thigh.
LIMB_REACH = 0.3
# The length used in place of the longest limb if a skeleton has no limbs, in shares of the extent of the parts.
EXTENT_SHARE = 0.25
# The mask of a background is made on a grid of this many pixels per cell, and softened by this many cells; every part
# keeps at least this many cells around it.
MASK_STEP, MASK_SOFTNESS, LEAST_REACH = 4, 1.0, 3.0
# Surroundings without the subject are used if they are at least this share of a picture.
LEAST_SURROUNDINGS = 0.1
# Below this share of known parts the subject's place is unknown.
LEAST_KNOWN = 0.8


def altered(
    crop: np.ndarray, people: np.ndarray, known: np.ndarray, skeleton: Skeleton, drawn: Draw, other: Sample | None
) -> np.ndarray:
    """Return a crop after the changes of a draw: background, pieces, colors and rectangle, blur, JPEG, in this order.

    Args:
        crop: [H, W, 3] uint8 BGR; stays as it is.
        people: [K, P, 2] parts of everyone, box pixels, the subject first.
        known: [K, P] whether they are known.
        skeleton: the P parts.
        drawn: the random changes.
        other: another sample, or None, which leaves out the changes that need its picture.
    """
    if other is not None and drawn.background and known[0].mean() >= LEAST_KNOWN:
        crop = on_background(crop, subject_mask(crop.shape[:2], people, known, skeleton), surroundings(other))
    if other is not None and drawn.piece is not None:
        crop = with_piece(crop, other.image, drawn.piece, drawn.piece_from, drawn.piece_round)
    crop = recolor(crop, drawn)
    if drawn.blur > 0:
        crop = cv2.GaussianBlur(crop, (0, 0), drawn.blur)
    if drawn.jpeg_quality is not None:
        crop = recompressed(crop, drawn.jpeg_quality)
    return crop


def subject_mask(size: tuple[int, int], people: np.ndarray, known: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return where people are, from their limbs: [H, W] float32 from 0 to 1, with soft edges.

    Args:
        size: (H, W) of the crop.
        people, known, skeleton: as for `altered`.
    """
    height, width = (-(-side // MASK_STEP) for side in size)
    mask = np.zeros((height, width), np.uint8)
    for parts, there in zip(people / MASK_STEP, known, strict=True):
        limbs = [(a, b) for a, b in skeleton.limb_indices if there[a] and there[b]]
        lengths = [float(np.hypot(*(parts[a] - parts[b]))) for a, b in limbs]
        extent = float(np.ptp(parts[there], axis=0).max()) if there.any() else 0.0
        reach = max(LEAST_REACH, LIMB_REACH * max(lengths, default=EXTENT_SHARE * extent))
        points = np.rint(np.clip(parts, -4 * width, 4 * width)).astype(int)
        for a, b in limbs:
            cv2.line(mask, points[a].tolist(), points[b].tolist(), 255, max(1, round(2 * reach)))
        for point in points[there]:
            cv2.circle(mask, point.tolist(), round(reach), 255, -1)
        if len(points[there]) >= 3:
            # The trunk between shoulders and hips is no limb.
            hull = cv2.convexHull(_trunk(points, there, skeleton))
            cv2.fillConvexPoly(mask, hull, 255)
    soft = cv2.GaussianBlur(mask, (0, 0), MASK_SOFTNESS)
    return cv2.resize(soft, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255


def _trunk(points: np.ndarray, there: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the known parts at which more than one limb ends; all known ones if those are too few."""
    ends = np.bincount(np.array(skeleton.limb_indices, int).reshape(-1), minlength=len(skeleton))
    inner = points[there & (ends > 1)]
    return inner if len(inner) >= 3 else points[there]


def surroundings(sample: Sample) -> np.ndarray:
    """Return the largest strip of a picture beside the labeled parts of its subject, [h, w, 3]; else all of it."""
    image = sample.image
    parts = sample.parts_image[sample.labeled & np.isfinite(sample.parts_image).all(axis=1)]
    if not len(parts):
        return image
    left, top = np.clip(np.floor(parts.min(axis=0)), 0, None).astype(int).tolist()
    right, bottom = np.ceil(parts.max(axis=0)).astype(int).tolist()
    strips = (image[:, :left], image[:, right + 1 :], image[:top], image[bottom + 1 :])
    largest = max(strips, key=np.size)
    return largest if largest.size >= LEAST_SURROUNDINGS * image.size else image


def on_background(crop: np.ndarray, mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return a crop with another picture, stretched over the box, where the mask is 0."""
    behind = cv2.resize(other, crop.shape[1::-1], interpolation=cv2.INTER_AREA)
    return cv2.blendLinear(crop, behind, mask, 1 - mask)


def with_piece(
    crop: np.ndarray,
    other: np.ndarray,
    place: tuple[float, float, float, float],
    source: tuple[float, float],
    rounded: bool,
) -> np.ndarray:
    """Return a crop with a piece of another picture over it.

    Args:
        crop: [H, W, 3] uint8.
        other: [h, w, 3] uint8.
        place: left, top, right, bottom of the piece in shares of the box.
        source: its place in the other picture, (x, y), 0 to 1: at 0 it begins at the edge, at 1 it ends there.
        rounded: whether the piece is an ellipse.
    """
    height, width = crop.shape[:2]
    left, top, right, bottom = np.rint(np.array(place) * (width, height, width, height)).astype(int).tolist()
    wide, high = right - left, bottom - top
    if wide < 1 or high < 1:
        return crop
    # The share of the other picture is at least the piece's share of the box.
    part = max(high / height, wide / width)
    from_high, from_wide = (max(1, round(part * side)) for side in other.shape[:2])
    x, y = (
        round(at * (side - part))
        for at, side, part in zip(source, other.shape[1::-1], (from_wide, from_high), strict=True)
    )
    piece = cv2.resize(other[y : y + from_high, x : x + from_wide], (wide, high), interpolation=cv2.INTER_LINEAR)
    crop = crop.copy()
    if not rounded:
        crop[top:bottom, left:right] = piece
        return crop
    inside = np.zeros((high, wide), np.uint8)
    cv2.ellipse(inside, (((wide - 1) / 2, (high - 1) / 2), (wide, high), 0.0), 1, -1)
    cv2.copyTo(piece, inside, crop[top:bottom, left:right])
    return crop


def recompressed(crop: np.ndarray, quality: int) -> np.ndarray:
    """Return a crop after JPEG compression with a quality from 1 to 100."""
    done, content = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("the crop could not be compressed")
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded
