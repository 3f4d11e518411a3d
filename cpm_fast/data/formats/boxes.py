"""Boxes of subjects in a file, for `cpm-fast infer --boxes`: detections or annotations of COCO, or a CSV table."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.csv_file import number, read_csv_text
from cpm_fast.data.files.json_file import numbers, read_json, whole
from cpm_fast.data.image_names import SHOWN, MatchError, Names
from cpm_fast.inference.finders.detector import surest
from cpm_fast.results.formats.coco import CocoIds
from cpm_fast.results.formats.csv import BOX_COLUMNS, original
from cpm_fast.system.numbers import identifier
from cpm_fast.system.words import some_of

IMAGE, SCORE, CATEGORY = "image", "score", "category_id"
FORMS = "COCO's detections or annotations (.json), or a table with the columns image, left, top, right, bottom (.csv)"


@dataclass(frozen=True)
class BoxRow:
    """A subject of a file.

    Args:
        image: the picture as the file calls it: its name, or its id as a number.
        box: left, top, right, bottom in pixels.
        score: how sure the detector was; None where the file does not say.
        category: of COCO; None where the file has none.
    """

    image: str
    box: tuple[float, float, float, float]
    score: float | None = None
    category: int | None = None


@dataclass(frozen=True)
class BoxFile:
    """The boxes of a file.

    Args:
        path: of the file.
        rows: of its subjects, in its order.
        images: that the file names, with and without subjects.
        empty: boxes without width or height, as COCO has a few, which are left out.
        digest: of its bytes.
    """

    path: Path
    rows: Sequence[BoxRow]
    images: Sequence[str]
    empty: int
    digest: str

    @classmethod
    def read(cls, path: Path, coco_file: Path | None = None, category: int | None = None) -> BoxFile:
        """Read a file of boxes.

        Args:
            path: of the file.
            coco_file: the COCO file that names the pictures, whose ids of images detections have; without it an id
                stands for the picture that is called that number.
            category: the subjects' id in COCO; all are subjects if not given.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is not of such a form, a box is not one, there are none, or they are of several categories
                and none is given; the message names the file and the place in it.
        """
        if path.suffix.lower() == ".csv":
            (rows, images), empty = _table(path), 0
        elif path.suffix.lower() == ".json":
            rows, images, empty = _coco(path, coco_file)
        else:
            raise ValueError(f"{path}: boxes must be {FORMS}, got the suffix {path.suffix!r}")
        found = sorted({row.category for row in rows if row.category is not None})
        if category is not None:
            if category not in found:
                raise ValueError(f"{path}: must have boxes of category {category}, got those of {found or 'none'}")
            rows = [row for row in rows if row.category == category]
        elif len(found) > 1:
            shown = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
            raise ValueError(
                f"{path}: boxes must be of one category, got {len(found)}: {shown}; say which with --box-category"
            )
        if not rows:
            raise ValueError(f"{path}: must hold at least one box, got none")
        return cls(path, rows, images, empty, hashlib.sha256(path.read_bytes()).hexdigest()[:16])

    def of(self, names: Sequence[str], most: int | None, least: float | None) -> tuple[list[np.ndarray], list[str]]:
        """Return the boxes [N, 4] of every picture by its name, and what was not matched, in sentences.

        Args:
            names: paths of the pictures.
            most: boxes per picture: those with the highest scores, or the first.
            least: score that a box must have.

        Raises:
            ValueError: a picture may be several of the file's or the other way round, none is of the file, or boxes
                have no scores that `least` needs.
        """
        if least is not None and any(row.score is None for row in self.rows):
            raise ValueError(f"{self.path}: must have a score for each box for --min-find-score {least:g}, got none")
        known = Names(self.images)
        try:
            matched = {name: known.find(name) for name in names}
        except MatchError as error:
            raise ValueError(f"{self.path}: {error}") from None
        pictures: dict[str, str] = {}
        for name, image in matched.items():
            if image is not None and pictures.setdefault(image, name) != name:
                raise ValueError(
                    f"{self.path}: {image} may be {pictures[image]} or {name}: give more of the path in the file"
                )
        if not pictures:
            raise ValueError(
                f"{self.path}: must name the pictures, got {_listed(self.images)}, and pictures {_listed(names)}"
            )
        of_image: dict[str, list[BoxRow]] = {}
        for row in self.rows:
            of_image.setdefault(row.image, []).append(row)
        boxes = [_surest_boxes(of_image.get(matched[name] or "", ()), most, least) for name in names]
        told = [f"{self.path}: {self.empty} boxes without width or height are left out"] if self.empty else []
        without = [name for name, own in zip(names, boxes, strict=True) if not len(own)]
        if without:
            told.append(f"{self.path}: no box for {len(without)} of {len(names)} pictures: {_listed(without)}")
        others = [image for image in of_image if image not in pictures]
        if others:
            told.append(f"{self.path}: boxes of {len(others)} other pictures are not used: {_listed(others)}")
        return boxes, told


def _surest_boxes(rows: Sequence[BoxRow], most: int | None, least: float | None) -> np.ndarray:
    known = bool(rows) and all(row.score is not None for row in rows)
    scores = np.array([row.score for row in rows], np.float64) if known else None
    return np.array([rows[i].box for i in surest(len(rows), scores, most, least)]).reshape(-1, 4)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _table(path: Path) -> tuple[list[BoxRow], list[str]]:
    """Read a CSV table; a row without numbers of a box is a picture in which nobody is."""
    text, mark = read_csv_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True, restkey="")
    rows, images = [], []
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        if not {IMAGE, *BOX_COLUMNS} <= set(columns):
            raise ValueError(f"must have the columns {IMAGE}, {', '.join(BOX_COLUMNS)}, got {some_of(columns)}")
        reader.fieldnames = columns
        for cells in reader:
            if "" in cells or None in cells.values():
                raise ValueError(f"line {reader.line_num} must have {len(columns)} cells")
            image = original(cells[IMAGE].strip())
            images.append(image)
            try:
                values = [number(cells[column], mark) for column in BOX_COLUMNS]
                score = number(cells[SCORE], mark) if SCORE in cells else math.nan
            except ValueError as error:
                raise ValueError(f"line {reader.line_num}: {error}") from None
            if any(map(math.isfinite, values)):
                rows.append(_row(image, values, f"line {reader.line_num}", None if math.isnan(score) else score))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None
    return rows, list(dict.fromkeys(images))


def _coco(path: Path, coco_file: Path | None) -> tuple[list[BoxRow], list[str], int]:
    content = read_json(path)
    ids: Mapping[int | str, str] = {}
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        ids, entries = _names_of(path), content["annotations"]
    elif isinstance(content, list):
        ids, entries = {} if coco_file is None else _names_of(coco_file), content
    else:
        raise ValueError(f"{path}: boxes must be {FORMS}, got {type(content).__name__} of {str(content)[:60]}")
    rows: list[BoxRow] = []
    empty = 0
    for i, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("iscrowd"):
            continue
        try:
            row = _detection(entry, ids, f"entry {i}")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if row is None:
            empty += 1
        else:
            rows.append(row)
    return rows, list(dict.fromkeys([*ids.values(), *(row.image for row in rows)])), empty


def _names_of(path: Path) -> dict[int | str, str]:
    return {identifier(key, "id"): name for name, key in CocoIds.read(path).images.items()}


def _detection(entry: Any, ids: Mapping[int | str, str], where: str) -> BoxRow | None:
    """Return a subject of COCO; None where its box has no width or height."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must have image_id and bbox, got {entry!r:.60}")
    if "bbox" not in entry:
        raise ValueError(f"{where} must have a bbox (left, top, width, height), got the keys {some_of(sorted(entry))}")
    left, top, width, height = numbers(entry["bbox"], 4, f"bbox of {where}")
    if isinstance(entry.get("file_name"), str) and not ids:
        image = entry["file_name"]
    else:
        key = identifier(entry.get("image_id"), f"image_id of {where}")
        if ids and key not in ids:
            raise ValueError(f"image_id of {where} must be the id of one of the {len(ids)} images, got {key!r:.60}")
        image = ids[key] if ids else str(key)
    score = None if entry.get(SCORE) is None else numbers([entry[SCORE]], 1, f"score of {where}")[0]
    category = None if entry.get(CATEGORY) is None else whole(entry[CATEGORY], f"category_id of {where}")
    if width == 0 or height == 0:
        return None
    return _row(image, [left, top, left + width, top + height], where, score, category)


def _row(
    image: str, box: Sequence[float], where: str, score: float | None = None, category: int | None = None
) -> BoxRow:
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)) or right <= left or bottom <= top:
        raise ValueError(f"{where}: the box of {image:.80} must have left < right and top < bottom, got {list(box)}")
    return BoxRow(image, (left, top, right, bottom), score, category)
