"""A lock, by which one process at a time holds a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO


class FolderLock:
    """A lock on a file, which the system releases when the process ends in any way.

    Args:
        path: of the file, made if it does not exist.
        message: of the error if another process holds it.

    Raises:
        RuntimeError: another process holds it.
    """

    def __init__(self, path: Path, message: str) -> None:
        self._file: BinaryIO = path.open("ab")
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            raise RuntimeError(message) from None

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), 0, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
