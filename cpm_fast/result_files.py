"""Results as .json, .csv and .npz, written whole and read with suspicion."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.files import atomic_write
from cpm_fast.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import BUILT_IN, Skeleton

FORMAT, VERSION = "cpm_fast results", 1
X, Y, SCORE = "_x", "_y", "_score"


def save(results: Results, path: Path) -> None:
    writer, _ = _form(path)
    data = writer(results, _skeleton(results))
    with atomic_write(path) as file:
        file.write(data)


def load(path: Path) -> Results:
    _, reader = _form(path)
    data = path.read_bytes()
    try:
        return reader(data)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile,
            EOFError, RecursionError, csv.Error) as error:  # fmt: skip
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


def _number(value: np.floating) -> float | None:
    """The shortest number that reads back as the same float32; None where it is not finite."""
    return float(str(np.float32(value))) if np.isfinite(value) else None


def to_json(results: Results, skeleton: Skeleton | None) -> bytes:
    images = [
        {
            "name": result.name,
            "size": result.size,
            "roi_source": result.roi_source,
            "subjects": [
                {
                    "roi": {"center": result.rois[i].center, "side": result.rois[i].side} if result.rois else None,
                    "parts": [
                        [_number(x), _number(y), _number(score)]
                        for (x, y), score in zip(result.keypoints[i], result.scores[i], strict=True)
                    ],
                }
                for i in range(len(result))
            ],
        }
        for result in results
    ]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": images,
        "failures": results.failures,
    }
    return (json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n").encode()


def from_json(data: bytes) -> Results:
    content = json.loads(data)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
    results = []
    for entry in content["images"]:
        skeleton = Skeleton.from_dict(content["skeleton"])
        rows = [subject["parts"] for subject in entry["subjects"]]
        table = np.array(rows, dtype=np.float32).reshape(len(rows), len(skeleton), 3)
        rois = [subject["roi"] for subject in entry["subjects"]]
        results.append(
            Result(
                keypoints=table[..., :2].copy(),
                scores=table[..., 2].copy(),
                skeleton=skeleton,
                name=str(entry["name"]),
                size=_pair(entry["size"]),
                rois=tuple(Roi(tuple(roi["center"]), roi["side"]) for roi in rois if roi is not None),
                roi_source=str(entry["roi_source"]),
            )
        )
    return Results(results, {str(name): str(why) for name, why in content["failures"].items()})


def to_csv(results: Results, skeleton: Skeleton | None) -> bytes:
    names = skeleton.names if skeleton else ()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "subject", *(part + column for part in names for column in (X, Y, SCORE))])
    for result in results:
        for i in range(len(result)):
            table = np.concatenate([result.keypoints[i], result.scores[i, :, None]], axis=1)  # [P, 3]
            cells = [_number(value) for value in table.ravel()]
            writer.writerow([result.name, i, *("" if cell is None else repr(cell) for cell in cells)])
    return text.getvalue().encode()


def from_csv(data: bytes) -> Results:
    """One result for each run of rows of the same image; a score column that is missing counts as NaN."""
    reader = csv.DictReader(io.StringIO(data.decode(), newline=""), restkey="", strict=True)
    columns = reader.fieldnames or []
    names = tuple(column.removesuffix(X) for column in columns if column.endswith(X))
    if "image" not in columns or not names:
        raise ValueError(f"must have the columns image and <part>{X}, <part>{Y}, got {columns}")
    skeleton = next((known for known in BUILT_IN.values() if known.names == names), Skeleton("csv", names))
    found: list[tuple[str, list[list[list[float]]]]] = []
    for row in reader:
        if "" in row or None in row.values():
            raise ValueError(f"line {reader.line_num} must have {len(columns)} cells")
        if not found or found[-1][0] != row["image"] or row.get("subject") == "0":
            found.append((row["image"], []))
        found[-1][1].append([[float(row.get(part + column) or "nan") for column in (X, Y, SCORE)] for part in names])
    results = []
    for name, rows in found:
        table = np.array(rows, np.float32)  # [N, P, 3]
        results.append(Result(table[..., :2].copy(), table[..., 2].copy(), skeleton, name, roi_source="csv"))
    return Results(results)


def to_npz(results: Results, skeleton: Skeleton | None) -> bytes:
    parts = len(skeleton) if skeleton else 0
    header = {
        "format": FORMAT,
        "version": VERSION,
        "skeleton": skeleton and skeleton.to_dict(),
        "images": [
            {"name": r.name, "size": r.size, "roi_source": r.roi_source, "subjects": len(r), "rois": bool(r.rois),
             "box_size": r.box_size, "cell_offset": r.cell_offset, "belief_maps": r.belief_maps is not None}
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
        header = json.loads(str(arrays["header"]))
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
                )
            )
            row, roi_row = row + count, roi_row + len(own)
    return Results(results, {str(name): str(why) for name, why in header["failures"].items()})


def _pair(values: Sequence[Any] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    height, width = values
    return int(height), int(width)


FORMS = {".json": (to_json, from_json), ".csv": (to_csv, from_csv), ".npz": (to_npz, from_npz)}
