"""Digests of the files that a run reads, so that a resumed run sees the same ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cpm_fast.data.sample import Dataset
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, parse_json
from cpm_fast.system.limits import file_exists

INPUTS_FILE = "inputs.json"
# A picture's digest covers its size and so many bytes at either end.
END_BYTES = 4096
SHOWN = 3

Digests = dict[str, str | None]
Input = Dataset | Backgrounds


def annotation_digests(datasets: Iterable[Input]) -> Digests:
    """Compute the digest of every annotation file: name -> digest."""
    return {
        _name(number, path, path.parent): hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        for number, dataset in enumerate(datasets)
        for path in _annotation_files(dataset)
    }


def input_digests(datasets: Sequence[Input]) -> Digests:
    """Compute the digest of every file that the samples of datasets come from; None if it is missing.

    Args:
        datasets: those that read files list them in `annotation_files` and `picture_files()`; others have none.
    """
    found = annotation_digests(datasets)
    for number, dataset in enumerate(datasets):
        whole, annotations = _behind(dataset), _annotation_files(dataset)
        pictures: list[Path] = getattr(whole, "picture_files", list)()
        start = annotations[0].parent if annotations else Path()
        found |= {_name(number, path, start): _ends_digest(path) for path in pictures}
    return found


def check_inputs(path: Path, now: Digests) -> None:
    """Refuse to resume a run with files other than those at its start; a missing one is left out of training.

    Args:
        path: of the run's inputs.json; if there is none, nothing is compared.
        now: the present digests.

    Raises:
        ValueError: a file has changed, or inputs.json can't be understood; names the first ones.
    """
    if not file_exists(path):
        return
    try:
        before = parse_json(path.read_text(encoding="utf-8"))
        changed = [name for name, digest in before.items() if digest and now.get(name) and now[name] != digest]
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: not the inputs of a run: {error}") from None
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise ValueError(
            f"{path}: {len(changed)} files have changed since the run was started: {', '.join(changed[:SHOWN])}{more}: "
            "restore them, or start another run"
        )


def write_inputs(path: Path, now: Digests) -> None:
    """Write inputs.json."""
    with atomic_write(path) as file:
        file.write((json.dumps(now, indent=0) + "\n").encode())


def _behind(dataset: Input) -> Input:
    """Return the dataset behind a part or a view of it."""
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset


def _annotation_files(dataset: Input) -> list[Path]:
    return [path for path in getattr(_behind(dataset), "annotation_files", ()) if path.is_file()]


def _name(number: int, path: Path, start: Path) -> str:
    """Return a file's name that stays the same if the dataset is moved; the dataset's number is a part of it."""
    return f"{number}:{os.path.relpath(path, start)}"


def _ends_digest(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(END_BYTES)
            file.seek(max(0, size - END_BYTES))
            content += file.read(END_BYTES)
    except OSError:
        return None
    return hashlib.blake2b(content + str(size).encode(), digest_size=8).hexdigest()
