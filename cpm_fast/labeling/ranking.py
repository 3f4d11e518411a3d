"""The ranking of pictures to label next: where the network is unsure, contradicts itself, or sees something new."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from cpm_fast.inference import infer
from cpm_fast.labeling.frames import ExtractedFrame, small_gray
from cpm_fast.media.image import read_image
from cpm_fast.media.sources import Source
from cpm_fast.model.cpm import CPM
from cpm_fast.results import Result, Results
from cpm_fast.results.drawing import skeleton_overlay
from cpm_fast.results.marks import INK, put_text, text_mask
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write

CRITERIA = ("low_peaks", "stages", "mirrored", "jump", "novelty")
# Pictures that go through the network together; their belief maps are in memory.
BATCH = 16
# Frames of a video further apart than this are no neighbors.
NEIGHBOR_FRAMES = 30
TILE_PX, COLUMNS, CAPTION_PX, CAPTION_TEXT_PX = 240, 4, 26, 13


@dataclass(eq=False)
class RankedPicture:
    """A picture, the network's result, and the values of the criteria for labeling it, NaN where unknown.

    Distances are in sides of the subject's region.
    """

    image: str
    result: Result
    small: np.ndarray
    criteria: dict[str, float] = field(default_factory=dict)
    score: float = 0.0


def examine(folder: Path, images: Sequence[str], model: CPM, mirror: bool, progress: bool) -> list[RankedPicture]:
    """Run the network over pictures and compute the criteria that need one picture only.

    A picture that can't be read is left out with a warning.

    Args:
        folder: of the pictures.
        images: their names.
        model: the network.
        mirror: whether to compare with the mirrored picture, which doubles the time.
        progress: whether to show a bar.
    """
    found = []
    with tqdm(total=len(images), desc="suggest", unit="image", disable=not progress) as bar:
        for first in range(0, len(images), BATCH):
            names = images[first : first + BATCH]
            pictures = dict(readable(folder, names))
            bar.update(len(names))
            if not pictures:
                continue
            results = infer(as_sources(pictures), model=model, belief_maps=True, progress=False)
            flipped = infer_mirrored(pictures, model) if mirror else None
            for i, (name, picture) in enumerate(pictures.items()):
                result = results[i]
                criteria = {
                    "low_peaks": low_peaks(result),
                    "stages": stage_disagreement(result),
                    "mirrored": mirrored_disagreement(result, flipped[i], picture.shape[1]) if flipped else np.nan,
                }
                kept = Result(result.keypoints, result.scores, result.skeleton, name, result.size, result.rois)
                found.append(RankedPicture(name, kept, small_gray(picture), criteria))
    return found


def readable(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Read pictures of a folder one by one; warn of those that can't be read, and leave them out."""
    for name in names:
        try:
            yield name, read_image(folder / name)
        except (OSError, ValueError) as error:
            warnings.warn(f"left out {error}", stacklevel=2)


def as_sources(pictures: dict[str, np.ndarray]) -> list[Source]:
    """Return images [H, W, 3] uint8 BGR under the names that warnings and errors give them."""
    return [Source(name, picture) for name, picture in pictures.items()]


