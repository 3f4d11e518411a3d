"""Extraction of frames worth labeling from videos: different from each other, spread evenly, or hard for a network."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.inference import infer
from cpm_fast.media.image import read_image, shown
from cpm_fast.media.sources import Source
from cpm_fast.media.video import Video
from cpm_fast.model.cpm import CPM
from cpm_fast.results.drawing import write_picture
from cpm_fast.system.files import atomic_write, text_of_name
from cpm_fast.system.limits import file_exists, has_file
from cpm_fast.system.locks import folder_lock
from cpm_fast.system.numbers import is_whole
from cpm_fast.system.words import in_short

KMEANS, UNIFORM, UNCERTAINTY = "kmeans", "uniform", "uncertainty"
WAYS = (KMEANS, UNIFORM, UNCERTAINTY)
MANIFEST = "frames.csv"
COLUMNS = ("image", "video", "frame", "seconds", "by")
SMALL = (32, 24)  # width, height
# In a long video every second, fourth, ... frame is compared, so that this many are in memory.
MOST_SMALL = 8192
# OpenCV's seeds have 32 bits.
MOST_SEED = 2**31 - 1
# Two frames whose small pictures differ by less, gray levels on average, show the same.
SAME_LEVELS = 1.5
# A network is run on this many times the requested frames.
LOOKED_AT = 8


@dataclass(frozen=True, eq=False)
class SmallFrames:
    """The frames of a video, small: numbers [M], seconds [M] and gray pictures [M, 24, 32] uint8."""

    frames: np.ndarray
    seconds: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True)
class ExtractedFrame:
    """A frame that was extracted: the picture's name, its video, number from 0, time, and how it was chosen."""

    image: str
    video: str
    frame: int
    seconds: float
    by: str


def small_gray(image: np.ndarray) -> np.ndarray:
    """Return a picture [H, W, 3] as [24, 32] uint8 gray levels, by which frames are compared."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.resize(gray, SMALL, interpolation=cv2.INTER_AREA)


def read_small(video: Video) -> SmallFrames:
    """Decode a video once and keep its frames small, at most MOST_SMALL of them, evenly."""
    frames: list[int] = []
    seconds: list[float] = []
    pictures: list[np.ndarray] = []
    step = 1
    for frame in video.frames():
        if frame.index % step:
            continue
        frames.append(frame.index)
        seconds.append(frame.seconds)
        pictures.append(small_gray(frame.image))
        if len(frames) == MOST_SMALL:
            frames, seconds, pictures, step = frames[::2], seconds[::2], pictures[::2], 2 * step
    return SmallFrames(np.array(frames), np.array(seconds), np.array(pictures))


def choose_new(pictures: np.ndarray, slots: Sequence[Sequence[int]], known: np.ndarray) -> list[int]:
    """Choose from each slot the first picture that shows something new.

    Args:
        pictures: [M, h, w] uint8.
        slots: places among the pictures, the best of each slot first.
        known: [K, h, w] uint8, existing pictures.

    Returns:
        Places, at most one per slot, in rising order.
    """
    seen = list(known.astype(np.float32))
    chosen = []
    for slot in slots:
        for place in slot:
            picture = pictures[place].astype(np.float32)
            if all(np.abs(picture - other).mean() >= SAME_LEVELS for other in seen):
                seen.append(picture)
                chosen.append(place)
                break
    return sorted(chosen)


def uniform_slots(count: int, slots: int) -> list[list[int]]:
    """Return equal stretches of `count` pictures, each tried from its middle."""
    edges = np.linspace(0, count, min(slots, count) + 1).round().astype(int)
    spans = [np.arange(a, b) for a, b in pairwise(edges)]
    return [span[np.argsort(abs(span - span.mean()), kind="stable")].tolist() for span in spans]


def kmeans_slots(pictures: np.ndarray, slots: int, seed: int) -> list[list[int]]:
    """Return groups of pictures that look alike, each tried from its middle, the largest group first.

    Args:
        pictures: [M, h, w] uint8.
        slots: number of groups.
        seed: of the first guess.
    """
    data = pictures.reshape(len(pictures), -1).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.5)
    cv2.setRNGSeed(seed)
    first = np.zeros((len(data), 1), np.int32)
    _, labels, centers = cv2.kmeans(data, min(slots, len(data)), first, stop, 1, cv2.KMEANS_PP_CENTERS)
    distances = np.linalg.norm(data - centers[labels[:, 0]], axis=1)
    groups = [np.flatnonzero(labels[:, 0] == group) for group in range(len(centers))]
    groups.sort(key=len, reverse=True)
    return [group[np.argsort(distances[group], kind="stable")].tolist() for group in groups if len(group)]


def take_frames(
    path: Path,
    folder: Path,
    count: int,
    *,
    by: str = KMEANS,
    model: CPM | None = None,
    seed: int = 0,
    progress: bool | None = False,
) -> list[ExtractedFrame]:
    """Write frames of a video as PNG into a folder, and note them in its frames.csv.

    Frames that look like a chosen or an earlier one are skipped, so that there may be fewer, and a second call takes
    others.

    Args:
        path: of the video.
        folder: for the pictures, made if it does not exist.
        count: their number, at most.
        by: "kmeans": frames that look different (as DeepLabCut does); "uniform": spread over the video; "uncertainty":
            those in which the network's peaks are lowest.
        model: the network, for "uncertainty".
        seed: of k-means, 0 to 2^31 - 1.
        progress: whether the network's work shows a bar; None: on a terminal.

    Raises:
        FileNotFoundError: no such video.
        ValueError: it can't be decoded, count, by or seed is wrong, or a network is missing.
        FolderInUse: another process takes frames into the folder.
    """
    if not is_whole(count) or count < 1:
        raise ValueError(f"count must be at least 1, got {count!r}")
    if not is_whole(seed) or not 0 <= seed <= MOST_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MOST_SEED}, got {seed!r}")
    if by not in WAYS:
        raise ValueError(f"by must be one of {', '.join(WAYS)}, got {by!r}")
    if (by == UNCERTAINTY) != (model is not None):
        raise ValueError("by uncertainty needs a model, and only that; give --model with --by uncertainty")
    folder.mkdir(parents=True, exist_ok=True)
    # Two processes would each note their own frames only.
    with folder_lock(folder):
        return _take_frames(path, folder, count, by, model, seed, progress)


def _take_frames(
    path: Path, folder: Path, count: int, by: str, model: CPM | None, seed: int, progress: bool | None
) -> list[ExtractedFrame]:
    manifest = read_manifest(folder)
    name, stem = _video_name(path, folder), _stem(path, folder, manifest)
    found = _small_of(path)
    mine = [frame for frame in manifest if frame.video == name]
    taken = {frame.frame for frame in mine}
    there = [folder / frame.image for frame in mine if has_file(folder / frame.image)]
    known = np.array([small_gray(read_image(picture)) for picture in there], np.uint8).reshape(-1, *SMALL[::-1])
    if by == UNIFORM:
        slots = uniform_slots(len(found.frames), count)
    elif model is None:
        slots = kmeans_slots(found.pictures, count, seed)
    else:
        looked = choose_new(found.pictures, uniform_slots(len(found.frames), LOOKED_AT * count), known)
        slots = [[place] for place in _by_doubt(path, found, looked, model, progress)]
    # The candidates of a network already differ from each other.
    picked = [slot[0] for slot in slots[:count]] if by == UNCERTAINTY else choose_new(found.pictures, slots, known)
    places = {int(found.frames[place]): place for place in picked}
    wanted = sorted(set(places) - taken)
    written = []
    for index, image in zip(wanted, _frames(path, wanted), strict=True):
        picture = folder / f"{stem}-{index:06d}.png"
        if not picture.exists():
            write_picture(image, picture)
        written.append(ExtractedFrame(picture.name, name, index, round(float(found.seconds[places[index]]), 4), by))
    write_manifest(folder, [*manifest, *written])
    return written


def read_manifest(folder: Path) -> list[ExtractedFrame]:
    """Return the frames that a folder's frames.csv names; none if there is no such file.

    Raises:
        ValueError: it is damaged; the message names it.
    """
    path = folder / MANIFEST
    if not file_exists(path):
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [
                ExtractedFrame(row["image"], row["video"], int(row["frame"]), float(row["seconds"]), row["by"])
                for row in csv.DictReader(file, strict=True)
            ]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{path}: not a table of frames with the columns {', '.join(COLUMNS)}: {in_short(error)}"
        ) from None


def write_manifest(folder: Path, frames: Sequence[ExtractedFrame]) -> None:
    """Write frames.csv, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(frame, column) for column in COLUMNS] for frame in frames)
    with atomic_write(folder / MANIFEST) as file:
        file.write(text.getvalue().encode())


