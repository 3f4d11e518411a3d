"""The table of labels: our own CSV, read and written by picture; untouched cells stay as they are."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write
from cpm_fast.system.limits import file_exists
from cpm_fast.system.numbers import is_finite, is_whole
from cpm_fast.system.words import some_of

IMAGE, SUBJECT, STATE = "image", "subject", "label_state"
BOX = ("left", "top", "right", "bottom")
X, Y, VISIBILITY = "_x", "_y", "_v"
# COCO's numbers: not labeled, labeled but hidden, labeled and visible.
ABSENT, HIDDEN, VISIBLE = 0, 1, 2
# Origins of a picture's labels; EMPTY: a person looked, and there is no subject.
LABELED, CORRECTED, EMPTY = "labeled", "corrected", "empty"
STATES = (LABELED, CORRECTED, EMPTY)
MAX_SUBJECTS = 200
LARGEST = 1e6

Point = tuple[float, float, int]
Row = dict[str, str]


@dataclass(frozen=True)
class LabeledSubject:
    """One subject of a picture.

    Args:
        points: the P parts as (x, y, visibility), image pixels, visibility 1 (hidden) or 2 (visible); None where a part
            is not labeled.
        box: left, top, right, bottom, image pixels, or None.
        row: its place among the picture's rows in the table; None if it is new.
    """

    points: tuple[Point | None, ...]
    box: tuple[float, float, float, float] | None = None
    row: int | None = None

    def to_dict(self) -> dict[str, Any]:
        box = list(self.box) if self.box else None
        return {"points": [list(p) if p else None for p in self.points], "box": box, "row": self.row}

    @classmethod
    def from_dict(cls, values: Any, parts: int) -> LabeledSubject:
        """Make rows of the result of `to_dict`, for values that anybody may have sent.

        Raises:
            ValueError: they are not a subject of that many parts.
        """
        if not isinstance(values, dict) or not isinstance(values.get("points"), list):
            raise ValueError(f"a subject must be an object with points, got {values!r:.80}")
        points, box, row = values["points"], values.get("box"), values.get("row")
        if len(points) != parts:
            raise ValueError(f"points must be {parts}, one per part, got {len(points)}")
        if row is not None and (not is_whole(row) or not 0 <= row < MAX_SUBJECTS):
            raise ValueError(f"row must be a place in the table or null, got {row!r:.40}")
        corners = None
        if box is not None:
            left, top, right, bottom = corners = _numbers(box, 4, "box")
            if left >= right or top >= bottom:
                raise ValueError(f"box must be left, top, right, bottom, got {list(corners)}")
        return cls(tuple(None if point is None else _point(point) for point in points), corners, row)


class LabelTable:
    """A CSV file of labels, in memory; `write` puts it on the disk whole.

    Columns: `image`, `subject` (its number in the picture), the box as `left`, `top`, `right`, `bottom`, `<part>_x`,
    `<part>_y` and `<part>_v` of every part, and `label_state`. Other columns of a table that is there are kept.

    Args:
        path: the file, which may not exist yet.
        skeleton: the P parts.

    Raises:
        ValueError: there is a file, but no such table, or a pipe or device; the message names file and line.
    """

    def __init__(self, path: Path, skeleton: Skeleton) -> None:
        self.path, self.skeleton = path, skeleton
        self.columns: list[str] = []
        self.rows: dict[str, list[Row]] = {}
        # The text of a picture's rows, kept because a table of 10,000 pictures is written at every change.
        self._text: dict[str, str] = {}
        if file_exists(path):
            self._read()
        parts = [part + axis for part in skeleton.names for axis in (X, Y, VISIBILITY)]
        for column in (IMAGE, SUBJECT, *BOX, *parts, STATE):
            if column not in self.columns:
                self.columns.append(column)

    def subjects(self, image: str) -> list[LabeledSubject]:
        """Return the subjects of a picture; none where the table doesn't name it."""
        if self.state(image) == EMPTY:
            return []
        return [self._subject(row, place) for place, row in enumerate(self.rows.get(image, ()))]

    def state(self, image: str) -> str | None:
        """Return the origin of a picture's labels, or None if there are none."""
        rows = self.rows.get(image)
        if not rows:
            return None
        state = rows[0].get(STATE, "")
        return state if state in STATES else LABELED

    def revision(self, image: str) -> str:
        """Return a hash of the rows of a picture, which a change must name to replace them."""
        return hashlib.blake2b(self.text_of(image).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    def replace(self, image: str, subjects: Sequence[LabeledSubject], state: str | None) -> None:
        """Replace a picture's subjects; cells of other columns stay with their row.

        Args:
            image: the picture.
            subjects: all of them; with none the picture leaves the table unless its state is EMPTY.
            state: one of STATES.
        """
        old = self.rows.get(image, [])
        rows = []
        for number, subject in enumerate(subjects):
            known = subject.row is not None and subject.row < len(old)
            row = dict(old[subject.row]) if known and subject.row is not None else {}
            row |= {IMAGE: image, SUBJECT: str(number), STATE: state or LABELED}
            row |= dict(zip(BOX, map(_text, subject.box) if subject.box else [""] * 4, strict=True))
            for part, point in zip(self.skeleton.names, subject.points, strict=True):
                x, y, seen = (_text(point[0]), _text(point[1]), str(point[2])) if point else ("", "", str(ABSENT))
                row |= {part + X: x, part + Y: y, part + VISIBILITY: seen}
            rows.append(row)
        if not rows and state == EMPTY:
            rows = [{IMAGE: image, STATE: EMPTY}]
        self.put(image, rows)

    def put(self, image: str, rows: list[Row]) -> None:
        """Set the rows of a picture as they stand."""
        self._text.pop(image, None)
        self.rows.pop(image, None) if not rows else self.rows.update({image: rows})

    def text_of(self, image: str) -> str:
        """Return the lines of a picture in the file."""
        if image not in self._text:
            text = io.StringIO(newline="")
            lines = [[row.get(column, "") for column in self.columns] for row in self.rows.get(image, ())]
            # The writer quotes no carriage return that is not part of its line ends, but the reader ends a line there.
            returns = any("\r" in cell for line in lines for cell in line)
            form: dict[str, Any] = {"lineterminator": "\n", "quoting": csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL}
            csv.writer(text, **form).writerows(lines)
            self._text[image] = text.getvalue()
        return self._text[image]

    def write(self) -> None:
        """Write the table to the disk, whole or not at all.

        Raises:
            OSError: it can't be written; the file that was there stays.
        """
        head = io.StringIO(newline="")
        csv.writer(head, lineterminator="\n").writerow(self.columns)
        with atomic_write(self.path) as file:
            file.write("".join([head.getvalue(), *map(self.text_of, self.rows)]).encode())

    def _read(self) -> None:
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                self.columns = list(reader.fieldnames or ())
                if self.columns and IMAGE not in self.columns:
                    raise ValueError(f"must have the column {IMAGE}, got {some_of(self.columns)}")
                if len(set(self.columns)) != len(self.columns):
                    raise ValueError("columns must be named once each")
                for row in reader:
                    if None in row or None in row.values():
                        raise ValueError(f"must have {len(self.columns)} cells, as the head has")
                    self._subject(row, 0)
                    self.rows.setdefault(row[IMAGE], []).append(row)
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.path}: not a text file in UTF-8: {error}") from None
            except (ValueError, csv.Error) as error:
                raise ValueError(f"{self.path} line {max(1, reader.line_num)}: {error}") from None

    def _subject(self, row: Row, place: int) -> LabeledSubject:
        points = []
        for part in self.skeleton.names:
            x, y = (_number(row.get(part + axis, ""), part + axis) for axis in (X, Y))
            if (x is None) != (y is None):
                raise ValueError(f"{part}{X} and {part}{Y} must both be given or both be empty")
            seen = row.get(part + VISIBILITY, "").strip() or str(VISIBLE)
            if seen not in ("0", "1", "2"):
                raise ValueError(f"{part}{VISIBILITY} must be 0, 1, 2 or empty, got {seen!r:.40}")
            points.append(None if x is None or y is None or int(seen) == ABSENT else (x, y, int(seen)))
        sides = [_number(row.get(side, ""), side) for side in BOX]
        given = [side for side in sides if side is not None]
        if given and len(given) != len(BOX):
            raise ValueError(f"{', '.join(BOX)} must all be given or all be empty")
        box = (given[0], given[1], given[2], given[3]) if given else None
        return LabeledSubject(tuple(points), box, place)


def _number(text: str, column: str) -> float | None:
    try:
        value = float(text) if text.strip() else math.nan
    except ValueError:
        raise ValueError(f"{column} must be a number or empty, got {text!r:.40}") from None
    if math.isinf(value):
        raise ValueError(f"{column} must be a number or empty, got {text!r:.40}")
    return None if math.isnan(value) else value


def _text(value: float) -> str:
    """Format a number to a hundredth of a pixel, without zeros at the end."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _numbers(values: Any, count: int, name: str) -> Any:
    fine = isinstance(values, list) and len(values) == count
    if not fine or not all(is_finite(value) and abs(value) <= LARGEST for value in values):
        raise ValueError(f"{name} must be {count} numbers of at most {LARGEST:.0f}, got {values!r:.80}")
    return tuple(float(value) for value in values)


def _point(values: Any) -> Point:
    x, y, seen = _numbers(values, 3, "a point")
    if seen not in (HIDDEN, VISIBLE):
        raise ValueError(f"a point must have visibility {HIDDEN} (hidden) or {VISIBLE} (visible), got {seen}")
    return x, y, int(seen)
