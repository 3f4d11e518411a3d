"""Output folders: one process writes at a time, and overwrites only files that this program wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cpm_fast.system.files import VALUE_ERRORS, atomic_write, free_stems, parse_json, remove_leftovers
from cpm_fast.system.locks import folder_lock

MANIFEST = ".cpm_fast.json"
Value = TypeVar("Value")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, without the temporary files of a killed one.

    The folder is made if it is missing, and removed at the end if nothing was written into it.

    Raises:
        FolderInUse: another process holds it; the message says which.
        OSError: the folder or its lock can't be written.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: must be a folder to write to, got a file")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with folder_lock(folder):
            remove_leftovers(folder)
            yield
    finally:
        with suppress(OSError):
            _remove_unused(folder, missing)


@contextmanager
def reserved(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Make a folder for files of these names; those of an earlier run are replaced, and no others.

    Raises:
        FileExistsError: a file of another origin has one of the names.
        OSError: the folder can't be written.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: must be a folder to write to, got a file")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    output = OutputFolder(folder)
    try:
        output.claim(names, overwrite=True)
        yield
        output.finish()
    finally:
        with suppress(OSError):
            _remove_unused(folder, missing)


def _remove_unused(folder: Path, made: Sequence[Path]) -> None:
    """Remove the folders that were made, deepest first, if nothing was written into them."""
    if made and [path.name for path in folder.iterdir()] == [MANIFEST]:
        (folder / MANIFEST).unlink()
    for each in made:
        # Raises OSError where there is something in it.
        each.rmdir()


class OutputFolder:
    """The files that this program wrote into a folder, by a list that lies there too.

    Args:
        folder: of the output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = written_files(folder)
        self.inputs = _noted(folder, "inputs", str)

    def claim(
        self, names: Sequence[str], overwrite: bool = False, inputs: Mapping[str, str] | None = None
    ) -> list[str]:
        """Reserve names for files that are to be written; those of them that this program wrote before.

        Args:
            names: relative to the folder.
            overwrite: replace files of ours too that were changed since.
            inputs: name -> the input that the file is of, where it is of a single one.

        Raises:
            FileExistsError: a file of another origin has one of the names, or one of ours was changed since.
        """
        there = [name for name in names if (self.folder / name).exists()]
        for name in there:
            if name not in self.files:
                raise FileExistsError(
                    f"{self.folder / name}: exists, and cpm-fast did not write it; choose another folder with -o"
                )
            if self.files[name] not in (None, _stamp(self.folder / name)) and not overwrite:
                raise FileExistsError(
                    f"{self.folder / name}: was changed since cpm-fast wrote it; --overwrite replaces it, or choose "
                    f"another folder with -o"
                )
        self.files |= dict.fromkeys(names)
        self.inputs |= inputs or {}
        self._save()
        return there

    def stems_of(self, inputs: Sequence[str], names: Sequence[str], suffix: str) -> list[str]:
        """Return a stem for the file of each input: that of an earlier run, or one that no other input has.

        Args:
            inputs: as they were given to `claim`.
            names: file names that they would have by themselves.
            suffix: of the file of each that tells which stems are in use.
        """
        there = {
            Path(name).stem: other
            for name, other in self.inputs.items()
            if name.endswith(suffix) and (self.folder / name).exists()
        }
        own = {other: stem for stem, other in reversed(there.items())}
        # An input that is given twice has files of its own the second time.
        stems = [own.pop(given, None) for given in inputs]
        free = iter(free_stems([name for name, stem in zip(names, stems, strict=True) if stem is None], there))
        return [next(free) if stem is None else stem for stem in stems]

    def finish(self) -> None:
        """Note the claimed files as they are now; those that were not written are free again."""
        stamps = {name: _stamp(self.folder / name) for name in self.files if (self.folder / name).exists()}
        self.files = {name: stamp if self.files[name] is None else self.files[name] for name, stamp in stamps.items()}
        self._save()

    def _save(self) -> None:
        with atomic_write(self.folder / MANIFEST) as file:
            file.write(json.dumps({"files": self.files, "inputs": self.inputs}, indent=0).encode())


def written_files(folder: Path) -> dict[str, list[int] | None]:
    """List the files that this program wrote into a folder, with sizes and times; None while they are being written."""
    return _noted(folder, "files", lambda stamp: None if stamp is None else [int(value) for value in stamp])


def _noted(folder: Path, key: str, read: Callable[[Any], Value]) -> dict[str, Value]:
    """Read a table of the list of files, by name; empty where there is none, or it is damaged."""
    path = folder / MANIFEST
    try:
        # A pipe would be waited for.
        values = parse_json(path.read_text(encoding="utf-8") if path.is_file() else "{}")[key]
        return {str(name): read(value) for name, value in values.items()}
    except (OSError, *VALUE_ERRORS):
        return {}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
