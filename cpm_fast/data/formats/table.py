"""One's own pictures: a CSV file with a row a subject, in the columns that `Results.save("....csv")` writes."""

from __future__ import annotations

import csv
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from cpm_fast.data.own_skeleton import skeleton_file, skeleton_of
from cpm_fast.data.sample import Sample
from cpm_fast.media.image import read_image
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton

BOX_COLUMNS = ("left", "top", "right", "bottom")
# Of COCO: not labeled, labeled but hidden, labeled and visible.
VISIBILITY = {"0": 0, "1": 1, "2": 2, "": 2}
# A table of `cpm-fast label` has this column, and may hold subjects that are not finished.
STATE_COLUMN = "label_state"


class PartsTable:
    """Annotated pictures from a CSV file.

    Columns: `image` (path, relative to the CSV file or to where the program runs), `<part>_x` and `<part>_y` for every
    part (image pixels, 0-based; empty or nan where the part is not labeled), and, if known, the subject's box as
    `left`, `top`, `right`, `bottom`, and `<part>_v`, COCO's visibility: 0 not labeled, 1 hidden, 2 visible. Further
    columns are ignored. Several rows of one image are several subjects. In a table that `cpm-fast label` wrote,
    subjects that are not finished, with less than two parts and no box, are left out.

    Names, limbs and pairs come from a `skeleton.toml` in the same folder. Without one they are those of the built-in
    skeleton that has exactly the parts of the columns, or else the parts are those of the columns, in their order,
    and left_... and right_... of one name are a pair.

    Args:
        path: the CSV file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a table; the message names file and line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file")
        columns, rows = _read(self.path)
        self._skeleton = self._find_skeleton(columns)
        missing = [name for part in self.skeleton.names for name in (f"{part}_x", f"{part}_y") if name not in columns]
        if "image" not in columns or missing:
            wanted = "image" if "image" not in columns else ", ".join(missing[:4])
            raise ValueError(f"{self.path}: must have the column {wanted}, got {columns[:8]}")
        if not rows:
            raise ValueError(f"{self.path}: must have at least one row below its head, got none")
        has_boxes = set(BOX_COLUMNS) <= set(columns)
        self.images: list[str] = []
        self.rois: list[Roi] = []
        parts: list[np.ndarray] = []
        boxes: list[tuple[float, float, float, float] | None] = []
        seen: list[list[int]] = []
        unfinished = 0
        self._rows_of = defaultdict(list)
        for line, row in rows:
            try:
                image, visibility = _image(row, len(columns)), self._visibility(row)
                points = self._points(row, visibility)
                box = [_number(row, name) for name in BOX_COLUMNS] if has_boxes else [np.nan] * 4
                if STATE_COLUMN in columns and np.isnan(box).all() and np.isfinite(points).all(axis=1).sum() < 2:
                    unfinished += bool(np.isfinite(points).any())
                    continue
                self.rois.append(self._roi(points, box))
            except ValueError as error:
                raise ValueError(f"{self.path} line {line}: {error}") from None
            self._rows_of[image].append(len(self.images))
            self.images.append(image)
            parts.append(points)
            boxes.append((box[0], box[1], box[2], box[3]) if np.isfinite(box).all() else None)
            seen.append(visibility)
        if not parts:
            raise ValueError(f"{self.path}: must have a row with two labeled parts or a box, got {len(rows)} without")
        if unfinished:
            warnings.warn(f"{self.path}: {unfinished} subjects with one part and no box are left out", stacklevel=2)
        self.boxes = boxes
        self.parts_image = np.array(parts)
        self.labeled = np.isfinite(self.parts_image).all(axis=2)
        told = any(f"{part}_v" in columns for part in self.skeleton.names)
        self.occluded = (np.array(seen) == 1) & self.labeled if told else None

    def _find_skeleton(self, columns: list[str]) -> Skeleton:
        own = skeleton_file([self.path.parent])
        if own is not None:
            return Skeleton.from_toml(own)
        parts = tuple(name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in columns)
        if not parts:
            raise ValueError(f"{self.path}: must have columns <part>_x and <part>_y, got {columns[:8]}")
        try:
            return skeleton_of(self.path.stem, parts)
        except ValueError as error:
            raise ValueError(f"{self.path} line 1: {error}") from None

    def _visibility(self, row: dict[str, str]) -> list[int]:
        """COCO's number for each part; visible where the table doesn't say."""
        found = []
        for part in self.skeleton.names:
            text = row.get(f"{part}_v", "").strip()
            if text not in VISIBILITY:
                raise ValueError(f"{part}_v must be 0 (not labeled), 1 (hidden), 2 (visible) or empty, got {text!r}")
            found.append(VISIBILITY[text])
        return found

    def _points(self, row: dict[str, str], visibility: list[int]) -> np.ndarray:
        """[P, 2] image pixels, NaN where not labeled."""
        points = np.array([[_number(row, f"{part}_{axis}") for axis in "xy"] for part in self.skeleton.names])
        halves = np.isfinite(points).sum(axis=1) == 1
        if halves.any():
            part = self.skeleton.names[int(halves.argmax())]
            raise ValueError(f"{part}_x and {part}_y must both be given or both be empty")
        points[np.array(visibility) == 0] = np.nan
        return points

    def _roi(self, points: np.ndarray, box: list[float]) -> Roi:
        given = np.isfinite(box)
        if given.any() and not given.all():
            raise ValueError(f"{', '.join(BOX_COLUMNS)} must all be given or all be empty, got {box}")
        if given.all():
            return Roi.from_box(np.array(box))
        labeled = np.isfinite(points).all(axis=1)
        if labeled.sum() < 2:
            raise ValueError(f"must have two labeled parts or a box, got {labeled.sum()} labeled parts and no box")
        return Roi.from_parts(points, labeled, self.skeleton)

    def _picture(self, image: str) -> Path:
        beside = self.path.parent / image
        return Path(image) if not beside.exists() and Path(image).exists() else beside

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        others = [row for row in self._rows_of[self.images[index]] if row != index]
        return Sample(
            image=read_image(self._picture(self.images[index])),
            parts_image=self.parts_image[index],
            labeled=self.labeled[index],
            roi=self.rois[index],
            name=self.images[index],
            occluded=None if self.occluded is None else self.occluded[index],
            box_image=self.boxes[index],
            others_image=self.parts_image[others],
        )


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and its rows with the line each ends at."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            rows = [(reader.line_num, row) for row in reader]
            return list(reader.fieldnames or ()), rows
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
        except csv.Error as error:
            raise ValueError(f"{path} after line {reader.line_num}: not CSV that can be read: {error}") from None


def _image(row: dict[str, str], cells: int) -> str:
    if None in row or None in row.values():
        raise ValueError(f"must have {cells} cells, as the head has")
    if not row["image"].strip():
        raise ValueError("image must name a picture, got nothing")
    return row["image"]


def _number(row: dict[str, str], column: str) -> float:
    text = row[column].strip()
    try:
        value = float(text) if text else np.nan
    except ValueError:
        raise ValueError(f"{column} must be a number or empty, got {text!r}") from None
    if np.isinf(value):
        raise ValueError(f"{column} must be a number or empty, got {text!r}")
    return value
