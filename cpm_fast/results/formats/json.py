"""Results as JSON: everything but belief maps, box geometry and timing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.plain import (
    FORMAT,
    VERSION,
    Read,
    moment,
    pair,
    read_margin,
    read_moment,
    shared_skeleton,
    shortest,
)
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import parse_json


def to_json(entries: Sequence[Entry], failures: Mapping[str, str]) -> bytes:
    """Write results as this package's JSON."""
    skeleton = shared_skeleton(entries)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": [to_entry(entry) for entry in entries],
        "failures": dict(failures),
    }
    return (json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n").encode()


def to_entry(result: Entry) -> dict[str, Any]:
    """Return one image as plain values of JSON."""
    subjects = [
        {
            **({"id": result.ids[i]} if result.ids else {}),
            "roi": {"center": result.rois[i].center, "side": result.rois[i].side} if result.rois else None,
            "parts": [
                [shortest(x), shortest(y), shortest(score)]
                for (x, y), score in zip(result.keypoints[i], result.scores[i], strict=True)
            ],
        }
        for i in range(len(result))
    ]
    return {
        "name": result.name,
        "size": result.size,
        "roi_source": result.roi_source,
        "margin": result.margin,
        **moment(result),
        "subjects": subjects,
    }


def from_json(data: bytes) -> Read:
    """Read results written by `to_json`."""
    content = parse_json(data)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
    results = [from_entry(entry, Skeleton.from_dict(content["skeleton"])) for entry in content["images"]]
    return results, {str(name): str(why) for name, why in content["failures"].items()}


def from_entry(entry: Mapping[str, Any], skeleton: Skeleton) -> Entry:
    """Invert `to_entry`; a damaged entry raises an error of any kind."""
    rows = [subject["parts"] for subject in entry["subjects"]]
    table = np.array(rows, dtype=np.float32).reshape(len(rows), len(skeleton), 3)
    rois = [subject["roi"] for subject in entry["subjects"]]
    return Entry(
        keypoints=table[..., :2].copy(),
        scores=table[..., 2].copy(),
        skeleton=skeleton,
        name=str(entry["name"]),
        size=pair(entry["size"]),
        rois=tuple(Roi(tuple(roi["center"]), roi["side"]) for roi in rois if roi is not None),
        roi_source=str(entry["roi_source"]),
        margin=read_margin(entry),
        ids=tuple(int(subject["id"]) for subject in entry["subjects"] if "id" in subject),
        **read_moment(entry),
    )
