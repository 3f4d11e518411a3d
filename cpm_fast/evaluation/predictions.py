"""Evaluation of predictions that were made elsewhere, from arrays or files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cpm_fast.data.files.matlab import read_arrays
from cpm_fast.data.image_names import MatchError, Names
from cpm_fast.data.sample import Dataset
from cpm_fast.evaluation.layouts import PredictedParts, from_arrays, order_in_words, order_of, read_npz
from cpm_fast.evaluation.network import PROGRESS_FROM_SAMPLES, SampleReader, score
from cpm_fast.evaluation.oks import ScoredSubjects
from cpm_fast.evaluation.outcome import Evaluation
from cpm_fast.evaluation.rule import Rule
from cpm_fast.results.formats.csv import from_csv
from cpm_fast.results.formats.files import DAMAGE
from cpm_fast.results.formats.json import from_json
from cpm_fast.results.formats.npz import from_npz
from cpm_fast.results.formats.plain import Read
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.limits import LARGEST_BYTES, check_file
from cpm_fast.system.progress import bar_wanted
from cpm_fast.system.words import in_short

SUFFIXES = (".mat", ".json", ".csv", ".npz")
RESULTS_HEADER = "header"
SHOWN = 3


def evaluate_predictions(
    predicted: np.ndarray, dataset: Dataset, *, rule: Rule | None = None, progress: bool = False
) -> Evaluation:
    """Score predictions that were made elsewhere, by the rules of `evaluate`.

    Args:
        predicted: [M, P, 2] or, of several stages, [T, M, P, 2] image pixels, one per sample of the dataset and in the
            order of its skeleton; NaN where a part was not found, which is a miss.
        dataset: annotated samples.
        rule: when a part is right; PCK@0.2 if not given.
        progress: whether to show a bar.

    Raises:
        ValueError: the shape does not fit, or no sample of the dataset can be read.

    Examples:
        >>> from cpm_fast.data import open_dataset
        >>> data = open_dataset("synthetic:2")
        >>> predicted = [data[i].parts_image for i in range(2)]
        >>> evaluate_predictions(predicted, data).stages[-1].mean
        1.0
    """
    values = np.asarray(predicted, dtype=np.float64)
    stages = values[None] if values.ndim == 3 else values
    wanted = (len(dataset), len(dataset.skeleton), 2)
    if stages.ndim != 4 or not len(stages) or stages.shape[1:] != wanted:
        raise ValueError(f"predicted must be {list(wanted)} or [T, ...] of that, got {list(values.shape)}")
    heights = np.full(stages.shape[:3], np.nan)
    parts = PredictedParts(stages, heights, dataset.skeleton.names, "an array")
    return evaluate_parts(parts, read_truth(dataset, progress), rule=rule)


def read_truth(dataset: Dataset, progress: bool | None = None) -> SampleReader:
    """Read the annotation of all samples of a dataset that can be read.

    Args:
        dataset: annotated samples.
        progress: whether to show a bar; if not given, for more than a few samples on a terminal.
    """
    reader = SampleReader(dataset, range(len(dataset)))
    show = bar_wanted(progress, len(dataset), PROGRESS_FROM_SAMPLES)
    for _ in tqdm(reader, total=len(dataset), desc=dataset.name, unit="sample", leave=False, disable=not show):
        pass
    return reader


def evaluate_parts(
    parts: PredictedParts, reader: SampleReader, *, source: str = "", rule: Rule | None = None
) -> Evaluation:
    """Score the predictions of a file.

    They are matched with the samples by the names of the images if the file has names and the dataset one of them, and
    otherwise by their order. Several subjects of one image are in the same order in both.

    Args:
        parts: of the file.
        reader: of the annotated samples, after `read_truth`.
        source: the name of the file.
        rule: when a part is right; PCK@0.2 if not given.

    Raises:
        MatchError: the samples can't be matched.
        ValueError: file and dataset share no part, or no sample could be read.
    """
    dataset = reader.dataset
    order = dataset.skeleton.order_from(parts.names)
    scored = [i for i, at in enumerate(order) if at >= 0]
    if not scored:
        raise ValueError(f"{dataset.name} has the parts {list(dataset.skeleton.names)}, the file {list(parts.names)}")
    rows, how = _rows(parts, reader, len(dataset))
    values = np.concatenate([parts.points, parts.heights[..., None]], axis=-1)
    missing = np.full((len(values), 1, *values.shape[2:]), np.nan)
    chosen = np.concatenate([values, missing], axis=1)[:, rows]  # row -1 is a miss
    reordered = np.where(np.array(order)[:, None] < 0, np.nan, chosen[:, :, order])
    found = reader.with_predictions(reordered, scored, "predictions", ())
    told_of = ", ".join(text for text in (source, parts.about, how) if text)
    return score([found], dataset, rule, told_of)


def read_predictions(
    path: str | Path,
    wanted: Skeleton,
    count: int,
    *,
    order: Sequence[str] | None = None,
    first_pixel: float | None = None,
) -> PredictedParts:
    """Read predictions from a file.

    .mat and .npz hold arrays (`layouts.from_arrays`); .json is one of ours or a list of COCO's results; .csv and .npz
    of ours are read too.

    Args:
        path: of the file; its suffix decides the format.
        wanted: the dataset's skeleton.
        count: of its samples.
        order: names of the parts, if the file has none and they are not the usual ones.
        first_pixel: coordinate of the first pixel's center; if None 1 in .mat, otherwise 0.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of predictions; the message names it.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: predictions must be a file {', '.join(SUFFIXES)}")
    check_file(path, LARGEST_BYTES)
    data = path.read_bytes()
    try:
        return _read(path.suffix.lower(), data, wanted, count, order, first_pixel)
    except DAMAGE as error:
        raise ValueError(f"{path}: not predictions that can be read: {in_short(error)}") from None


