"""The page's data: pictures, labels with revisions, and predictions of one folder."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.data.check import swapped_sides
from cpm_fast.data.files.csv_file import read_csv_text
from cpm_fast.labeling.folder import PRIVATE, SHOWN, is_below, list_pictures
from cpm_fast.labeling.predictions import FolderPredictions
from cpm_fast.labeling.table import EMPTY, MAX_SUBJECTS, STATES, LabeledSubject, LabelTable
from cpm_fast.media.image import read_image, read_picture
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import text_of_name
from cpm_fast.system.locks import FolderInUse, folder_lock
from cpm_fast.system.words import some_of

LABELS_FILE = "labels.csv"
PREDICTED, UNTOUCHED = "predicted", "untouched"
# Height and width that a small picture fits in.
THUMB_SIZE = (72, 288)
# A label lies nearer to the predicted mirror image than to its own part by this factor: perhaps the sides are swapped.
MIRRORED_RATIO = 0.5


class Conflict(Exception):
    """An error: the labels of a picture are not those that a change started from.

    Args:
        picture: the current state of the picture, as for `Store.picture`.
    """

    def __init__(self, picture: dict[str, Any]) -> None:
        super().__init__("the labels of this picture were changed elsewhere")
        self.picture = picture


class Store:
    """A folder of pictures and its labels.csv, for several pages and threads at once.

    The table is read again if another program changed it. One store at a time may hold a folder.

    Args:
        folder: of the pictures.
        skeleton: the P parts.
        network: the network of the predictions to show, see `FolderPredictions`.
        only: a CSV file with a column image: only these pictures, in its order.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: there are no pictures, or labels.csv is damaged.
        RuntimeError: another process holds the folder.
    """

    def __init__(self, folder: Path, skeleton: Skeleton, network: str | None = None, only: Path | None = None) -> None:
        self.folder, self.skeleton = folder.resolve(), skeleton
        self.names = list_pictures(folder) if only is None else listed(only, list_pictures(folder))
        if not self.names:
            raise ValueError(f"{folder}: the folder must hold pictures; cpm-fast frames takes them out of videos")
        self.private = self.folder / PRIVATE
        self.private.mkdir(exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(folder_lock(self.private))
            except FolderInUse as error:
                raise RuntimeError(f"{folder}: another cpm-fast label serves this folder: {error}") from None
            self.table = LabelTable(self.folder / LABELS_FILE, skeleton)
            self._signature = self._stat()
            self.predictions = FolderPredictions(self.private, skeleton, network)
            self._held = held.pop_all()
        self._lock = threading.Lock()
        self._numbers = {name: number for number, name in enumerate(self.names)}
        # Which pictures changed, in order; a page asks for those from its version on.
        self._changes: list[int] = []

    def close(self) -> None:
        """Release the folder."""
        self._held.close()

    def overview(self) -> dict[str, Any]:
        """Return the folder's data for a page that opens."""
        with self._lock:
            self._refresh()
            return {
                "folder": text_of_name(self.folder.name),
                "skeleton": {**self.skeleton.to_dict(), "mirror": self.skeleton.mirror},
                "pictures": self.names,
                "states": [self._state(name) for name in self.names],
                "uncertainty": self.predictions.uncertainty(self.names),
                "version": len(self._changes),
            }

    def changes(self, version: int) -> dict[str, Any]:
        """Return states, revisions and uncertainty of the pictures that changed since a version.

        Raises:
            ValueError: there was no such version.
        """
        with self._lock:
            self._refresh()
            if not 0 <= version <= len(self._changes):
                raise ValueError(f"version must be from 0 to {len(self._changes)}, got {version}")
            numbers = sorted(set(self._changes[version:]))
            names = [self.names[number] for number in numbers]
            uncertain = self.predictions.uncertainty(names)
            changed = {
                number: {"state": self._state(name), "revision": self.table.revision(name), "uncertainty": doubt}
                for number, name, doubt in zip(numbers, names, uncertain, strict=True)
            }
            return {"version": len(self._changes), "pictures": changed}

    def picture(self, number: int) -> dict[str, Any]:
        """Return the labels and predictions of a picture."""
        with self._lock:
            self._refresh()
            return self._picture(number)

    def save(self, number: int, base: str, subjects: Sequence[LabeledSubject], state: str | None) -> dict[str, Any]:
        """Replace the labels of a picture, on the disk too.

        Args:
            number: of the picture.
            base: the revision that the change started from.
            subjects: all of the picture.
            state: one of STATES, or None if the picture has no labels.

        Returns:
            The picture as it is now.

        Raises:
            Conflict: the labels are not those of that revision any more.
            ValueError: the state is not one, or there are too many subjects.
            OSError: the table can't be written; nothing changed.
        """
        if state is not None and state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, got {state!r:.40}")
        if len(subjects) > MAX_SUBJECTS:
            raise ValueError(f"subjects must be at most {MAX_SUBJECTS}, got {len(subjects)}")
        name = self.names[number]
        with self._lock:
            self._refresh()
            if base != self.table.revision(name):
                raise Conflict(self._picture(number))
            before = self.table.rows.get(name, [])
            self.table.replace(name, subjects, state)
            if self.table.rows.get(name, []) != before:
                try:
                    self.table.write()
                except BaseException:
                    self.table.put(name, before)
                    raise
                self._signature = self._stat()
                self._changes.append(number)
            return self._picture(number)

    def predict(self, number: int, found: Sequence[np.ndarray]) -> None:
        """Keep a network's result for a picture: arrays [P, 3] of x, y and score, one per subject."""
        with self._lock:
            self.predictions.put(self.names[number], found)
            self._changes.append(number)

    def save_predictions(self) -> None:
        """Write the predictions to the disk."""
        with self._lock:
            self.predictions.save()

    def unpredicted(self) -> list[int]:
        """Return the pictures without labels and predictions, the first last."""
        with self._lock:
            none = [not self.predictions.seen(name) and self.table.state(name) is None for name in self.names]
        return [number for number in reversed(range(len(none))) if none[number]]

    def path(self, number: int) -> Path:
        """Return the file of a picture, within the folder.

        Raises:
            FileNotFoundError: it is gone, or has become a link that leads elsewhere.
        """
        path = self.folder / self.names[number]
        if not is_below(self.folder, path):
            raise FileNotFoundError(f"{self.names[number]}: the picture is gone")
        return path

    def shown(self, number: int) -> tuple[Path | bytes, str]:
        """Return a picture in a form that browsers show: its file or encoded bytes, and the media type.

        Raises:
            OSError: it can't be read.
            ValueError: it can't be decoded.
        """
        path = self.path(number)
        media = SHOWN.get(path.suffix.lower())
        return (path, media) if media else (encode(read_image(path), ".png"), "image/png")

    def thumb(self, number: int) -> bytes:
        """Make a small JPEG of a picture; errors are those of `shown`."""
        picture = read_picture(self.path(number), reduction=thumb_reduction)
        height, width = picture.size
        zoom = min(THUMB_SIZE[0] / height, THUMB_SIZE[1] / width)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        return encode(cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA), ".jpg")

    def _picture(self, number: int) -> dict[str, Any]:
        name = self.names[number]
        subjects = self.table.subjects(name)
        return {
            "number": number,
            "name": name,
            "revision": self.table.revision(name),
            "subjects": [subject.to_dict() for subject in subjects],
            "state": self._state(name),
            "predictions": self.predictions.of(name),
            "warnings": [self._warnings(subject, name) for subject in subjects],
        }

    def _state(self, name: str) -> str:
        return self.table.state(name) or (PREDICTED if self.predictions.has(name) else UNTOUCHED)

    def _warnings(self, subject: LabeledSubject, name: str) -> list[str]:
        points = np.array([point[:2] if point else (np.nan, np.nan) for point in subject.points])
        found = swapped_sides(points, self.skeleton)
        for left, right in self.skeleton.pairs:
            pair = [self.skeleton.index(left), self.skeleton.index(right)]
            for other in self.predictions.arrays(name):
                own, crossed = (np.linalg.norm(points[pair] - other[p, :2], axis=1).sum() for p in (pair, pair[::-1]))
                if crossed < MIRRORED_RATIO * own:
                    found.append(f"the network sees {left} and {right} the other way round")
        return found

    def _refresh(self) -> None:
        """Read the table again if another program wrote it."""
        signature = self._stat()
        if signature == self._signature:
            return
        fresh = LabelTable(self.folder / LABELS_FILE, self.skeleton)
        names = {*fresh.rows, *self.table.rows} & self._numbers.keys()
        self._changes += [self._numbers[name] for name in names if fresh.revision(name) != self.table.revision(name)]
        self.table, self._signature = fresh, signature

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self.folder / LABELS_FILE)
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_change(content: Any, parts: int) -> tuple[str, list[LabeledSubject], str | None]:
    """Read base revision, subjects and state from a page's message.

    Raises:
        ValueError: it is not a change.
    """
    if not isinstance(content, dict) or not isinstance(content.get("subjects"), list):
        raise ValueError(f"a change must be an object with base, subjects and state, got {content!r:.80}")
    base, state = content.get("base"), content.get("state")
    if not isinstance(base, str) or not (state is None or isinstance(state, str)):
        raise ValueError(f"base and state must be text, got {base!r:.40} and {state!r:.40}")
    subjects = [LabeledSubject.from_dict(values, parts) for values in content["subjects"]]
    if subjects and state == EMPTY:
        raise ValueError("a picture with subjects can't be empty")
    rows = [subject.row for subject in subjects if subject.row is not None]
    if len(set(rows)) != len(rows):
        raise ValueError(f"row must be different for every subject, got {rows}")
    return base, subjects, state if subjects or state == EMPTY else None


def listed(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names that are in the column image of a CSV file, in its order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a table of text, has no such column, or none of the names; the message names it.
    """
    known = set(names)
    text, mark = read_csv_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        if "image" not in (reader.fieldnames or ()):
            raise ValueError(f"must have the column image, got {some_of(reader.fieldnames or ())}")
        found = list(dict.fromkeys(row["image"] for row in reader if row["image"] in known))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None
    if not found:
        raise ValueError(f"{path}: must name pictures of the folder, got none of its {len(known)}")
    return found


def thumb_reduction(longer: int) -> int:
    """Return the largest reduction at which a picture has all pixels that a small one of it shows."""
    return next((factor for factor in (8, 4, 2) if longer >= factor * max(THUMB_SIZE)), 1)


def encode(image: np.ndarray, suffix: str) -> bytes:
    """Return a picture file in memory."""
    fine, data = cv2.imencode(suffix, image)
    if not fine:
        raise ValueError(f"a picture of {image.shape} can't be written as {suffix}")
    return data.tobytes()
