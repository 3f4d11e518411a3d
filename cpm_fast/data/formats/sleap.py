"""SLEAP's label files (.slp): instances that a person placed, and those that a network predicted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.data.files.hdf5 import array, check_hdf5, dataset, open_hdf5
from cpm_fast.data.own_skeleton import skeleton_of
from cpm_fast.data.pictures import Pictures
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import parse_json
from cpm_fast.system.numbers import is_whole
from cpm_fast.system.words import in_short

USER, PREDICTED = 0, 1
# Before this version of the format the first pixel's corner was (0, 0); since then its center is.
CENTERED_FORMAT = 1.1
BODY, SYMMETRY = 1, 2
MAX_HEADER_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class SleapFrame:
    """One labeled frame.

    Args:
        video: number of the video.
        frame: number of the frame in it, from 0.
        labeled: [N, P, 3] x, y, visibility (1 hidden, 2 visible; NaN where not labeled) of the N placed subjects.
        predicted: [K, P, 3] x, y, score of the K predicted subjects that nobody corrected.
    """

    video: int
    frame: int
    labeled: np.ndarray
    predicted: np.ndarray


class SleapLabels:
    """A project of SLEAP (Pereira et al. 2022), read whole but for its pictures; 0-based pixels, centers at integers.

    Args:
        path: of the .slp file, or of a .pkg.slp with embedded pictures.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or with several skeletons; the message names it.
        RuntimeError: h5py is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_hdf5(self.path)
        with open_hdf5(self.path) as file:
            header = file.get("metadata")
            if header is None or "json" not in header.attrs:
                raise ValueError("must have a group metadata with an attribute json, as SLEAP writes")
            content = parse_json(_text(header.attrs["json"]))
            self.skeleton = _skeleton(content, self.path.stem)
            # The file's order of a skeleton's nodes is that of its points.
            shift = 0.0 if float(header.attrs.get("format_id", 1.0)) >= CENTERED_FORMAT else 0.5
            self.videos = [_video(line) for line in _lines(file, "videos_json")]
            self.frames = list(_frames(file, len(self.skeleton), shift))

    def video_path(self, video: int) -> Path:
        """Return the path of the video of a number: the path in the file, or the first end of it that exists."""
        name, beside = self.videos[video], self.path.parent
        pictures = Pictures([Path(), beside])
        pictures.warn_of_foreign_paths(self.path.name, [(name, beside)])
        return pictures.path(name, beside)

    def embedded(self, video: int) -> bool:
        """Return whether the file itself holds the pictures of a video."""
        return self.videos[video] in (".", self.path.name)

    def embedded_pictures(self, video: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield numbers and pictures [H, W, 3] uint8 BGR of the frames that the file holds."""
        with open_hdf5(self.path) as file:
            group = file.get(f"video{video}")
            if group is None:
                raise ValueError(f"must hold the pictures of video {video}, got {sorted(file)[:8]}")
            numbers = array(group, "frame_numbers", "iu", 1)
            pictures = group["video"]
            if pictures.external or pictures.is_virtual or len(pictures) != len(numbers):
                raise ValueError(f"video{video}/video must be stored in the file, one per frame number")
            for place, number in enumerate(numbers):
                data = np.asarray(pictures[place]).astype(np.uint8).ravel()
                image = cv2.imdecode(data, cv2.IMREAD_COLOR)
                if image is None:
                    raise ValueError(f"video{video}: frame {number} can't be decoded")
                yield int(number), image


def _skeleton(content: Any, name: str) -> Skeleton:
    try:
        names = [str(node["name"] if isinstance(node, dict) else node).strip() for node in content["nodes"]]
        skeletons = content["skeletons"]
        if len(skeletons) != 1:
            raise ValueError(f"must have one skeleton, got {len(skeletons)}")
        order = [names[_number(node["id"])] for node in skeletons[0]["nodes"]]
        limbs, pairs = [], []
        kinds: list[int] = []
        for link in skeletons[0]["links"]:
            ends = (names[_number(link["source"])], names[_number(link["target"])])
            kind = link["type"]
            if "py/id" in kind:
                kind = kinds[_number(kind["py/id"]) - 1]
            else:
                kind = _number(kind["py/reduce"][1]["py/tuple"][0])
                kinds.append(kind)
            if kind == BODY:
                limbs.append(ends)
            elif kind == SYMMETRY and ends[::-1] not in pairs:
                pairs.append(ends)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"metadata is not SLEAP's: {in_short(error)}") from None
    skeleton = skeleton_of(name, order, limbs)
    return Skeleton(name, tuple(order), tuple(limbs), tuple(pairs)) if pairs else skeleton


def _frames(file: Any, parts: int, shift: float) -> Iterator[SleapFrame]:
    frames, instances = (np.asarray(dataset(file, key, "V", 1)[()]) for key in ("frames", "instances"))
    points, predicted = (np.asarray(dataset(file, key, "V", 1)[()]) for key in ("points", "pred_points"))
    for frame in frames:
        first, end = int(frame["instance_id_start"]), int(frame["instance_id_end"])
        if not 0 <= first <= end <= len(instances):
            raise ValueError(f"frame {frame['frame_id']}: instances {first} to {end} are not all there")
        rows = instances[first:end]
        # A prediction that a person began to correct stands beside the correction.
        begun = {int(row["from_predicted"]) for row in rows if row["instance_type"] == USER}
        labeled = [_points(row, points, parts, shift, False) for row in rows if row["instance_type"] == USER]
        open_ = [
            _points(row, predicted, parts, shift, True)
            for place, row in enumerate(rows, first)
            if row["instance_type"] == PREDICTED and place not in begun
        ]
        shape = (-1, parts, 3)
        yield SleapFrame(
            int(frame["video"]),
            int(frame["frame_idx"]),
            np.array(labeled).reshape(shape),
            np.array(open_).reshape(shape),
        )


def _points(row: Any, points: np.ndarray, parts: int, shift: float, scores: bool) -> np.ndarray:
    first, end = int(row["point_id_start"]), int(row["point_id_end"])
    if not 0 <= first <= end <= len(points) or end - first != parts:
        raise ValueError(f"an instance must have {parts} points, got {first} to {end} of {len(points)}")
    rows = points[first:end]
    last = rows["score"] if scores else np.where(rows["visible"], 2.0, 1.0)
    found = np.stack([rows["x"] - shift, rows["y"] - shift, last], axis=1).astype(np.float64)
    found[~np.isfinite(found[:, :2]).all(axis=1)] = np.nan
    return found


def _video(line: Any) -> str:
    backend = line.get("backend", line) if isinstance(line, dict) else {}
    name = backend.get("filename")
    if isinstance(name, list):
        name = name[0] if name else None
    if not isinstance(name, str):
        raise ValueError(f"a video must have a filename, got {json.dumps(line)[:80]}")
    return name


def _lines(file: Any, name: str) -> list[Any]:
    return [parse_json(_text(line)) for line in dataset(file, name, "SO", 1)[()]]


def _text(value: Any) -> str:
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"a header must have at most {MAX_HEADER_BYTES} bytes, got {len(text)}")
    return text


def _number(value: Any) -> int:
    if not is_whole(value) or value < 0:
        raise ValueError(f"metadata must refer to places by numbers, got {value!r:.40}")
    return value