def _read(
    suffix: str,
    data: bytes,
    wanted: Skeleton,
    count: int,
    order: Sequence[str] | None,
    first_pixel: float | None,
) -> PredictedParts:
    if suffix in (".mat", ".npz"):
        arrays = read_arrays(data) if suffix == ".mat" else read_npz(data)
        if suffix == ".npz" and RESULTS_HEADER in arrays:
            return _of_results(from_npz(data), first_pixel)
        return from_arrays(arrays, wanted, count, order=order, matlab=suffix == ".mat", first_pixel=first_pixel)
    if suffix == ".csv":
        return _of_results(from_csv(data), first_pixel)
    content = json.loads(data)
    if isinstance(content, list):
        return _of_coco(content, wanted, order, first_pixel)
    return _of_results(from_json(data), first_pixel)


def _of_results(read: Read, first_pixel: float | None) -> PredictedParts:
    """Return every subject of every image, in order."""
    results, failures = read
    if not len(results):
        raise ValueError("it holds no image")
    names = results[0].skeleton.names
    if any(result.skeleton.names != names for result in results):
        raise ValueError("its images have several skeletons")
    points = np.concatenate([result.keypoints for result in results])[None].astype(np.float64)
    heights = np.concatenate([result.scores for result in results])[None].astype(np.float64)
    # A frame of a video has the name that it has in tables of labels.
    called = [result.name + ("" if result.frame is None else f" frame {result.frame}") for result in results]
    images = tuple(name for name, result in zip(called, results, strict=True) for _ in range(len(result)))
    # An image without a subject has no prediction: its samples are missed.
    empty = {name for name, result in zip(called, results, strict=True) if not len(result)}
    about = f"results, parts {order_in_words(names)}"
    return PredictedParts(
        points - (first_pixel or 0.0), heights, names, about, images, frozenset(empty | set(failures))
    )


