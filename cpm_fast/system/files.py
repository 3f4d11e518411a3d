"""Atomic files, either old or new, never half: written under a temporary name, synced and renamed; and JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

TEMPORARY_SUFFIX = ".cpm_fast.tmp"
# Python raises these at values of another type or range than a file of plain values should hold.
VALUE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
# Limit of a file's name, and what is kept free behind a stem for numbers and suffixes.
NAME_BYTES, STEM_ROOM = 255, 40


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that takes its name only when all of it is on the disk.

    The bytes go to a hidden temporary file in the same folder; at the end it is synced and renamed over `path`, and
    the folder is synced. An exception, or the machine dying at any instant, leaves what stood at `path` before.

    Args:
        path: of the file to be; its folder must exist. A link is followed, so that its target is replaced.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: path is a folder.
        OSError: it is a pipe or a device, which a renamed file would replace, or it can't be written, for instance
            because the disk is full; names the file.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path}: must be a file to write, got a folder")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: must be a regular file to write, got a pipe or device")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist; make it first")
    start = short_name(f".{path.name}", "." * STEM_ROOM)[: 1 - STEM_ROOM]
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=start, suffix=TEMPORARY_SUFFIX)
    try:
        with naming(path):
            with os.fdopen(handle, "wb") as file:
                yield cast(BinaryIO, file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, _mode(path))
            os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of the block the file's name: a write to an open file fails without it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_json(path: Path, values: Any) -> None:
    """Write values as JSON, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; names in it that are not UTF-8 are written as escapes."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON as json.loads does, from text that anybody may have written.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a process killed within `atomic_write` left in a folder nobody else writes to."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


@contextmanager
def utf8_path(path: str | Path) -> Iterator[Path]:
    """Yield a path of a file in UTF-8, for libraries that accept no other: its own, or that of a temporary link."""
    path = Path(path)
    if is_utf8(path):
        yield path
        return
    with TemporaryDirectory(prefix="cpm_fast") as folder:
        link = Path(folder) / f"file{text_of_name(path.suffix)}"
        try:
            link.symlink_to(path.absolute())
        except OSError:
            # Windows asks for a right that few users have.
            link = path
        yield link


def is_utf8(path: str | Path) -> bool:
    """Return whether a path is text: the names of some file systems are any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def free_stems(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Return a file name's stem for each image, no two the same even on a file system that ignores case.

    Args:
        names: of the images.
        taken: stems that are not free.
    """
    used = {stem.casefold() for stem in taken}
    stems = []
    for name in names:
        stem = short_name(text_of_name(Path(name).stem) or "picture", " " * STEM_ROOM).rstrip()
        free, number = stem, 1
        while free.casefold() in used:
            number += 1
            free = f"{stem}-{number}"
        used.add(free.casefold())
        stems.append(free)
    return stems


def short_name(stem: str, suffix: str) -> str:
    """Cut a file name to 255 bytes, the limit of most file systems: the stem ends between two characters."""
    room = NAME_BYTES - len(os.fsencode(suffix))
    kept = os.fsencode(stem)
    if len(kept) > room:
        stem = kept[:room].decode(errors="ignore")
    return stem + suffix


def text_of_name(name: str) -> str:
    """Return a file's name as text that can be written anywhere: bytes that are not UTF-8 as _NN."""
    return "".join(f"_{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those that a new file would have."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last; systems that can't open a folder (Windows) do without."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
