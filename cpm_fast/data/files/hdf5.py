"""A reader of HDF5 files that compares a file's claims with its content before it allocates memory."""

from __future__ import annotations

import importlib.util
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.system.installation import install_command
from cpm_fast.system.limits import check_file

# Arrays that claim more than this many times their bytes in the file, and more than this many bytes, are refused.
LARGEST_RATIO, FREE_BYTES = 100, 1 << 24
LARGEST_BYTES = 1 << 40
PROBE = Path(__file__).with_name("hdf5_probe.py")
# Seconds of a processor; a good file of 14 KB takes half a second, which is the start of Python.
PROBE_SECONDS = 10.0
# A busy machine gives a process a small part of a processor: a good file must not be refused for that.
LONGEST_WAIT = 20
# Exit codes from here on are Windows' numbers of exceptions, for instance of an access violation.
WINDOWS_CRASH = 0xC0000000


def check_hdf5(path: Path, seconds: float = PROBE_SECONDS) -> None:
    """Refuse a file that keeps the HDF5 library busy forever, or crashes it.

    Another process reads all of it first. Without a Python to start there is no such check.

    Args:
        path: of the file.
        seconds: the limit of processor time; of time where the system has no such limit.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it takes longer, or the library crashes; the message names the file.
        RuntimeError: h5py is missing.
    """
    _require_h5py(path)
    check_file(path, LARGEST_BYTES)
    state = path.stat()
    if sys.executable:
        _probe_once(path, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino), seconds)


@lru_cache(maxsize=256)
def _probe_once(path: Path, _state: tuple[int, ...], seconds: float) -> None:
    """Probe a file in its present state, once."""
    busy = f"{path}: damaged: the HDF5 library takes more than {seconds:g} s to read it"
    wait = seconds * (LONGEST_WAIT if hasattr(signal, "SIGXCPU") else 1)
    try:
        # -P: the names of modules beside the script must not hide those of packages.
        command = [sys.executable, "-P", str(PROBE), str(path), str(math.ceil(seconds))]
        ended = subprocess.run(command, timeout=wait, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(busy) from None
    if hasattr(signal, "SIGXCPU") and ended.returncode == -signal.SIGXCPU:
        raise ValueError(busy)
    if ended.returncode < 0 or ended.returncode >= WINDOWS_CRASH:
        code = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exception {ended.returncode:#x}"
        raise ValueError(f"{path}: damaged: the HDF5 library crashes on it ({code})")


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an h5py.File to read from; errors while it is open are raised with the file's name.

    Call `check_hdf5` once before.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or damaged, or what the body raises.
        RuntimeError: h5py is missing.
    """
    _require_h5py(path)
    import h5py

    check_file(path, LARGEST_BYTES)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (ValueError, OSError, RuntimeError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise ValueError(f"{path}: {error}") from None


def member(parent: Any, name: str) -> Any:
    """Return a dataset or group in a group; None if there is none.

    Raises:
        ValueError: it is a link, which may lead out of the file.
    """
    import h5py

    link = parent.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} must be stored in the file itself, got a link ({type(link).__name__})")
    return None if link is None else parent[name]


def dataset(parent: Any, name: str, kinds: str, axes: int) -> Any:
    """Return the h5py.Dataset of that name, checked.

    Args:
        parent: file or group.
        name: in it.
        kinds: of NumPy types that it may hold, for instance "iuf".
        axes: how many it must have.

    Raises:
        ValueError: it is not there, no array of such a type, not stored in this file, or far larger than its bytes.
    """
    found = member(parent, name)
    if found is None or not hasattr(found, "dtype"):
        raise ValueError(f"must hold the array {name}, got {sorted(parent)[:8]}")
    if found.dtype.kind not in kinds or found.ndim != axes:
        raise ValueError(f"{name} must have {axes} axes of type {kinds}, got {list(found.shape)} {found.dtype}")
    if found.external or found.is_virtual:
        raise ValueError(f"{name} must be stored in the file itself")
    claimed, stored = math.prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()
    if claimed > LARGEST_RATIO * stored + FREE_BYTES:
        raise ValueError(f"{name} claims {claimed} bytes, but {stored} are stored")
    return found


def array(parent: Any, name: str, kinds: str, axes: int) -> np.ndarray:
    """Read all of a `dataset`, with its checks."""
    return np.asarray(dataset(parent, name, kinds, axes)[()])


def _require_h5py(path: Path) -> None:
    if importlib.util.find_spec("h5py") is None:
        raise RuntimeError(f"reading {path.name} needs h5py; type: {install_command('data')}")
