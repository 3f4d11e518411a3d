"""Results as NumPy's .npz: belief maps and geometry too."""

from __future__ import annotations

import io
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
    texts,
)
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import parse_json


def to_npz(entries: Sequence[Entry], failures: Mapping[str, str]) -> bytes:
    """Write results as NumPy arrays with a JSON header."""
    skeleton = shared_skeleton(entries)
    parts = len(skeleton) if skeleton else 0
    header = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": [_image_header(entry) for entry in entries],
        "failures": dict(failures),
    }
    arrays = {
        "header": np.array(json.dumps(header)),
        "keypoints": np.concatenate([np.empty((0, parts, 2), np.float32), *(r.keypoints for r in entries)]),
        "scores": np.concatenate([np.empty((0, parts), np.float32), *(r.scores for r in entries)]),
        "rois": np.array([[*roi.center, roi.side] for r in entries for roi in r.rois]).reshape(-1, 3),
    }
    for i, result in enumerate(entries):
        if result.belief_maps is not None:
            arrays[f"belief_maps_{i}"] = result.belief_maps
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _image_header(entry: Entry) -> dict[str, Any]:
    """Return what the header says of an image."""
    return {
        "name": entry.name,
        "size": entry.size,
        "roi_source": entry.roi_source,
        "subjects": len(entry),
        "rois": bool(entry.rois),
        "box_size": entry.box_size,
        "cell_offset": entry.cell_offset,
        "margin": entry.margin,
        "belief_maps": entry.belief_maps is not None,
        **({"ids": entry.ids} if entry.ids else {}),
        **moment(entry),
    }


def from_npz(data: bytes) -> Read:
    """Read results written by `to_npz`; nothing is unpickled."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        (header_text,) = texts(arrays["header"])
        header = parse_json(header_text)
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
        keypoints, scores, rois = arrays["keypoints"], arrays["scores"], arrays["rois"].tolist()
        results, row, roi_row = [], 0, 0
        for i, entry in enumerate(header["images"]):
            count = int(entry["subjects"])
            own = rois[roi_row : roi_row + count] if entry["rois"] else []
            results.append(
                Entry(
                    keypoints=keypoints[row : row + count].astype(np.float32),
                    scores=scores[row : row + count].astype(np.float32),
                    skeleton=Skeleton.from_dict(header["skeleton"]),
                    name=str(entry["name"]),
                    size=pair(entry["size"]),
                    rois=tuple(Roi((x, y), side) for x, y, side in own),
                    roi_source=str(entry["roi_source"]),
                    belief_maps=arrays[f"belief_maps_{i}"] if entry["belief_maps"] else None,
                    box_size=pair(entry["box_size"]) or (0, 0),
                    cell_offset=float(entry["cell_offset"]),
                    margin=read_margin(entry),
                    ids=tuple(int(number) for number in entry.get("ids", ())),
                    **read_moment(entry),
                )
            )
            row, roi_row = row + count, roi_row + len(own)
    return results, {str(name): str(why) for name, why in header["failures"].items()}
