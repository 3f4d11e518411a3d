"""Values that all formats of results share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.skeleton import Skeleton

FORMAT, VERSION = "cpm_fast results", 1
# Entries, and the reasons of failures by name.
Read = tuple[list[Entry], dict[str, str]]


def shortest(value: np.floating) -> float | None:
    """Return the shortest number that reads back as the same float32; None if it is not finite."""
    return float(str(np.float32(value))) if np.isfinite(value) else None


def moment(result: Entry) -> dict[str, Any]:
    """Return frame and seconds of a video's entry; empty for a picture."""
    return {} if result.frame is None else {"frame": result.frame, "seconds": result.seconds}


def read_moment(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Read frame and seconds of an entry of a video; nothing for a picture."""
    if entry.get("frame") is None:
        return {}
    seconds = entry["seconds"]
    return {"frame": int(entry["frame"]), "seconds": None if seconds is None else float(seconds)}


def read_margin(entry: Mapping[str, Any]) -> float:
    """Return the margin about the boxes."""
    margin = float(entry["margin"])
    if not 0 < margin < math.inf:
        raise ValueError(f"margin must be a positive number, got {margin}")
    return margin


def pair(values: Sequence[Any] | None) -> tuple[int, int] | None:
    """Read a (height, width), or None."""
    if values is None:
        return None
    height, width = values
    return int(height), int(width)


def texts(values: np.ndarray) -> list[str]:
    """Return the texts of a NumPy array, as one list, decoded by Python.

    NumPy does not check characters: one beyond Unicode, from a damaged file, would break Python's functions later.

    Raises:
        ValueError: the array is not of texts, or a character is not Unicode's.

    >>> texts(np.array(["left_knee", ""]))
    ['left_knee', '']
    """
    if values.dtype.kind != "U":
        raise ValueError(f"must be texts, got {values.dtype}")
    size, data = values.dtype.itemsize, values.astype(values.dtype.newbyteorder("<")).tobytes()
    return [data[i * size : (i + 1) * size].decode("utf-32-le").rstrip("\0") for i in range(values.size)]


def shared_skeleton(entries: Sequence[Entry]) -> Skeleton | None:
    """Return the skeleton of all entries; None if there are none.

    Raises:
        ValueError: they have several.
    """
    skeletons = {entry.skeleton for entry in entries}
    if len(skeletons) > 1:
        raise ValueError(f"results in one file must have one skeleton, got {sorted(s.name for s in skeletons)}")
    return skeletons.pop() if skeletons else None


def triples(result: Entry, subject: int) -> list[float]:
    """Return x, y, score of every part of a subject in a row; 0, 0, 0 for a missing part."""
    table = np.concatenate([result.keypoints[subject], result.scores[subject, :, None]], axis=1)  # [P, 3]
    known = np.isfinite(table).all(axis=1, keepdims=True)
    return [round(float(value), 4) for value in np.where(known, table, 0).ravel()]
