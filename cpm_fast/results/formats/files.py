"""Results as .json, .csv and .npz, written whole and read with suspicion."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.results.formats.csv import from_csv, shortest, to_csv
from cpm_fast.results.formats.exchange import COCO, OPENPOSE, save_coco, save_openpose
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write, parse_json

FORMAT, VERSION = "cpm_fast results", 1
# What a damaged file makes the readers of JSON, CSV and NumPy's archives raise.
DAMAGE = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile, EOFError,
          RecursionError, csv.Error)  # fmt: skip


def save(results: Results, path: Path, form: str | None = None) -> None:
    skeleton = _skeleton(results)
    if form is not None:
        if form not in EXCHANGE:
            raise ValueError(f"form must be one of {list(EXCHANGE)}, or the suffix of path says it, got {form!r}")
        EXCHANGE[form](results, path)
        return
    writer, _ = _form(path)
    data = writer(results, skeleton)
    with atomic_write(path) as file:
        file.write(data)


def load(path: Path) -> Results:
    _, reader = _form(path)
    data = path.read_bytes()
    try:
        return reader(data)
    except DAMAGE as error:
        raise ValueError(f"{path}: not a file of results that can be read: {error!r}") from None


def _form(path: Path) -> tuple[Callable[[Results, Skeleton | None], bytes], Callable[[bytes], Results]]:
    if path.suffix.lower() not in FORMS:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(FORMS)}")
    return FORMS[path.suffix.lower()]


def _skeleton(results: Results) -> Skeleton | None:
    skeletons = {result.skeleton for result in results}
    if len(skeletons) > 1:
        raise ValueError(f"results in one file must have one skeleton, got {sorted(s.name for s in skeletons)}")
    return skeletons.pop() if skeletons else None


def to_json(results: Results, skeleton: Skeleton | None) -> bytes:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": [to_entry(result) for result in results],
        "failures": results.failures,
    }
    return (json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n").encode()


def to_entry(result: Result) -> dict[str, Any]:
    """One image as plain values that JSON has."""
    subjects = [
        {
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
        **_moment(result),
        "subjects": subjects,
    }


def from_json(data: bytes) -> Results:
    content = parse_json(data)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
    results = [from_entry(entry, Skeleton.from_dict(content["skeleton"])) for entry in content["images"]]
    return Results(results, {str(name): str(why) for name, why in content["failures"].items()})


def from_entry(entry: Mapping[str, Any], skeleton: Skeleton) -> Result:
    """The inverse of `to_entry`; anything may be wrong with the entry, and raises what it happens to."""
    rows = [subject["parts"] for subject in entry["subjects"]]
    table = np.array(rows, dtype=np.float32).reshape(len(rows), len(skeleton), 3)
    rois = [subject["roi"] for subject in entry["subjects"]]
    return Result(
        keypoints=table[..., :2].copy(),
        scores=table[..., 2].copy(),
        skeleton=skeleton,
        name=str(entry["name"]),
        size=_pair(entry["size"]),
        rois=tuple(Roi(tuple(roi["center"]), roi["side"]) for roi in rois if roi is not None),
        roi_source=str(entry["roi_source"]),
        **_read_moment(entry),
    )


def _moment(result: Result) -> dict[str, Any]:
    """When a frame of a video is; nothing for a picture."""
    return {} if result.frame is None else {"frame": result.frame, "seconds": result.seconds}


def _read_moment(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("frame") is None:
        return {}
    seconds = entry["seconds"]
    return {"frame": int(entry["frame"]), "seconds": None if seconds is None else float(seconds)}


def to_npz(results: Results, skeleton: Skeleton | None) -> bytes:
    parts = len(skeleton) if skeleton else 0
    header = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": [
            {"name": r.name, "size": r.size, "roi_source": r.roi_source, "subjects": len(r), "rois": bool(r.rois),
             "box_size": r.box_size, "cell_offset": r.cell_offset, "belief_maps": r.belief_maps is not None,
             **_moment(r)}
            for r in results
        ],
        "failures": results.failures,
    }  # fmt: skip
    arrays = {
        "header": np.array(json.dumps(header)),
        "keypoints": np.concatenate([np.empty((0, parts, 2), np.float32), *(r.keypoints for r in results)]),
        "scores": np.concatenate([np.empty((0, parts), np.float32), *(r.scores for r in results)]),
        "rois": np.array([[*roi.center, roi.side] for r in results for roi in r.rois]).reshape(-1, 3),
    }
    for i, result in enumerate(results):
        if result.belief_maps is not None:
            arrays[f"belief_maps_{i}"] = result.belief_maps
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def from_npz(data: bytes) -> Results:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        header = parse_json(str(arrays["header"]))
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
        keypoints, scores, rois = arrays["keypoints"], arrays["scores"], arrays["rois"].tolist()
        results, row, roi_row = [], 0, 0
        for i, entry in enumerate(header["images"]):
            count = int(entry["subjects"])
            own = rois[roi_row : roi_row + count] if entry["rois"] else []
            results.append(
                Result(
                    keypoints=keypoints[row : row + count].astype(np.float32),
                    scores=scores[row : row + count].astype(np.float32),
                    skeleton=Skeleton.from_dict(header["skeleton"]),
                    name=str(entry["name"]),
                    size=_pair(entry["size"]),
                    rois=tuple(Roi((x, y), side) for x, y, side in own),
                    roi_source=str(entry["roi_source"]),
                    belief_maps=arrays[f"belief_maps_{i}"] if entry["belief_maps"] else None,
                    box_size=_pair(entry["box_size"]) or (0, 0),
                    cell_offset=float(entry["cell_offset"]),
                    **_read_moment(entry),
                )
            )
            row, roi_row = row + count, roi_row + len(own)
    return Results(results, {str(name): str(why) for name, why in header["failures"].items()})


def _pair(values: Sequence[Any] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    height, width = values
    return int(height), int(width)


EXCHANGE = {COCO: save_coco, OPENPOSE: save_openpose}
FORMS = {".json": (to_json, from_json), ".csv": (to_csv, from_csv), ".npz": (to_npz, from_npz)}