def infer_mirrored(pictures: dict[str, np.ndarray], model: CPM) -> Results:
    """Run the network over mirrored pictures, without the warnings that the pictures themselves cause."""
    mirrored = {f"{name}, mirrored": picture[:, ::-1].copy() for name, picture in pictures.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return infer(as_sources(mirrored), model=model, progress=False)


def low_peaks(result: Result) -> float:
    """Return 1 minus the mean peak of the least certain subject; 1 if nobody is found."""
    return max((1 - float(np.clip(scores, 0, 1).mean()) for scores in result.scores), default=1.0)


def stage_disagreement(result: Result) -> float:
    """Return the mean movement of a part from the last stage but one to the last, in sides of the map."""
    if result.belief_maps is None or result.belief_maps.shape[1] < 2 or not len(result):
        return np.nan
    parts = len(result.skeleton)
    maps = result.belief_maps[:, -2:, :parts]  # [N, 2, P, h, w]
    width = maps.shape[-1]
    places = maps.reshape(*maps.shape[:3], -1).argmax(axis=-1)
    points = np.stack([places % width, places // width], axis=-1)  # [N, 2, P, 2]
    moved = np.linalg.norm(points[:, 1] - points[:, 0], axis=-1).mean(axis=1)
    return float(moved.max() / width)


def mirrored_disagreement(result: Result, flipped: Result, width: int) -> float:
    """Return the mean distance of parts in the mirrored picture, mirrored back, from the pose, in region sides."""
    if len(result) != len(flipped) or not len(result):
        return np.nan
    back = flipped.keypoints[:, list(result.skeleton.mirror)] * (-1, 1) + (width - 1, 0)
    return max(
        min(float(np.nanmean(np.linalg.norm(points - other, axis=1))) for other in back) / roi.side
        for points, roi in zip(result.keypoints, result.rois, strict=True)
    )


def jumps(candidates: Sequence[RankedPicture], frames: Sequence[ExtractedFrame]) -> None:
    """Set `jump`: the distance of the pose from the middle of those shortly before and after in one subject's video."""
    by_image = {candidate.image: candidate for candidate in candidates}
    videos: dict[str, list[tuple[int, RankedPicture]]] = {}
    for frame in frames:
        candidate = by_image.get(frame.image)
        if candidate is not None and len(candidate.result) == 1:
            videos.setdefault(frame.video, []).append((frame.frame, candidate))
    for candidate in candidates:
        candidate.criteria["jump"] = np.nan
    for seen in videos.values():
        seen.sort(key=lambda pair: pair[0])
        for (before, a), (at, b), (after, c) in zip(seen, seen[1:], seen[2:], strict=False):
            if after - before > 2 * NEIGHBOR_FRAMES or not before < at < after:
                continue
            share = (at - before) / (after - before)
            between = (1 - share) * a.result.keypoints[0] + share * c.result.keypoints[0]
            distance = np.linalg.norm(b.result.keypoints[0] - between, axis=1)
            b.criteria["jump"] = float(np.nanmean(distance) / b.result.rois[0].side)


def novelty(candidates: Sequence[RankedPicture], labeled: np.ndarray) -> None:
    """Set `novelty`: the difference to the most similar labeled picture, gray levels; labeled is [K, h, w]."""
    for candidate in candidates:
        candidate.criteria["novelty"] = float(_distances(candidate.small, labeled).min()) if len(labeled) else np.nan


def rank(
    candidates: Sequence[RankedPicture], count: int, weights: dict[str, float] | None = None
) -> list[RankedPicture]:
    """Return the pictures to label next, best first.

    The score is the weighted mean of the ranks within each known criterion, from 0 to 1. The next pick is the best
    score times the picture's difference from those picked before, up to the median difference.

    Args:
        candidates: pictures without labels.
        count: their number, at most.
        weights: of the criteria; 1 each if not given.

    Raises:
        ValueError: a weight is of no criterion, or none is positive.
    """
    weights = dict.fromkeys(CRITERIA, 1.0) if weights is None else weights
    if not set(weights) <= set(CRITERIA) or not any(weight > 0 for weight in weights.values()):
        raise ValueError(f"weights must be of {', '.join(CRITERIA)} and one positive, got {weights}")
    if not candidates:
        return []
    totals, known = np.zeros(len(candidates)), np.zeros(len(candidates))
    for name, weight in weights.items():
        values = np.array([candidate.criteria.get(name, np.nan) for candidate in candidates])
        finite = np.isfinite(values)
        if finite.sum() > 1:
            totals[finite] += weight * _ranks(values[finite])
            known[finite] += weight
    scores = np.divide(totals, known, out=np.zeros_like(totals), where=known > 0)
    for candidate, score in zip(candidates, scores, strict=True):
        candidate.score = float(score)
    pictures = np.array([candidate.small for candidate in candidates])
    typical = float(np.median(_distances(pictures[0], pictures))) or 1.0
    apart = np.ones(len(candidates))
    picked: list[int] = []
    while len(picked) < min(count, len(candidates)):
        value = (scores + 1e-6) * apart
        value[picked] = -1
        best = int(value.argmax())
        picked.append(best)
        apart = np.minimum(apart, np.minimum(1, _distances(pictures[best], pictures) / typical))
    return [candidates[place] for place in picked]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 0 for the least to 1 for the largest, the same for equal values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts + 1) / 2
    return middles[places] / max(1, len(values) - 1)


def _distances(picture: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean difference in gray levels of a small picture to each of others [K, h, w]."""
    return np.abs(others.astype(np.float32) - picture.astype(np.float32)).mean(axis=(1, 2))


def save_table(picked: Sequence[RankedPicture], path: Path) -> None:
    """Write a CSV row per suggestion: rank, image, score and the criteria."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "image", "score", *CRITERIA])
    for number, candidate in enumerate(picked, 1):
        values = [candidate.criteria.get(name, np.nan) for name in CRITERIA]
        cells = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
        writer.writerow([number, candidate.image, f"{candidate.score:.4f}", *cells])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def contact_sheet(folder: Path, picked: Sequence[RankedPicture], skeleton: Skeleton) -> np.ndarray:
    """Draw the suggestions with the network's predictions, small, under rank and score: [H, W, 3] uint8 BGR."""
    tiles = []
    for number, candidate in enumerate(picked, 1):
        image = read_image(folder / candidate.image)
        zoom = min(TILE_PX / image.shape[0], TILE_PX / image.shape[1])
        size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
        way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(image, size, interpolation=way)
        for points, scores in zip(candidate.result.keypoints, candidate.result.scores, strict=True):
            picture = skeleton_overlay(picture, (points + 0.5) * zoom - 0.5, scores, skeleton, side=TILE_PX)
        tile = np.full((TILE_PX + CAPTION_PX, TILE_PX, 3), 255, np.uint8)
        top, left = (TILE_PX - size[1]) // 2, (TILE_PX - size[0]) // 2
        tile[CAPTION_PX + top : CAPTION_PX + top + size[1], left : left + size[0]] = picture
        caption = f"{number}  {candidate.score:.2f}  {Path(candidate.image).name[-24:]}"
        put_text(tile, text_mask(caption, CAPTION_TEXT_PX), (4, 4), INK)
        tiles.append(tile)
    while len(tiles) % COLUMNS:
        tiles.append(np.full_like(tiles[0], 255))
    return np.concatenate([np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)])
