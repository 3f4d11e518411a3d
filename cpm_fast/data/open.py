"""Opening of datasets by a word or a path on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cpm_fast.data.corrected import Corrected, read_corrections
from cpm_fast.data.drawn.scenes import DrawnScenes
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.files.hdf5 import check_hdf5, open_hdf5
from cpm_fast.data.files.json_file import starts_list
from cpm_fast.data.formats.annotation_set import IMAGES, AnnotationSet
from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.data.formats.deeplabcut import DeepLabCut, is_labels, label_files
from cpm_fast.data.formats.flic import FramesInCinema
from cpm_fast.data.formats.lsp import LeedsSports
from cpm_fast.data.formats.mpii import MpiiJson, MpiiRelease
from cpm_fast.data.formats.table import PartsTable
from cpm_fast.data.sample import Dataset

# Drawn data by its word, and its usual count: of figures or of scenes.
DRAWN: dict[str, tuple[Callable[[int, int], Dataset], int]] = {
    "synthetic": (DrawnFigures, 8000),
    "synthetic-scenes": (DrawnScenes, 2000),
}
CORRECTED = "corrected"
# The file of a DeepLabCut project.
PROJECT_FILE = "config.yaml"
# Advice for files of other suffixes.
REMEDIES = {
    ".slp": "labels of SLEAP become such a folder by cpm-fast data convert",
    ".xlsx": "save the table as CSV UTF-8",
    ".gz": "unpack it first",
    ".zip": "unpack it first",
}
KNOWN = (
    "a folder of LSP or LSP-extended (joints.mat and images/) or FLIC (examples.mat and images/), MPII's .mat, "
    "a .json of MPII or of COCO key points, a .csv or .h5 of DeepLabCut or its project folder, an .h5 with images and "
    "annotations, a .csv of your own, or a folder that holds one such file"
)


def open_dataset(spec: str | Path) -> Dataset:
    """Open a dataset by path or word.

    Args:
        spec: "synthetic" or "synthetic:COUNT" or "synthetic:COUNT:SEED" (drawn figures); the same with
            "synthetic-scenes" (pictures of one to six drawn figures); a file or folder as listed in `KNOWN`; or
            "corrected:FILE:DATA": any of these with the labels that a file of corrections changes.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: an unknown kind of data.

    Examples:
        >>> data = open_dataset("synthetic:3")
        >>> len(data), data[0].parts_image.shape
        (3, (14, 2))
    """
    if str(spec).partition(":")[0] == CORRECTED:
        return _open_corrected(str(spec))
    word, *numbers = str(spec).split(":")
    if word in DRAWN:
        if len(numbers) > 2 or not all(number.isdigit() for number in numbers):
            raise ValueError(f"data must be {word}, {word}:COUNT or {word}:COUNT:SEED, got {spec!r}")
        drawn, usual = DRAWN[word]
        count, seed = [int(number) for number in numbers] + [usual, 0][len(numbers) :]
        return drawn(count, seed)
    path = Path(spec)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder (data may also be the word {' or '.join(DRAWN)})")
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise ValueError(f"{path}: data must be a regular file or a folder")
    return _open_file(path)


def _open_corrected(spec: str) -> Dataset:
    """Open a dataset with corrections, by corrected:FILE:DATA."""
    _, file, data = [*spec.split(":", 2), "", ""][:3]
    if not file or not data:
        raise ValueError(f"data must be corrected:FILE:DATA, with a file of corrections, got {spec!r}")
    dataset, path = open_dataset(data), Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return Corrected(dataset, read_corrections(path, dataset), path)


def _open_folder(path: Path) -> Dataset:
    for name, opened in NAMED.items():
        if (path / name).is_file():
            return opened(path)
    if label_files(path):
        return DeepLabCut(path)
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in BY_SUFFIX and file.is_file())
    # DeepLabCut writes its labels in both forms.
    found = [file for file in found if file.suffix != ".h5" or file.with_suffix(".csv") not in found]
    if len(found) == 1:
        return _open_file(found[0])
    raise ValueError(f"{path}: data must be {KNOWN}; this folder holds {len(found)} of them")


def _open_file(path: Path) -> Dataset:
    if path.name == PROJECT_FILE and label_files(path.parent):
        return DeepLabCut(path.parent)
    opened = BY_SUFFIX.get(path.suffix.lower())
    if opened is None:
        remedy = REMEDIES.get(path.suffix.lower(), "")
        raise ValueError(f"{path}: data must be {KNOWN}{remedy and '; ' + remedy}")
    return opened(path)


def _open_mat(path: Path) -> Dataset:
    return NAMED[path.name](path.parent) if path.name in NAMED else MpiiRelease(path)


def _open_json(path: Path) -> Dataset:
    return MpiiJson(path) if starts_list(path) else CocoKeypoints(path)


def _open_csv(path: Path) -> Dataset:
    return DeepLabCut(path) if is_labels(path) else PartsTable(path)


def _open_hdf5(path: Path) -> Dataset:
    check_hdf5(path)
    with open_hdf5(path) as file:
        is_set = IMAGES in file
    return AnnotationSet(path) if is_set else DeepLabCut(path)


# A folder with such a file is one of these; other files are known by their endings.
NAMED: dict[str, Callable[[Path], Dataset]] = {"joints.mat": LeedsSports, "examples.mat": FramesInCinema}
BY_SUFFIX: dict[str, Callable[[Path], Dataset]] = {
    ".csv": _open_csv,
    ".json": _open_json,
    ".mat": _open_mat,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
}
