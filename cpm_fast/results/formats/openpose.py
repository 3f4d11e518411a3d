"""Key points in the files of OpenPose, one per image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.plain import triples
from cpm_fast.system.files import atomic_write, free_stems

OPENPOSE = "openpose"
OPENPOSE_VERSION = 1.3
OPENPOSE_SUFFIX = "_keypoints.json"
# Keys of an OpenPose file besides the body; readers expect them.
PLACES = ("pose", "face", "hand_left", "hand_right")
OPENPOSE_EMPTY = (
    *(f"{place}_keypoints_2d" for place in PLACES if place != "pose"),
    *(f"{place}_keypoints_3d" for place in PLACES),
)


def save_openpose(results: Sequence[Entry], path: Path) -> None:
    """Write one file per image with OpenPose's keys: version, people, and each one's pose_keypoints_2d.

    Triples x, y, score are in the order of the skeleton's parts, 0, 0, 0 for a missing part. The 14 parts of
    networks in the release's order are the first 14 of OpenPose's MPI model.

    Args:
        results: the images.
        path: a .json file for one image; otherwise a folder, which gets <image>_keypoints.json of each.

    Raises:
        ValueError: several images for one file.
    """
    if path.suffix.lower() == ".json":
        if len(results) != 1:
            raise ValueError(f"{path}: OpenPose has one file per image; for {len(results)} images give a folder")
        _write(_openpose(results[0]), path)
        return
    path.mkdir(parents=True, exist_ok=True)
    for result, stem in zip(results, free_stems([result.name for result in results]), strict=True):
        _write(_openpose(result), path / (stem + OPENPOSE_SUFFIX))


def _openpose(result: Entry) -> dict[str, Any]:
    empty: dict[str, list[float]] = {key: [] for key in OPENPOSE_EMPTY}
    people = [
        {"person_id": [result.ids[i] if result.ids else -1], "pose_keypoints_2d": triples(result, i), **empty}
        for i in range(len(result))
    ]
    return {"version": OPENPOSE_VERSION, "people": people}


def _write(content: Any, path: Path) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(content, allow_nan=False) + "\n").encode())
