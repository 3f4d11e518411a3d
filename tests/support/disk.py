"""A disk that fails, or dies with its process, at the n-th write, sync, rename or removal."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

# The position of the file among the arguments of the functions of `os` that change files.
PLACES = {"fsync": 0, "ftruncate": 0, "pwrite": 0, "replace": 1, "rename": 1, "unlink": 0, "rmdir": 0, "mkdir": 0}


class Killed(BaseException):
    """An error: the process is dead; all its later disk operations raise this too."""


class Disk:
    """A counter of events on files below a folder; at the n-th event the disk fails, or the process dies.

    Half of a failing write reaches the disk. After a death no write does, so that `finally` and `except` of the code
    under test leave the files as a kill would. Events after a failure succeed again.

    Args:
        folder: outside it nothing counts.
        at: the event, from 0; None only counts.
        kill: die there instead of failing.
        only: count the events of files with this in their path.
    """

    def __init__(self, folder: Path, at: int | None = None, kill: bool = False, only: str = "") -> None:
        self.folder, self.at, self.kill, self.only = os.path.realpath(folder), at, kill, only
        self.count, self.dead = 0, False
        self.failed: str | None = None

    def event(self, path: str | os.PathLike[str] | int, half: Callable[[], object] | None = None) -> None:
        """Let an event happen to a file, by its path or descriptor."""
        name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.realpath(path)
        if not name.startswith(self.folder):
            return
        if self.dead:
            raise Killed
        if self.only not in name:
            return
        self.count += 1
        if self.at is not None and self.count == self.at + 1:
            self.failed = name
            if half is not None:
                half()
            if self.kill:
                self.dead = True
                raise Killed
            # Like the system's errors, those on an open file have no name.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *(() if isinstance(path, int) else (name,)))

    @contextmanager
    def mounted(self) -> Iterator[Disk]:
        """Use it in place of the real disk."""
        with pytest.MonkeyPatch.context() as patch:
            for name, path_at in PLACES.items():
                patch.setattr(os, name, self._instead_of(getattr(os, name), path_at))
            patch.setattr(io, "open", self._opened(io.open))
            yield self

    def _instead_of(self, real: Callable[..., Any], path_at: int) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            # A folder's entries are removed by their names in it, which `rmtree` opened before.
            inside = named.get("dir_fd")
            place = f"/proc/self/fd/{inside}/{given[path_at]}" if inside is not None else given[path_at]
            self.event(place)
            return real(*given, **named)

        return call

    def _opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
            made = real(file, mode, *given, **named)
            return _Written(made, self) if set(mode) & set("wax+") else made

        return opened


class _Written:
    """An open file whose writes are events, and reach the disk at once."""

    def __init__(self, file: BinaryIO, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._disk.event(self._file.fileno(), half)
        written = self._file.write(data)
        self._file.flush()
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
