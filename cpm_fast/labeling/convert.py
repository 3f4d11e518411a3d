"""Conversion of other programs' labels to a folder for labeling, and back."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from cpm_fast.data.formats.sleap import SleapFrame, SleapLabels
from cpm_fast.data.open import open_dataset
from cpm_fast.data.own_skeleton import SKELETON_FILE
from cpm_fast.labeling.folder import PRIVATE
from cpm_fast.labeling.frames import ExtractedFrame, read_manifest, write_manifest
from cpm_fast.labeling.naming import find_skeleton, write_skeleton
from cpm_fast.labeling.predictions import FolderPredictions
from cpm_fast.labeling.store import LABELS_FILE
from cpm_fast.labeling.table import LABELED, VISIBLE, LabeledSubject, LabelTable
from cpm_fast.media.image import read_image
from cpm_fast.media.video import Video
from cpm_fast.results.drawing import write_picture
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write
from cpm_fast.system.limits import has_file

SLEAP_PREDICTIONS = "sleap"


@dataclass(eq=False)
class _Target:
    """The folder to write."""

    folder: Path
    skeleton: Skeleton
    table: LabelTable

    @classmethod
    def new(cls, folder: Path, skeleton: Skeleton) -> _Target:
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder}: is not empty; give another -o")
        folder.mkdir(parents=True, exist_ok=True)
        write_skeleton(skeleton, folder / SKELETON_FILE)
        return cls(folder, skeleton, LabelTable(folder / LABELS_FILE, skeleton))

    def add(self, image: str, subjects: Sequence[LabeledSubject]) -> None:
        before = self.table.subjects(image)
        self.table.replace(image, [*before, *subjects], LABELED)


def import_labels(source: str, output: Path, progress: bool = False) -> tuple[int, int]:
    """Convert labels of any dataset that `train` reads, or of SLEAP, with their pictures to a folder for `label`.

    Args:
        source: a file or folder, as for `open_dataset`, or a .slp file.
        output: the folder, which must not hold anything yet.
        progress: whether to show a bar.

    Returns:
        The numbers of pictures and of subjects.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: a source that can't be read; the message names it.
    """
    if source.lower().endswith(".slp"):
        return _import_sleap(SleapLabels(source), output, progress)
    dataset = open_dataset(source)
    target = _Target.new(output, dataset.skeleton)
    names = _FileNames()
    for index in tqdm(range(len(dataset)), desc="convert", unit="subject", disable=not progress):
        sample = dataset[index]
        image = names.of(sample.name)
        picture = output / image
        if not picture.exists():
            picture.parent.mkdir(parents=True, exist_ok=True)
            where: Callable[[str], Path] | None = getattr(dataset, "path", None)
            file = where(sample.name) if callable(where) else None
            if file is not None and has_file(file):
                shutil.copyfile(file, picture)
            else:
                write_picture(sample.image, picture)
        hidden = np.zeros(len(sample.labeled), bool) if sample.occluded is None else sample.occluded
        points = tuple(
            (float(x), float(y), VISIBLE - int(covered)) if there else None
            for (x, y), there, covered in zip(sample.parts_image, sample.labeled, hidden, strict=True)
        )
        box = None if sample.box_image is None else tuple(map(float, sample.box_image))
        target.add(image, [LabeledSubject(points, box)])  # type: ignore[arg-type]
    target.table.write()
    return len(target.table.rows), len(dataset)


def _import_sleap(labels: SleapLabels, output: Path, progress: bool) -> tuple[int, int]:
    target = _Target.new(output, labels.skeleton)
    (output / PRIVATE).mkdir()
    predictions = FolderPredictions(output / PRIVATE, labels.skeleton, SLEAP_PREDICTIONS)
    manifest: list[ExtractedFrame] = []
    subjects = 0
    by_video: dict[int, dict[int, SleapFrame]] = defaultdict(dict)
    for frame in labels.frames:
        by_video[frame.video][frame.frame] = frame
    bar = tqdm(total=len(labels.frames), desc="convert", unit="frame", disable=not progress)
    stems: set[str] = set()
    for video, frames in sorted(by_video.items()):
        stem = PurePosixPath(labels.videos[video].replace("\\", "/")).stem or "video"
        stem = f"{stem}-v{video}" if stem in stems else stem
        stems.add(stem)
        inside = labels.embedded(video)
        pictures = labels.embedded_pictures(video) if inside else _pictures(labels.video_path(video), set(frames))
        for number, image in pictures:
            if number not in frames:
                continue
            name = f"{stem}-{number:06d}.png"
            write_picture(image, output / name)
            frame = frames[number]
            placed = [LabeledSubject(tuple(_point(point) for point in points)) for points in frame.labeled]
            if placed:
                target.add(name, placed)
            if len(frame.predicted):
                predictions.put(name, list(frame.predicted))
            subjects += len(placed)
            manifest.append(ExtractedFrame(name, labels.videos[video], number, 0.0, "sleap"))
            bar.update()
    bar.close()
    target.table.write()
    predictions.save()
    write_manifest(output, manifest)
    return len(manifest), subjects


def _point(point: np.ndarray) -> tuple[float, float, int] | None:
    return (float(point[0]), float(point[1]), int(point[2])) if np.isfinite(point).all() else None


def _pictures(path: Path, wanted: set[int]) -> Iterable[tuple[int, np.ndarray]]:
    """Yield numbers and pictures of some frames of a video."""
    video, left = Video(path), len(wanted)
    try:
        for frame in video.frames(min(wanted)):
            if frame.index in wanted:
                yield frame.index, frame.image
                left -= 1
            if not left:
                return
    finally:
        video.close()
    raise ValueError(f"{path}: must have the labeled frames, but ends {left} before the last")


class _FileNames:
    """File names within a folder by the datasets' names of pictures, no two the same."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    def of(self, name: str) -> str:
        if name in self.taken:
            return self.taken[name]
        path = PurePosixPath(name.replace("\\", "/"))
        safe = not path.is_absolute() and ".." not in path.parts and ":" not in name
        free = str(path if safe else PurePosixPath(path.name))
        if not path.suffix or (not safe and "[" in name):
            free = f"{len(self.taken):06d}.png"
        stem, number = free, 1
        while free in self.taken.values():
            number += 1
            free = str(PurePosixPath(stem).with_stem(f"{PurePosixPath(stem).stem}-{number}"))
        self.taken[name] = free
        return free


