"""Locks of folders, to which one process at a time writes."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cpm_fast.system.files import naming, parse_json
from cpm_fast.system.numbers import is_whole

LOCK_FILE = ".cpm_fast.lock"
# Folders that threads of this process hold: record locks belong to the process, and end when any handle of the file is
# closed.
HELD: set[str] = set()
# Windows locks bytes, which nobody else can read then: one far behind the text.
LOCKED_BYTE = 1 << 30


class FolderInUse(BlockingIOError):
    """Another process works in the folder; the message says which."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder during the block; the lock of a dead process is taken over with a warning.

    The lock is a file with the holder's host and process number. The system drops it when its holder dies (POSIX record
    locks, which a loader process that is forked meanwhile does not share; on Windows a locked byte). On a file
    system without locks, the process number decides, and the lock of another host is never taken over.

    Args:
        folder: to hold; it must exist.

    Raises:
        FolderInUse: another process holds it, or another thread of this one.
        OSError: the lock can't be written.
    """
    path = folder / LOCK_FILE
    real = os.path.realpath(path)
    if real in HELD:
        raise FolderInUse(f"{folder} is in use by this process ({os.getpid()}) already; wait for it to end")
    HELD.add(real)
    try:
        handle = _take(path)
    except BaseException:
        HELD.discard(real)
        raise
    try:
        yield
    finally:
        HELD.discard(real)
        # Removed while it is held: who opened it meanwhile sees that it is no longer there.
        with suppress(OSError):
            path.unlink()
        os.close(handle)
        if sys.platform == "win32":
            # There an open file is not removed: neither ours before, nor now one that somebody else opened.
            with suppress(OSError):
                path.unlink()


def _take(path: Path) -> int:
    while True:
        handle = _opened(path)
        try:
            holder = _read(handle)
            if not _try_lock(handle, holder):
                raise FolderInUse(
                    f"{path.parent} is in use by {_name_of(holder)}; wait for it to end"
                    + ("" if _here(holder) else f", or remove {path} if it is gone")
                )
            if _same_file(handle, path):
                if holder:
                    warnings.warn(f"{path.parent}: taking over from {_name_of(holder)}, which is gone", stacklevel=4)
                own = {"host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
                with naming(path):
                    os.ftruncate(handle, 0)
                    os.lseek(handle, 0, os.SEEK_SET)
                    os.write(handle, json.dumps(own).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _opened(path: Path) -> int:
    """Open the file, made if there is none; never another file behind a link, whose content would be lost."""
    refusal = f"{path}: must be a regular file, got a link, folder, pipe or device; remove it"
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(refusal)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags, 0o666)
    # Another process may have put a pipe there meanwhile.
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(refusal)
    return handle


def _read(handle: int) -> dict[str, object]:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        found = parse_json(os.read(handle, 4096))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _try_lock(handle: int, holder: dict[str, object]) -> bool:
    """Return whether the file could be locked, or, on a file system without locks, its holder is gone."""
    try:
        _lock(handle)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return not holder or (_here(holder) and not _alive(holder))
    return True


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _here(holder: dict[str, object]) -> bool:
    return holder.get("host") == socket.gethostname()


def _alive(holder: dict[str, object]) -> bool:
    process = _process_of(holder)
    if process is None:
        return False
    if sys.platform == "win32":
        # Signal 0 is Ctrl-C there.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Return whether the file that was locked still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _process_of(holder: dict[str, object]) -> int | None:
    """Return the number of a process; None if the file has none. Zero and less are groups of processes."""
    process = holder.get("process")
    return process if isinstance(process, int) and is_whole(process) and 0 < process < 1 << 31 else None


def _name_of(holder: dict[str, object]) -> str:
    since, process, when = holder.get("since"), _process_of(holder), ""
    # Far later times have no date.
    if isinstance(since, float) and 0 <= since < 1 << 40:
        when = f", since {time.strftime('%H:%M:%S', time.localtime(since))}"
    return f"process {'?' if process is None else process} of {holder.get('host', 'an unknown host')}{when}"
