"""Pictures: skeletons over images, beliefs over crops, and the strip of stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.results.marks import INK, PAPER, is_person, part_colors, text_mask
from cpm_fast.skeleton import MIDDLE_COLOR, Skeleton
from cpm_fast.system.files import atomic_write

MIN_SCORE = 0.1
ALL_PARTS = "all parts"

# Widths and radii, as fractions of the side of the subject's region.
LIMB_RADIUS, DOT_RADIUS, RIM = 0.0075, 0.0115, 0.0035
SMALLEST_RADIUS_PX = 0.6
RIM_COLOR, RIM_ALPHA, LIMB_ALPHA, DOT_LIGHTEN = (25, 20, 20), 0.55, 0.9, 0.55
# If no region is known, the side is about this many times the extent of the parts.
SIDE_OF_EXTENT = 1.4

DIM = 0.6
# The color map starts here, past its black, so that little heat looks like a glow, not a shadow.
FIRST_COLOR = 80
PANEL_PX, GAP_PX, TITLE_PX = 300, 10, 34


def skeleton_overlay(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    min_score: float = MIN_SCORE,
    side: float | None = None,
) -> np.ndarray:
    """Draw one subject's limbs and parts on the image: people by left, right and middle, others part by part.

    Args:
        image: [H, W, 3] uint8 BGR.
        keypoints: [P, 2] (x, y) image pixels; NaN is never drawn.
        scores: [P]; parts below min_score, and limbs that end in one, are left out.
        skeleton: the P parts.
        min_score: the lowest score that is drawn.
        side: of the subject's region, image pixels, to which widths and radii are proportional; from the parts if not
            given.

    Returns:
        [H, W, 3] uint8 BGR, a new picture.
    """
    picture = image.copy()
    keypoints = np.asarray(keypoints, np.float64)
    drawn = np.isfinite(keypoints).all(axis=1) & (np.asarray(scores) >= min_score)
    if not drawn.any():
        return picture
    if side is None:
        side = SIDE_OF_EXTENT * float(np.ptp(keypoints[drawn], axis=0).max())
    limb, dot = (max(SMALLEST_RADIUS_PX, fraction * side) for fraction in (LIMB_RADIUS, DOT_RADIUS))
    rim = RIM * side
    limbs = [(a, b) for a, b in skeleton.limb_indices if drawn[a] and drawn[b]]
    for a, b in limbs:
        _capsule(picture, keypoints[a], keypoints[b], limb + rim, RIM_COLOR, RIM_ALPHA)
    colors = part_colors(skeleton)
    for a, b in limbs:
        sides = [color for color in (colors[a], colors[b]) if color != MIDDLE_COLOR]
        color = sides[0] if sides else MIDDLE_COLOR
        if not is_person(skeleton):
            # Each half in the color of its end.
            middle = (keypoints[a] + keypoints[b]) / 2
            _capsule(picture, middle, keypoints[b], limb, colors[b], LIMB_ALPHA)
            _capsule(picture, keypoints[a], middle, limb, colors[a], LIMB_ALPHA)
        else:
            _capsule(picture, keypoints[a], keypoints[b], limb, color, LIMB_ALPHA)
    # A person's dots are lighter than the limbs; others' have the colors of the legend.
    lighten = DOT_LIGHTEN if is_person(skeleton) else 0.0
    for i in np.flatnonzero(drawn):
        _capsule(picture, keypoints[i], keypoints[i], dot + rim, RIM_COLOR, RIM_ALPHA)
        light = tuple(round(c + (255 - c) * lighten) for c in colors[i])
        _capsule(picture, keypoints[i], keypoints[i], dot, light, 1.0)
    return picture


def belief_overlay(crop: np.ndarray, belief: np.ndarray, cell_offset: float = 3.5) -> np.ndarray:
    """Draw a belief map as heat over the dimmed crop it belongs to.

    Args:
        crop: [H, W, 3] uint8 BGR.
        belief: [h, w], 0 (no heat) to 1 (full heat), of H / h crop pixels per cell.
        cell_offset: cell g stands at crop pixel H / h * g + cell_offset.

    Returns:
        [H, W, 3] uint8 BGR.
    """
    heat = _resize(belief, crop.shape[:2], cell_offset)
    colors = cv2.applyColorMap(np.uint8(FIRST_COLOR + heat * (255 - FIRST_COLOR)), cv2.COLORMAP_INFERNO)  # type: ignore[call-overload]
    return _glow(crop, colors, heat)


def parts_overlay(crop: np.ndarray, beliefs: np.ndarray, skeleton: Skeleton, cell_offset: float = 3.5) -> np.ndarray:
    """Draw the belief maps of all parts over the dimmed crop, each in its part's color.

    Args:
        crop: [H, W, 3] uint8 BGR.
        beliefs: [P or P+1, h, w]; a background map is left out.
        skeleton: the P parts.
        cell_offset: as in `belief_overlay`.

    Returns:
        [H, W, 3] uint8 BGR.
    """
    parts = zip(part_colors(skeleton), beliefs[: len(skeleton)], strict=True)
    heats: dict[tuple[int, int, int], np.ndarray] = {}
    for color, belief in parts:
        heats[color] = np.maximum(heats.get(color, 0.0), _resize(belief, crop.shape[:2], cell_offset))
    total = sum(heats.values(), np.full(crop.shape[:2], 1e-6))
    colors = sum(heat[..., None] / total[..., None] * np.array(color) for color, heat in heats.items())
    strongest = np.maximum.reduce(list(heats.values()))
    return _glow(crop, colors + (255 - colors) * 0.4 * strongest[..., None] ** 3, strongest)


def stage_strip(
    crop: np.ndarray,
    beliefs: np.ndarray,
    skeleton: Skeleton,
    part: str | Sequence[str] | None = None,
    *,
    keypoints: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    cell_offset: float = 3.5,
    min_score: float = MIN_SCORE,
) -> np.ndarray:
    """Draw the crop with its pose, then the beliefs of stages 1 to T (Wei et al. 2016, Figure 1), one row per part.

    Args:
        crop: [H, W, 3] uint8 BGR, the network's box.
        beliefs: [T, P+1, h, w].
        skeleton: the P parts.
        part: a part name, several, or "all parts"; None is "all parts".
        keypoints, scores: [P, 2] crop pixels and [P] of the pose; the peaks of the last stage if not given.
        cell_offset: as in `belief_overlay`.
        min_score: parts below it are left out of the pose.

    Returns:
        [height, width, 3] uint8 BGR.

    Raises:
        ValueError: there is no such part.
    """
    rows = [part] if isinstance(part, str) else list(part) if part else [ALL_PARTS]
    zoom = max(1.0, PANEL_PX / max(crop.shape[:2]))
    size = (round(crop.shape[1] * zoom), round(crop.shape[0] * zoom))
    large = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
    offset = (cell_offset + 0.5) * zoom - 0.5
    if keypoints is None or scores is None:
        flat = beliefs[-1, : len(skeleton)].reshape(len(skeleton), -1)
        y, x = np.unravel_index(flat.argmax(axis=1), beliefs.shape[2:])
        keypoints = np.stack([x, y], axis=1) * (crop.shape[0] / beliefs.shape[2]) + cell_offset
        scores = flat.max(axis=1)
    pose = skeleton_overlay(large, (keypoints + 0.5) * zoom - 0.5, scores, skeleton, min_score, side=max(size))
    strip = []
    for row in rows:
        panels = [("pose", pose)]
        for stage, maps in enumerate(beliefs, start=1):
            if row == ALL_PARTS:
                picture = parts_overlay(large, maps, skeleton, offset)
            else:
                picture = belief_overlay(large, maps[skeleton.index(row)], offset)
            panels.append((f"stage {stage}", picture))
        # The panels of every row say their stage; the first says what the row shows.
        panels[0] = (row.replace("_", " "), pose)
        strip.append(np.concatenate([_panel(title, picture) for title, picture in panels], axis=1))
    body = np.concatenate(strip)
    return cv2.copyMakeBorder(body, 0, 0, GAP_PX, 0, cv2.BORDER_CONSTANT, value=PAPER)


def write_picture(picture: np.ndarray, path: str | Path | None) -> np.ndarray:
    """Write [H, W, 3] uint8 BGR to a picture file, whole or not at all, unless path is None; and return it.

    Raises:
        ValueError: OpenCV writes no pictures of this suffix.
    """
    if path is not None:
        try:
            fine, data = cv2.imencode(Path(path).suffix, picture)
        except cv2.error:
            fine = False
        if not fine:
            raise ValueError(f"{path}: a picture must have a suffix such as .png or .jpg, got {Path(path).suffix!r}")
        with atomic_write(path) as file:
            file.write(data.tobytes())
    return picture


def _capsule(
    picture: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float, color: tuple[int, ...], alpha: float
) -> None:
    """Blend in the line from a to b of this `radius`, with an edge one pixel soft."""
    height, width = picture.shape[:2]
    low = np.clip(np.floor(np.minimum(a, b) - radius - 1), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(np.maximum(a, b) + radius + 2), 0, (width, height)).astype(int)
    if (low >= high).any():
        return
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    dx, dy = b - a
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    distance = np.hypot(x - a[0] - along * dx, y - a[1] - along * dy)
    cover = alpha * np.clip(radius + 0.5 - distance, 0, 1)[..., None]
    part = picture[low[1] : high[1], low[0] : high[0]]
    part[:] = np.rint(part * (1 - cover) + np.array(color, np.float32) * cover)


def _resize(belief: np.ndarray, size: tuple[int, int], cell_offset: float) -> np.ndarray:
    """Resize [h, w] to [H, W] in [0, 1], cell g at pixel H / h * g + cell_offset; NaN has no heat."""
    cells = np.nan_to_num(np.asarray(belief, np.float32), posinf=1.0)
    sx, sy = cells.shape[1] / size[1], cells.shape[0] / size[0]
    matrix = np.array([[sx, 0, -cell_offset * sx], [0, sy, -cell_offset * sy]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.clip(cv2.warpAffine(cells, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE), 0, 1)


def _glow(crop: np.ndarray, colors: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Blend colors over the grayed, darkened crop, as opaque as the heat is high."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[..., None]
    base = DIM * (0.8 * gray + 0.2 * crop)
    alpha = 0.95 * np.sqrt(heat)[..., None]
    return np.rint(base * (1 - alpha) + colors * alpha).astype(np.uint8)


def _panel(title: str, picture: np.ndarray) -> np.ndarray:
    """Add a title above the picture and a gap on its right."""
    height, width = picture.shape[:2]
    panel = np.full((height + TITLE_PX + GAP_PX, width + GAP_PX, 3), PAPER, np.uint8)
    panel[TITLE_PX : TITLE_PX + height, :width] = picture
    mask = text_mask(title)[:, :width]
    rows = slice(max(0, (TITLE_PX - len(mask)) // 2), TITLE_PX)
    mask = mask[: rows.stop - rows.start, :, None] / 255
    part = panel[rows.start : rows.start + len(mask), : mask.shape[1]]
    part[:] = np.rint(part * (1 - mask) + np.array(INK) * mask)
    return panel
