"""Checks before a file is read whole or extended: it must be a regular file, of limited size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

# Files of tables and annotations that are read whole.
LARGEST_BYTES = 1 << 32


def check_file(path: Path, most_bytes: int) -> None:
    """Refuse files that are not regular (a pipe waits forever, a device never ends) or too large.

    Args:
        path: of the file.
        most_bytes: the limit of its size.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a regular file, or too large; the message names it.
    """
    if not path.is_file():
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path}: must be a regular file")
        raise FileNotFoundError(f"{path}: no such file")
    size = path.stat().st_size
    if size > most_bytes:
        raise ValueError(f"{path}: must have at most {most_bytes:,} bytes, got {size:,}")


def has_file(path: Path) -> bool:
    """Return whether there is a regular file; a name that is too long for the system counts as missing.

    >>> has_file(Path("a" * 5000))
    False
    """
    return os.path.isfile(path)


def file_exists(path: Path) -> bool:
    """Return whether there is a regular file; a pipe or device of that name is an error, not a missing file.

    Raises:
        ValueError: it is not a regular file, or too large; the message names it.
    """
    if path.is_dir() or not path.exists():
        return False
    check_file(path, LARGEST_BYTES)
    return True


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to write at its end; it is made if there is none.

    Raises:
        ValueError: it is not a regular file: a pipe waits for its reader; the message names it.
        OSError: it can't be written.
    """
    file_exists(path)
    return path.open("ab")
