"""Files of results: the choice of format, whole writing and careful reading."""

from __future__ import annotations

import csv
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.coco import COCO, CocoIds, save_coco
from cpm_fast.results.formats.csv import from_csv, name_beside, name_from, to_csv
from cpm_fast.results.formats.json import from_json, to_json
from cpm_fast.results.formats.npz import from_npz, to_npz
from cpm_fast.results.formats.openpose import OPENPOSE, save_openpose
from cpm_fast.results.formats.plain import Read, shared_skeleton
from cpm_fast.system.files import VALUE_ERRORS, atomic_write
from cpm_fast.system.limits import LARGEST_BYTES, check_file
from cpm_fast.system.words import in_short

# Errors that the readers of JSON, CSV and NumPy's archives raise for a damaged file.
# A RuntimeError comes from an archive that claims to be encrypted, or packed by a method that Python does not have.
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
DAMAGE = (*VALUE_ERRORS, *ARCHIVE_ERRORS, MemoryError, SyntaxError, tokenize.TokenError, csv.Error)


def save_entries(
    entries: Sequence[Entry],
    failures: Mapping[str, str],
    path: Path,
    form: str | None = None,
    coco_file: str | Path | None = None,
) -> None:
    """Write the entries in the format of the suffix or of `form`; see `Results.save`."""
    if coco_file is not None and form != COCO:
        raise ValueError(f"coco_file is for the form 'coco', got the form {form!r}")
    if form is not None:
        shared_skeleton(entries)
        if form not in EXCHANGE:
            raise ValueError(f"form must be one of {list(EXCHANGE)}, or the suffix of path says it, got {form!r}")
        if coco_file is not None:
            save_coco(entries, path, CocoIds.read(coco_file))
        else:
            EXCHANGE[form](entries, path)
        return
    writer, _ = _form(path)
    if writer is to_csv:
        entries = [replace(entry, name=name_beside(entry.name, path.parent)) for entry in entries]
    data = writer(entries, failures)
    with atomic_write(path) as file:
        file.write(data)


def load_entries(path: Path) -> Read:
    """Read a file of `save_entries` by its suffix; see `Results.load`."""
    _, reader = _form(path)
    check_file(path, LARGEST_BYTES)
    data = path.read_bytes()
    try:
        entries, failures = reader(data)
        if reader is from_csv:
            entries = [replace(entry, name=name_from(entry.name, path.parent)) for entry in entries]
        return entries, failures
    except DAMAGE as error:
        raise ValueError(f"{path}: not a file of results that can be read: {in_short(error)}") from None


Writer = Callable[[Sequence[Entry], Mapping[str, str]], bytes]
Reader = Callable[[bytes], Read]


def _form(path: Path) -> tuple[Writer, Reader]:
    if path.suffix.lower() not in FORMS:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(FORMS)}")
    return FORMS[path.suffix.lower()]


EXCHANGE: dict[str, Callable[[Sequence[Entry], Path], None]] = {COCO: save_coco, OPENPOSE: save_openpose}
FORMS: dict[str, tuple[Writer, Reader]] = {
    ".json": (to_json, from_json),
    ".csv": (to_csv, from_csv),
    ".npz": (to_npz, from_npz),
}