def _of_coco(
    entries: Sequence[Any], wanted: Skeleton, order: Sequence[str] | None, first_pixel: float | None
) -> PredictedParts:
    """Read COCO's results, a list of {image_id, keypoints: x, y, number per part, score}; 0, 0, 0 is not found."""
    if not entries:
        raise ValueError("it holds no entry")
    rows = [np.array(entry["keypoints"], dtype=np.float64) for entry in entries]
    if rows[0].ndim != 1 or len(rows[0]) % 3 or not len(rows[0]) or any(row.shape != rows[0].shape for row in rows):
        raise ValueError("keypoints must be x, y, score of every part, of as many parts in every entry")
    table = np.stack(rows).reshape(len(rows), -1, 3)
    table[(table == 0).all(axis=2)] = np.nan
    names = tuple(order) if order is not None else order_of(table.shape[1], wanted)
    if len(names) != table.shape[1]:
        raise ValueError(f"it has {table.shape[1]} parts, {len(names)} were named")
    by_number = not all("file_name" in entry for entry in entries)
    images = tuple(str(entry["image_id" if by_number else "file_name"]) for entry in entries)
    # A subject is ranked by its own score; the parts' third numbers are scores for some, flags for others.
    scores = np.array([[float(entry.get("score", np.nan))] * len(names) for entry in entries])
    return PredictedParts(
        table[None, ..., :2] - (first_pixel or 0.0),
        scores[None],
        names,
        f"COCO's results, parts {order_in_words(names)}",
        images,
        by_number=by_number,
    )


def predicted_subjects(parts: PredictedParts, images: Mapping[str, str], skeleton: Skeleton) -> ScoredSubjects:
    """Return all predictions of a file for images of the dataset, which `oks.average_precision` matches.

    Args:
        parts: of the file.
        images: the dataset's, their names by what `ScoredSubjects.images` calls them.
        skeleton: the dataset's.

    Raises:
        MatchError: the file names no image of the dataset.
    """
    of_file: dict[str, str] = {}
    if parts.images is not None:
        known = Names(parts.images)
        found = {key: known.find(key if parts.by_number else name) for key, name in images.items()}
        of_file = {name: key for key, name in found.items() if name is not None}
    if not of_file:
        raise MatchError("average precision needs predictions with the names of their images; none is the dataset's")
    order = np.array(skeleton.order_from(parts.names))
    points = np.where(order[:, None] < 0, np.nan, parts.points[-1][:, order])
    rows = [row for row, image in enumerate(parts.images or ()) if image in of_file]
    names = [of_file[(parts.images or ())[row]] for row in rows]
    return ScoredSubjects(names, points[rows], np.nan_to_num(parts.heights[-1, rows]).mean(axis=1))


def _rows(parts: PredictedParts, reader: SampleReader, count: int) -> tuple[list[int], str]:
    """Return the row of the predictions of each sample that was read, -1 if it has none, and the way of matching."""
    predicted = parts.points.shape[1]
    if parts.images is not None:
        of_image = defaultdict(list)
        for row, image in enumerate(parts.images):
            of_image[image].append(row)
        images = _found(parts, [*of_image, *parts.failed], reader)
        if any(image is not None for image in images):
            return _by_name(of_image, images, reader.names), "matched by the names of the images"
    if predicted != count:
        named = "" if parts.images is None else "; no image of the dataset is named in the file"
        raise MatchError(
            f"predictions must be {count}, one per sample of {reader.dataset.name}, got {predicted}{named}; "
            "--last N scores the last N samples only"
        )
    return list(reader.indices), "matched by order"


def _found(parts: PredictedParts, names: Sequence[str], reader: SampleReader) -> list[str | None]:
    """Return the file's image of each sample that was read."""
    known = Names(names)
    return [known.find(name) for name in (reader.images if parts.by_number else reader.names)]


def _by_name(of_image: dict[str, list[int]], images: list[str | None], names: list[str]) -> list[int]:
    missing = [name for name, image in zip(names, images, strict=True) if image is None]
    if missing:
        raise MatchError(f"{len(missing)} of {len(names)} samples are not in the file: {', '.join(missing[:SHOWN])}")
    samples_of = defaultdict(list)
    for sample, image in enumerate(images):
        samples_of[image].append(sample)
    rows = [-1] * len(images)
    for image, samples in samples_of.items():
        found = of_image.get(str(image), [])
        if found and len(found) != len(samples):
            raise MatchError(
                f"{image}: {len(samples)} samples and {len(found)} predictions; which is whose is not known"
            )
        for sample, row in zip(samples, found, strict=False):
            rows[sample] = row
    return rows
