"""A user's own pictures: a CSV file with a row per subject, in the columns that `Results.save("....csv")` writes."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpm_fast.data.files.csv_file import number, read_csv_text
from cpm_fast.data.left_out import LeftOut
from cpm_fast.data.own_skeleton import skeleton_file, skeleton_of
from cpm_fast.data.pictures import Pictures
from cpm_fast.data.subjects import Box, Subject, Subjects, region_of_parts
from cpm_fast.data.video_frames import VideoFrames
from cpm_fast.media.image import IMAGE_SUFFIXES
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.limits import has_file
from cpm_fast.system.words import some_of

IMAGE, FRAME = "image", "frame"
BOX_COLUMNS = ("left", "top", "right", "bottom")
X, Y, VISIBILITY = "_x", "_y", "_v"
NOT_LABELED, OCCLUDED, SEEN = 0.0, 1.0, 2.0
# A table of `cpm-fast label` has this column, and may hold subjects that are not finished.
STATE_COLUMN = "label_state"


class PartsTable(Subjects):
    """Annotated pictures from a CSV file with commas, semicolons or tabs between its cells.

    Columns: `image` (path, relative to the CSV file), `<part>_x` and `<part>_y` for every part (image pixels, 0-based;
    empty, nan or NA where the part is not labeled), and, if known, `<part>_v` (0: not labeled, 1: hidden, 2: seen) and
    the subject's box as `left`, `top`, `right`, `bottom`. Further columns are ignored. Several rows of one image are
    several subjects. Rows that can't be used are left out, counted and named; those of `cpm-fast label` on which
    nothing is labeled yet are left out silently.

    If `image` is a video and there is a column `frame` (from 0), the row is of that frame; the frames that rows name
    are taken from the video into a temporary folder.

    Names, limbs and pairs come from a `skeleton.toml` in the same folder. Without one they are those of the built-in
    skeleton that has exactly the parts of the columns, or else the parts are those of the columns, in their order,
    and the names decide the pairs (`sides.mirror_pairs`).

    Args:
        path: the CSV file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a table, or no row of it can be used; the message names file and line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        columns, rows, self._mark = _read(self.path)
        skeleton = self._find_skeleton(columns)
        missing = [part + axis for part in skeleton.names for axis in (X, Y) if part + axis not in columns]
        if IMAGE not in columns or missing:
            wanted = IMAGE if IMAGE not in columns else ", ".join(missing[:4])
            raise ValueError(f"{self.path}: must have the column {wanted}, got {some_of(columns)}")
        if not rows:
            raise ValueError(f"{self.path}: must have at least one row below its head, got none")
        subjects, left_out, self.frames = [], LeftOut(self.path, "row"), VideoFrames()
        self._videos = Pictures([self.path.parent, Path()])
        self._films: list[tuple[str, Path | None]] = []
        for line, row in rows:
            try:
                subjects.append(self._subject(row, columns, skeleton))
            except ValueError as error:
                if not _untouched(row, skeleton):
                    left_out.add(f"line {line}", error)
        reasons = left_out.report(len(subjects))
        if not subjects:
            raise ValueError(f"{self.path}: must have a row with two labeled parts or a box, got {len(rows)} without")
        self._videos.warn_of_foreign_paths(self.path.stem, list(dict.fromkeys(self._films)))
        self.frames.extract()
        pictures = Pictures([self.path.parent, Path()], given=self.frames.pictures)
        super().__init__(self.path.stem, skeleton, subjects, pictures, [self.path], reasons)
        self.images = [subject.image for subject in subjects]
        self.parts_image = np.array([subject.parts_image for subject in subjects])
        self.labeled = np.isfinite(self.parts_image).all(axis=2)

    def _find_skeleton(self, columns: list[str]) -> Skeleton:
        twice = [name for name, count in Counter(columns).items() if count > 1 and name]
        if twice:
            raise ValueError(f"{self.path} line 1: columns must be unique, got {twice[0]} twice")
        own = skeleton_file([self.path.parent])
        if own is not None:
            return Skeleton.from_toml(own)
        parts = tuple(name[: -len(X)] for name in columns if name.endswith(X) and name[: -len(X)] + Y in columns)
        if not parts:
            raise ValueError(f"{self.path}: must have columns <part>_x and <part>_y, got {some_of(columns)}")
        try:
            return skeleton_of(self.path.stem, parts)
        except ValueError as error:
            raise ValueError(f"{self.path} line 1: {error}") from None

    def _subject(self, row: dict[str, str], columns: list[str], skeleton: Skeleton) -> Subject:
        image = _image(row, len(columns))
        parts_image, occluded = _points(row, skeleton, self._mark)
        has_box = set(BOX_COLUMNS) <= set(columns)
        box = [_number(row, name, self._mark) if has_box else np.nan for name in BOX_COLUMNS]
        given = np.isfinite(box)
        if given.any() and not given.all():
            raise ValueError(f"{', '.join(BOX_COLUMNS)} must all be given or all be empty, got {box}")
        roi: Roi | None = None
        box_image: Box | None = None
        if given.all():
            Roi.from_box(np.array(box))
            box_image = (box[0], box[1], box[2], box[3])
        else:
            roi, box_image = region_of_parts(parts_image, skeleton)
        if row.get(FRAME, "").strip():
            video = self._videos.path(image)
            if has_file(video) and video.suffix.lower() not in IMAGE_SUFFIXES:
                self._films.append((image, None))
                image = self.frames.add(image, video, _number(row, FRAME, self._mark))
        return Subject(image, parts_image, roi, occluded=occluded, box_image=box_image)

    def picture_files(self) -> list[Path]:
        """Return the path of every picture, and of every video that frames are taken from."""
        return [*super().picture_files(), *self.frames.videos]


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]], str]:
    """Read the columns of a CSV file, its rows with the line each ends at, and its delimiter."""
    text, mark = read_csv_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    try:
        # Spaces after a comma, or at the end of a part's name, are not part of it.
        columns = [re.sub(r"\s+(?=_[^_]*$)", "", name.strip()) for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        return columns, [(reader.line_num, row) for row in reader], mark
    except csv.Error as error:
        raise ValueError(f"{path} after line {reader.line_num}: not CSV that can be read: {error}") from None


def _image(row: dict[str, str], cells: int) -> str:
    # The csv module keeps the cells beyond the head under None; spreadsheets add empty ones.
    beyond: Sequence[str] = row.get(None, ())  # type: ignore[call-overload]
    if any(cell.strip() for cell in beyond) or None in row.values():
        raise ValueError(f"must have {cells} cells, as the head has")
    if not row[IMAGE].strip():
        raise ValueError("image must name a picture, got nothing")
    return row[IMAGE]


def _untouched(row: dict[str, str], skeleton: Skeleton) -> bool:
    """Return whether `cpm-fast label` wrote a row on which nothing is labeled."""
    columns = [*BOX_COLUMNS, *(part + axis for part in skeleton.names for axis in (X, Y))]
    return STATE_COLUMN in row and not any((row.get(column) or "").strip() for column in columns)


def _points(row: dict[str, str], skeleton: Skeleton, mark: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read [P, 2] image pixels, NaN where not labeled, and which parts are hidden, if the table has flags."""
    points = np.array([[_number(row, part + axis, mark) for axis in (X, Y)] for part in skeleton.names])
    halves = np.isfinite(points).sum(axis=1) == 1
    if halves.any():
        part = skeleton.names[int(halves.argmax())]
        raise ValueError(f"{part}_x and {part}_y must both be given or both be empty")
    if not any(part + VISIBILITY in row for part in skeleton.names):
        return points, None
    seen = np.array([_visibility(row, part, mark) for part in skeleton.names])
    points[seen <= NOT_LABELED] = np.nan
    return points, (seen == OCCLUDED) & np.isfinite(points).all(axis=1)


def _visibility(row: dict[str, str], part: str, mark: str) -> float:
    """Read a part's flag; seen if the table has none."""
    value = _number(row, part + VISIBILITY, mark) if part + VISIBILITY in row else np.nan
    if not (np.isnan(value) or value <= NOT_LABELED or value in (OCCLUDED, SEEN)):
        raise ValueError(f"{part}_v must be 0 (not labeled), 1 (hidden), 2 (visible) or empty, got {value:g}")
    return SEEN if np.isnan(value) else value


def _number(row: dict[str, str], column: str, mark: str) -> float:
    try:
        value = number(row[column], mark)
    except ValueError:
        raise ValueError(f"{column} must be a number or empty, got {row[column].strip()!r:.40}") from None
    if np.isinf(value):
        raise ValueError(f"{column} must be a number or empty, got {row[column].strip()!r:.40}")
    return value