def _by_doubt(path: Path, found: SmallFrames, looked: list[int], model: CPM, progress: bool | None) -> list[int]:
    """Return the places of frames, those with the lowest mean peak first."""
    wanted = [int(found.frames[place]) for place in looked]
    images = [
        Source(f"{shown(path)} frame {frame}", image)
        for frame, image in zip(wanted, _frames(path, wanted), strict=True)
    ]
    results = infer(images, model=model, progress=progress)
    heights = [float(result.scores.mean(axis=1).min()) if len(result) else 0.0 for result in results]
    return [looked[i] for i in np.argsort(heights, kind="stable")]


def _small_of(path: Path) -> SmallFrames:
    video = Video(path)
    try:
        return read_small(video)
    finally:
        video.close()


def _frames(path: Path, wanted: Sequence[int]) -> list[np.ndarray]:
    """Return the pictures of some frames, in rising order."""
    video, left, images = Video(path), set(wanted), {}
    try:
        for frame in video.frames(min(left, default=0)):
            if frame.index in left:
                images[frame.index] = frame.image
                left.discard(frame.index)
            if not left:
                break
    finally:
        video.close()
    return [images[index] for index in wanted]


def _video_name(path: Path, folder: Path) -> str:
    """Return the video's path in the manifest, relative to the folder if possible, as text."""
    try:
        name = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        name = path.resolve().as_posix()
    return text_of_name(name)


def _stem(path: Path, folder: Path, manifest: Sequence[ExtractedFrame]) -> str:
    """Return the stem of the names of a video's pictures; two videos of one name get two stems."""
    name = _video_name(path, folder)
    owners = {frame.image.rpartition("-")[0]: frame.video for frame in manifest}
    for stem, owner in owners.items():
        if owner == name:
            return stem
    own = text_of_name(path.stem)
    stem, number = own, 1
    while stem in owners:
        number += 1
        stem = f"{own}-v{number}"
    return stem
