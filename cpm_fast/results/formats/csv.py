"""Results as CSV, which training reads: a row per subject; for videos also the time and the region."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.plain import Read, shared_skeleton, shortest
from cpm_fast.roi import Roi
from cpm_fast.skeleton import BUILT_IN, Skeleton
from cpm_fast.system.words import some_of

FORMULA = ("=", "+", "-", "@", "\t", "\r")
X, Y, SCORE = "_x", "_y", "_score"
SUBJECT_COLUMNS = ("image", "subject")
BOX_COLUMNS = ("left", "top", "right", "bottom")
VIDEO_COLUMNS = ("frame", "seconds", "id", "roi_left", "roi_top", "roi_side")


def to_csv(entries: Sequence[Entry], failures: Mapping[str, str]) -> bytes:
    """Write results as a CSV table, one row per subject."""
    skeleton = shared_skeleton(entries)
    video = any(result.frame is not None for result in entries)
    rows: list[list[object]] = [head(skeleton.names if skeleton else (), video)]
    rows += [row for result in entries for row in subject_rows(result, video)]
    return to_text(rows).encode()


def to_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines of CSV."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        # Every reader takes a carriage return outside quotes for the end of a row.
        broken = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (quoted if broken else plain).writerow(row)
    return text.getvalue()


def harmless(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula: with "./" before it, it names the same file."""
    return f"./{name}" if name.startswith(FORMULA) else name


def original(name: str) -> str:
    """Undo `harmless`."""
    return name[2:] if name.startswith("./") and name[2:].startswith(FORMULA) else name


def name_beside(name: str, folder: Path) -> str:
    """Return the path of a file relative to a folder; any other name unchanged."""
    try:
        if not Path(name).is_file():
            return name
        # Above a folder that is a link lies the one above what it links to.
        return Path(os.path.relpath(os.path.abspath(name), os.path.realpath(folder))).as_posix()
    except (ValueError, OSError):
        return name


def name_from(name: str, folder: Path) -> str:
    """Invert `name_beside`: return a path from the working folder, where there is such a file."""
    try:
        there = folder / name
        if not there.is_file():
            return name
        plain = Path(os.path.normpath(there))
        return str(plain if plain.is_file() and plain.samefile(there) else there)
    except (ValueError, OSError):
        return name


def head(names: Sequence[str], video: bool) -> list[object]:
    """Return the columns of a table with these parts."""
    parts = [part + column for part in names for column in (X, Y, SCORE)]
    return [*SUBJECT_COLUMNS, *BOX_COLUMNS, *(VIDEO_COLUMNS if video else ()), *parts]


def subject_rows(result: Entry, video: bool) -> list[list[object]]:
    """Return one row per subject, in the columns of `head`."""
    rows: list[list[object]] = []
    for i in range(len(result)):
        table = np.concatenate([result.keypoints[i], result.scores[i, :, None]], axis=1)  # [P, 3]
        cells = [shortest(value) for value in table.ravel()]
        number = result.ids[i] if result.ids else None
        when = [*_cells(result.frame, result.seconds, number), *_corner(result, i)] if video else []
        box = _cells(*result.boxes[i]) if result.rois else [""] * len(BOX_COLUMNS)
        rows.append([harmless(result.name), i, *box, *when, *_cells(*cells)])
    return rows


def _cells(*values: float | None) -> list[str]:
    return ["" if value is None else repr(value) for value in values]


def _corner(result: Entry, subject: int) -> list[str]:
    """Return left, top and side; sides and centers have few binary places, so that they read back exactly."""
    if not result.rois:
        return ["", "", ""]
    (x, y), side = result.rois[subject].center, result.rois[subject].side
    return _cells(x - side / 2, y - side / 2, side)


def from_csv(data: bytes) -> Read:
    """Make one entry of each run of rows of the same image; a missing score column counts as NaN."""
    return list(read_rows(io.StringIO(data.decode(), newline=""))), {}


def read_rows(lines: Iterable[str], suffix: str = "") -> Iterator[Entry]:
    """Yield entries from lines of CSV; with a suffix, points from the columns <part>_x<suffix> if there are such.

    Raises:
        ValueError: not such a table; the message names the line.
    """
    reader = csv.DictReader(lines, restkey="", strict=True)
    columns = reader.fieldnames or []
    names = tuple(column.removesuffix(X) for column in columns if column.endswith(X))
    if "image" not in columns or not names:
        raise ValueError(f"must have the columns image and <part>{X}, <part>{Y}, got {some_of(columns)}")
    skeleton = next((known for known in BUILT_IN.values() if known.names == names), Skeleton("csv", names))
    points = (X + suffix, Y + suffix) if names[0] + X + suffix in columns else (X, Y)
    found: list[dict[str, str]] = []
    for row in reader:
        if "" in row or None in row.values():
            raise ValueError(f"line {reader.line_num} must have {len(columns)} cells")
        if found and (found[0]["image"] != row["image"] or row.get("subject") == "0"):
            yield _result(found, skeleton, points)
            found = []
        found.append(row)
    if found:
        yield _result(found, skeleton, points)


def _result(rows: list[dict[str, str]], skeleton: Skeleton, points: tuple[str, str]) -> Entry:
    cells = [
        [[float(row.get(part + column) or "nan") for column in (*points, SCORE)] for part in skeleton.names]
        for row in rows
    ]
    table = np.array(cells, np.float32)  # [N, P, 3]
    first = rows[0]
    frame, seconds = first.get("frame") or None, first.get("seconds") or None
    corners = [[float(row[name]) for name in VIDEO_COLUMNS[3:]] for row in rows if row.get("roi_side")]
    ids = [row.get("id") for row in rows]
    return Entry(
        table[..., :2].copy(),
        table[..., 2].copy(),
        skeleton,
        original(first["image"]),
        rois=tuple(Roi((left + side / 2, top + side / 2), side) for left, top, side in corners),
        roi_source="csv",
        frame=None if frame is None else int(frame),
        seconds=None if seconds is None else float(seconds),
        ids=tuple(int(number) for number in ids if number) if all(ids) else (),
    )