def export_deeplabcut(folder: Path, output: Path, scorer: str = "cpm_fast") -> list[Path]:
    """Write a folder's labels in DeepLabCut's form: labeled-data/VIDEO/CollectedData_SCORER.csv, and .h5 with it.

    Pictures are copied beside the tables. Several subjects in a picture become individuals animal1, animal2, ... The
    .h5 is written if pandas and tables are installed, the extra deeplabcut.

    Args:
        folder: with labels.csv and pictures.
        output: the project's folder.
        scorer: who labeled.

    Returns:
        The tables written.

    Raises:
        FileNotFoundError: there is no labels.csv.
        FileExistsError: a table is there already.
    """
    table = _labels(folder)
    videos = {frame.image: frame.image.rpartition("-")[0] for frame in read_manifest(folder)}
    groups: dict[str, list[str]] = defaultdict(list)
    for image in table.rows:
        if table.subjects(image) and has_file(folder / image):
            groups[videos.get(image) or _dashed(str(PurePosixPath(image).parent)) or folder.resolve().name].append(
                image
            )
    several = max((len(table.subjects(image)) for images in groups.values() for image in images), default=1)
    written = []
    for group, images in groups.items():
        place = output / "labeled-data" / group
        file = place / f"CollectedData_{scorer}.csv"
        if file.exists():
            raise FileExistsError(f"{file}: is there already; give another -o")
        place.mkdir(parents=True, exist_ok=True)
        rows = []
        for image in images:
            name = _dashed(image.removeprefix(str(PurePosixPath(image).parent) + "/"))
            shutil.copyfile(folder / image, place / name)
            values = np.full((several, len(table.skeleton), 2), np.nan)
            for number, subject in enumerate(table.subjects(image)):
                values[number] = [point[:2] if point else (np.nan, np.nan) for point in subject.points]
            rows.append((("labeled-data", group, name), values.ravel()))
        owners = [f"animal{number + 1}" for number in range(several)] if several > 1 else None
        written += write_deeplabcut(file, scorer, owners, table.skeleton.names, ("x", "y"), rows)
    return written


