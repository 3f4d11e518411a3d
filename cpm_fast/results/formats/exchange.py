"""Results in the forms that other programs read: COCO's results and OpenPose's files, one an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.results.result import Result
from cpm_fast.system.files import atomic_write

COCO, OPENPOSE = "coco", "openpose"
OPENPOSE_VERSION = 1.3
OPENPOSE_SUFFIX = "_keypoints.json"
# What an OpenPose file has besides the body; readers expect the keys.
OPENPOSE_EMPTY = (
    "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d", "pose_keypoints_3d", "face_keypoints_3d",
    "hand_left_keypoints_3d", "hand_right_keypoints_3d",
)  # fmt: skip
PERSON = 1


def save_coco(results: Sequence[Result], path: Path) -> None:
    """One list of subjects, as `COCO.loadRes` reads it (cocodataset.org, results format, keypoints).

    An entry has image_id, category_id 1, keypoints (x, y, score of every part; 0, 0, 0 where there is none), score
    (the mean over the parts) and, beyond COCO's, file_name. image_id is the number that the file is called, as COCO's
    are, where every name is a number of its own; otherwise the image's place among the results, from 1.
    """
    entries = [
        {
            "image_id": number,
            "file_name": Path(result.name).name,
            "category_id": PERSON,
            "keypoints": _triples(result, i),
            "score": float(np.nan_to_num(result.scores[i]).mean()),
        }
        for number, result in zip(_image_ids(results), results, strict=True)
        for i in range(len(result))
    ]
    _write(entries, path)


def save_openpose(results: Sequence[Result], path: Path) -> None:
    """One file an image, of OpenPose's keys: version, people, and each one's pose_keypoints_2d.

    Triples x, y, score stand in the order of the skeleton's parts, 0, 0, 0 where there is none. The 14 parts of
    networks in the release's order are the first 14 of OpenPose's MPI model.

    Args:
        results: the images.
        path: a .json file for one image; otherwise a folder, which gets <image>_keypoints.json of each.

    Raises:
        ValueError: several images for one file.
    """
    if path.suffix.lower() == ".json":
        if len(results) != 1:
            raise ValueError(f"{path}: OpenPose has one file an image; for {len(results)} images give a folder")
        _write(_openpose(results[0]), path)
        return
    path.mkdir(parents=True, exist_ok=True)
    for result, stem in zip(results, free_stems([result.name for result in results]), strict=True):
        _write(_openpose(result), path / (stem + OPENPOSE_SUFFIX))


def free_stems(names: Sequence[str]) -> list[str]:
    """A file name's stem for each image, no two the same."""
    taken: set[str] = set()
    stems = []
    for name in names:
        stem = Path(name).stem or "picture"
        free, number = stem, 1
        while free in taken:
            number += 1
            free = f"{stem}-{number}"
        taken.add(free)
        stems.append(free)
    return stems


def _openpose(result: Result) -> dict[str, Any]:
    empty: dict[str, list[float]] = {key: [] for key in OPENPOSE_EMPTY}
    people = [{"person_id": [-1], "pose_keypoints_2d": _triples(result, i), **empty} for i in range(len(result))]
    return {"version": OPENPOSE_VERSION, "people": people}


def _triples(result: Result, subject: int) -> list[float]:
    table = np.concatenate([result.keypoints[subject], result.scores[subject, :, None]], axis=1)  # [P, 3]
    known = np.isfinite(table).all(axis=1, keepdims=True)
    return [round(float(value), 4) for value in np.where(known, table, 0).ravel()]


def _image_ids(results: Sequence[Result]) -> list[int]:
    stems = [Path(result.name).stem for result in results]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(results) + 1))


def _write(content: Any, path: Path) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(content, allow_nan=False) + "\n").encode())
