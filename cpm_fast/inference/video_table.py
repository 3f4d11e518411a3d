"""The table of a video: a row per frame and subject, written as it goes, and resumed after a kill."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cpm_fast.inference.smoothing import OneEuro, Smoother
from cpm_fast.inference.streaming import smooth_result
from cpm_fast.inference.tracking.tracker import FOLLOWED_SCORE
from cpm_fast.results.formats.csv import X, Y, head, name_beside, read_rows, subject_rows, to_text
from cpm_fast.results.formats.files import DAMAGE
from cpm_fast.results.formats.plain import shortest
from cpm_fast.results.result import Result
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write, naming
from cpm_fast.system.limits import file_exists, open_to_append
from cpm_fast.system.words import in_short

# Columns of the positions before smoothing, which the filter needs when the run is resumed.
FOUND = "_found"


class VideoTable:
    """A CSV file that grows frame by frame.

    Args:
        path: of the file.
        skeleton: the P parts.
        subjects: rows per frame; None where frames have different numbers of them.
        smooth: the filter of the key points; None: no filter.
        name: of the video, as it is from the working folder.
        min_score: parts below it are written as absent.
        margin: of the network.

    Columns <part>_x_found and _y_found hold the unsmoothed places that a resumed run needs and the table does not show.
    """

    def __init__(
        self,
        path: Path,
        skeleton: Skeleton,
        subjects: int | None,
        smooth: OneEuro | None,
        name: str,
        min_score: float,
        margin: float,
    ) -> None:
        self.path, self.skeleton, self.subjects, self.smooth = path, skeleton, subjects, smooth
        self.name, self.min_score, self.margin = name_beside(name, path.parent), min_score, margin
        # Parts from this score on decide the next frame's region.
        self._keeps_found = smooth is not None or min_score > FOLLOWED_SCORE
        self._smoothers: dict[int, Smoother] = {}
        self._file: BinaryIO | None = None

    def start(self) -> None:
        """Begin a new table, with its head."""
        with atomic_write(self.path) as file:
            file.write(to_text([self._head()]).encode())
        self._file = open_to_append(self.path)

    def resume(self, until: int | None = None) -> Result | None:
        """Resume the table after a kill; return the last whole frame as it was found, None if there is none.

        Args:
            until: the last frame whose rows are kept, where frames have different numbers of them.

        Raises:
            ValueError: it is not such a table; the message names the file.
        """
        lines = io.StringIO(self._whole_lines(), newline="")
        last = None
        try:
            # A frame is written as one, but a full disk may have cut it between its rows.
            with atomic_write(self.path) as file:
                file.write(to_text([self._head()]).encode())
                for entry in read_rows(lines, FOUND) if lines.getvalue() else ():
                    if entry.skeleton.names != self.skeleton.names:
                        raise ValueError(f"must have the parts {list(self.skeleton.names)}")
                    whole = len(entry) == self.subjects if until is None else (entry.frame or 0) <= until
                    if whole:
                        last = dataclasses.replace(Result.of(entry), skeleton=self.skeleton, margin=self.margin)
                        file.write(self._rows(last)[1])
        except DAMAGE as error:
            raise ValueError(f"{self.path}: not a table that can be resumed: {in_short(error)}") from None
        self._file = open_to_append(self.path)
        return last

    def add(self, found: Result) -> Result:
        """Write a frame's rows; return the filtered result that they hold."""
        shown, rows = self._rows(found)
        if self._file is None:
            raise ValueError(f"{self.path}: start or resume the table first")
        with naming(self.path):
            self._file.write(rows)
            self._file.flush()
        return shown

    def results(self) -> Iterator[Result]:
        """Yield the rows of the file, frame by frame, as they are drawn."""
        with self.path.open(newline="", encoding="utf-8") as file:
            for entry in read_rows(file):
                yield dataclasses.replace(Result.of(entry), skeleton=self.skeleton, margin=self.margin)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _head(self) -> list[object]:
        columns = head(self.skeleton.names, video=True)
        return columns + [part + axis + FOUND for part in self.skeleton.names for axis in (X, Y) if self._keeps_found]

    def _rows(self, found: Result) -> tuple[Result, bytes]:
        shown = smooth_result(found, self._smoothers, self.smooth) if self.smooth else found
        written = dataclasses.replace(shown.surer_than(self.min_score), name=self.name)
        rows = subject_rows(written, video=True)
        if self._keeps_found:
            for row, points in zip(rows, found.keypoints, strict=True):
                row += [_cell(value) for value in points.ravel()]
        return shown, to_text(rows).encode()

    def _whole_lines(self) -> str:
        data = self.path.read_bytes() if file_exists(self.path) else b""
        return data[: data.rfind(b"\n") + 1].decode()


def _cell(value: np.floating) -> str:
    number = shortest(value)
    return "" if number is None else repr(number)