def write_deeplabcut(
    path: Path,
    scorer: str,
    individuals: Sequence[str] | None,
    parts: Sequence[str],
    coords: Sequence[str],
    rows: Sequence[tuple[tuple[str, ...], np.ndarray]],
) -> list[Path]:
    """Write a table as DeepLabCut does, in CSV, and as .h5 if pandas and tables are installed.

    Args:
        path: of the .csv.
        scorer: first level of the columns.
        individuals: second level, or None where the table has one animal.
        parts: body parts.
        coords: x and y, of predictions also likelihood.
        rows: index, of one or three levels, and values [individuals x parts x coords].
    """
    owners: Sequence[str | None] = individuals or [None]
    columns = [
        (scorer, *([owner] if owner else []), part, coord) for owner in owners for part in parts for coord in coords
    ]
    levels = ["scorer", *(["individuals"] if individuals else []), "bodyparts", "coords"]
    width = len(rows[0][0]) if rows else 1
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, level in enumerate(levels):
        writer.writerow([level, *[""] * (width - 1), *[column[number] for column in columns]])
    for index, values in rows:
        writer.writerow([*index, *["" if np.isnan(value) else repr(round(float(value), 4)) for value in values]])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
    try:
        import pandas
        import tables  # noqa: F401
    except ImportError:
        return [path]
    keys = [index for index, _ in rows]
    frame = pandas.DataFrame(
        np.array([values for _, values in rows]).reshape(len(rows), len(columns)),
        index=pandas.MultiIndex.from_tuples(keys) if width > 1 else pandas.Index([_number_of(key[0]) for key in keys]),
        columns=pandas.MultiIndex.from_tuples(columns, names=levels),
    )
    frame.to_hdf(path.with_suffix(".h5"), key="df_with_missing", mode="w")
    return [path, path.with_suffix(".h5")]


def export_coco(folder: Path, output: Path) -> None:
    """Write a folder's labels as COCO's key points: one .json that names the pictures relative to itself.

    Raises:
        FileNotFoundError: there is no labels.csv.
    """
    table = _labels(folder)
    skeleton = table.skeleton
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in table.rows:
        subjects = table.subjects(image)
        if not has_file(folder / image) or (not subjects and table.state(image) is None):
            continue
        height, width = read_image(folder / image).shape[:2]
        name = Path(os.path.relpath((folder / image).resolve(), output.resolve().parent)).as_posix()
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for subject in subjects:
            placed = [point for point in subject.points if point]
            if not placed:
                continue
            xs, ys = [point[0] for point in placed], [point[1] for point in placed]
            left, top, right, bottom = subject.box or (min(xs), min(ys), max(xs), max(ys))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "iscrowd": 0,
                    "keypoints": [value for point in subject.points for value in (point or (0, 0, 0))],
                    "num_keypoints": len(placed),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                }
            )
    limbs = [[a + 1, b + 1] for a, b in skeleton.limb_indices]
    category = {"id": 1, "name": skeleton.name, "keypoints": list(skeleton.names), "skeleton": limbs}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    with atomic_write(output) as file:
        file.write((json.dumps(content, allow_nan=False) + "\n").encode())


def _labels(folder: Path) -> LabelTable:
    path = folder / LABELS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; cpm-fast label writes it")
    return LabelTable(path, find_skeleton(folder, None, path))


def _dashed(name: str) -> str:
    return "" if name == "." else name.replace("/", "-")


def _number_of(text: str) -> int | str:
    return int(text) if text.isdigit() else text
