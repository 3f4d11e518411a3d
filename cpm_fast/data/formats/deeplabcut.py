"""DeepLabCut's labels: CollectedData as CSV or H5, of one video or of a whole project."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cpm_fast.data.files.csv_file import number, read_csv_text
from cpm_fast.data.files.pandas_hdf5 import Name, read_frame
from cpm_fast.data.left_out import LeftOut
from cpm_fast.data.own_skeleton import alike_apart, skeleton_file, skeleton_of
from cpm_fast.data.pictures import Pictures
from cpm_fast.data.subjects import Subject, Subjects, region_of_parts
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.limits import check_file

LABELS = "CollectedData*"
FORMS = (".csv", ".h5")
SCORER, INDIVIDUALS, BODYPARTS, COORDS = "scorer", "individuals", "bodyparts", "coords"
LIKELIHOOD = "likelihood"
LEVELS = (SCORER, INDIVIDUALS, BODYPARTS, COORDS)
# Parts that belong to no animal have an individual of this name.
NO_ANIMAL = "single"
LARGEST_BYTES = 1 << 30


class DeepLabCut(Subjects):
    """Labels of DeepLabCut (Mathis et al. 2018): 0-based pixels, empty where a part is not labeled.

    With one animal the whole picture is the region, as in `infer` without a box; with several (a row
    `individuals`) each is a sample, its region around its labeled parts, and the others of the frame are its neighbors.
    Frames without labels are left out; with several animals, so are animals with one labeled part, which has no extent,
    and parts that belong to no animal.

    Names are those of the columns; a skeleton.toml beside the file, or in the project's folder, may choose among them
    by name and give limbs and pairs. Without one left_... and right_... are pairs.

    Args:
        path: of a CollectedData .csv or .h5, or of a project, which holds labeled-data/VIDEO/CollectedData_SCORER.csv
            or .h5. Pictures are looked for by the path of their row, from the file's folder and from the project's, and
            beside the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such labels; the message names the file, and the line of a CSV.
        RuntimeError: h5py is missing, for .h5.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        files = label_files(path) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(f"{path}: must hold labeled-data/VIDEO/{LABELS}.csv or .h5")
        tables = [_read(file) for file in files]
        parts = tuple(dict.fromkeys(part for table in tables for part in table.parts))
        for part, other in alike_apart([table.parts for table in tables]):
            warnings.warn(
                f"{path}: parts {part!r} and {other!r} of different files count as two; if they are one, give them "
                "one name",
                stacklevel=2,
            )
        roots = [path] if path.is_dir() else [path.parent, *_project(path)]
        own = skeleton_file(roots)
        skeleton = Skeleton.from_toml(own) if own is not None else _skeleton_named(files[0], parts)
        lacking = [name for name in skeleton.names if name not in parts]
        if lacking:
            raise ValueError(f"{files[0]}: must have the body parts {lacking}, got {list(parts)}")
        left_out = LeftOut(path, "row")
        subjects = [subject for table in tables for subject in table.subjects(skeleton, left_out)]
        reasons = left_out.report(len(subjects))
        if not subjects:
            raise ValueError(f"{path}: must have rows with labeled parts, got none")
        # In a project a file name alone would lead to the frame of another video.
        pictures = Pictures(roots, bare=False)
        super().__init__(roots[0].resolve().name, skeleton, subjects, pictures, files, reasons)


def label_files(project: Path) -> list[Path]:
    """Find the labels of every video of a project, as CSV if both forms exist.

    Raises:
        ValueError: a folder holds two files of labels, of two scorers for instance; names both.
    """
    found: dict[Path, Path] = {}
    for form in FORMS:
        for file in sorted(project.glob(f"labeled-data/*/{LABELS}{form}")):
            other = found.setdefault(file.parent, file)
            if other.stem != file.stem:
                raise ValueError(f"{other} and {file.name}: a folder must hold one file of labels; move one away")
    return [found[folder] for folder in sorted(found)]


def _project(file: Path) -> list[Path]:
    """Return the folder of the project that a file of labels belongs to, if any."""
    folder = file.resolve().parent.parent
    return [folder.parent] if folder.name == "labeled-data" else []


def is_labels(path: Path) -> bool:
    """Return whether a CSV file begins as DeepLabCut's do."""
    with path.open("rb") as file:
        # UTF-16 has a zero beside every one of these letters.
        head = file.read(64).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe").lower()
    return re.match(rb'"?scorer"?[,;\t]', head) is not None


@dataclass(frozen=True, eq=False)
class _Table:
    """One file.

    Args:
        path: of it.
        images: of the M rows, as the file calls them.
        animals: individuals with these parts; one without a name if the file has none.
        parts: the P body parts.
        points: [M, A, P, 2] NaN where not labeled.
        unusable: a place and a reason for each row that is not among them.
    """

    path: Path
    images: list[str]
    animals: list[str]
    parts: tuple[str, ...]
    points: np.ndarray
    unusable: Sequence[tuple[str, str]] = ()

    def subjects(self, skeleton: Skeleton, left_out: LeftOut) -> list[Subject]:
        found, beside = [], self.path.parent
        for place, reason in self.unusable:
            left_out.add(f"{self.path.name} {place}", reason)
        seen: set[str] = set()
        # The last place is that of a part that the file does not have.
        order = np.array(skeleton.order_from(self.parts))
        absent = np.full((*self.points.shape[:2], 1, 2), np.nan)
        for image, animals in zip(self.images, np.concatenate([self.points, absent], axis=2)[:, :, order], strict=True):
            if image in seen:
                left_out.add(f"{self.path.name} {image}", "is there twice; its first row is used")
                continue
            seen.add(image)
            if np.isinf(animals).any():
                left_out.add(f"{self.path.name} {image}", "coordinates must be finite numbers or missing, got infinite")
                continue
            for points in animals:
                if not np.isfinite(points).all(axis=1).any():
                    continue
                if len(self.animals) == 1:
                    found.append(Subject(image, points, None, folder=beside))
                    continue
                try:
                    roi, box = region_of_parts(points, skeleton)
                except ValueError as error:
                    left_out.add(f"{self.path.name} {image}", error)
                    continue
                found.append(Subject(image, points, roi, box_image=box, folder=beside))
        return found


def _skeleton_named(path: Path, parts: tuple[str, ...]) -> Skeleton:
    try:
        return skeleton_of(path.resolve().parent.name, parts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> _Table:
    unusable: list[tuple[str, str]] = []
    if path.suffix.lower() == ".csv":
        rows, columns, values, unusable = _read_csv(path)
    else:
        check_file(path, LARGEST_BYTES)
        rows, columns, values = read_frame(path)
    try:
        return replace(_arrange(path, rows, columns, values), unusable=unusable)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _arrange(path: Path, rows: list[Name], columns: list[Name], values: np.ndarray) -> _Table:
    if not columns or len(columns[0]) not in (3, 4):
        raise ValueError(f"columns must be named by scorer, (individuals,) bodyparts, coords, got {columns[:1]}")
    if rows and any(name[-1] == LIKELIHOOD for name in columns) and all(row[-1].isdigit() for row in rows):
        raise ValueError("holds predictions for the frames of a video, not labels of pictures")
    # Spreadsheets add empty columns, and people spaces around names.
    columns = [tuple(level.strip() for level in name) for name in columns]
    kept = [at for at, name in enumerate(columns) if any(name)]
    columns, values = [columns[at] for at in kept], values[:, kept]
    place = {(name[1] if len(name) == 4 else "", *name[-2:]): at for at, name in enumerate(columns)}
    owners = list(dict.fromkeys(owner for owner, _, _ in place))
    animals = [owner for owner in owners if owner != NO_ANIMAL] or owners
    parts = tuple(dict.fromkeys(part for owner, part, _ in place if owner in animals))
    wanted = [[[(owner, part, axis) for axis in "xy"] for part in parts] for owner in animals]
    for owner in wanted:
        for x, y in owner:
            # A part that one animal does not have is labeled nowhere on it; half of one is a mistake.
            if (x in place) != (y in place):
                lacking = " ".join(y if x in place else x).strip()
                raise ValueError(f"must have the column {lacking:.80}, got {len(columns)} others")
    if len(place) != len(columns):
        raise ValueError("columns must be named each once")
    values = np.concatenate([values, np.full((len(values), 1), np.nan)], axis=1)
    points = values[:, [[[place.get(key, -1) for key in part] for part in owner] for owner in wanted]]  # [M, A, P, 2]
    points = np.where(np.isnan(points).any(axis=-1, keepdims=True), np.nan, points)
    images = ["/".join(level for level in row if level).replace("\\", "/") for row in rows]
    return _Table(path, images, animals, parts, points)


def _read_csv(path: Path) -> tuple[list[Name], list[Name], np.ndarray, list[tuple[str, str]]]:
    """Return rows named by their first cells, one or three, as many as precede the first coordinate.

    Returns:
        The rows' names, the columns' names, the values, and a place and a reason for each row that can't be used.
    """
    text, mark = read_csv_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise ValueError(f"{path} after line {reader.line_num}: not CSV that can be read: {error}") from None
    head = {line[0].lower(): line for _, line in lines[: len(LEVELS)] if line[0].lower() in LEVELS}
    if not {SCORER, BODYPARTS, COORDS} <= set(head):
        raise ValueError(f"{path}: must begin with the rows {SCORER}, {BODYPARTS} and {COORDS}, got {list(head)}")
    width = len(head[COORDS])
    names = next((at for at, text in enumerate(head[COORDS]) if at and text), width)
    for line in head.values():
        if len(line) != width:
            raise ValueError(f"{path}: each row of the head must have {width} cells, got {len(line)}")
    columns = list(zip(*(head[level][names:] for level in LEVELS if level in head), strict=True))
    found, values = [], []
    unusable: list[tuple[str, str]] = []
    for place, line in lines[len(head) :]:
        try:
            if len(line) < width or any(cell.strip() for cell in line[width:]):
                raise ValueError(f"must have {width} cells, got {len(line)}")
            values.append(_numbers(line[names:width], mark))
            found.append(tuple(line[:names]))
        except ValueError as error:
            unusable.append((f"line {place}", str(error)))
    return found, columns, np.array(values).reshape(len(values), len(columns)), unusable


def _numbers(texts: Sequence[str], mark: str) -> list[float]:
    found = []
    for text in texts:
        try:
            found.append(number(text, mark))
        except ValueError:
            raise ValueError(f"must be a number or empty, got {text!r:.40}") from None
    return found
