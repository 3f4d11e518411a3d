"""HDF5 files: what they claim to hold is compared with what is there before memory is set aside for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Arrays that claim more than so many times their bytes in the file, and more than this besides, are refused.
LARGEST_RATIO, FREE_BYTES = 100, 1 << 24


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An h5py.File to read from; whatever goes wrong while it is open is told with the file's name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or damaged, or what the body raises.
        RuntimeError: h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise RuntimeError(f"reading {path.name} needs h5py: pip install 'cpm_fast[data]'") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (ValueError, OSError, RuntimeError, LookupError, TypeError, AttributeError, MemoryError) as error:
        raise ValueError(f"{path}: {error}") from None


def dataset(parent: Any, name: str, kinds: str, axes: int) -> Any:
    """The h5py.Dataset of that name, checked.

    Args:
        parent: file or group.
        name: in it.
        kinds: of NumPy types that it may hold, for instance "iuf".
        axes: how many it must have.

    Raises:
        ValueError: it is not there, no array of such a type, not stored in this file, or far larger than its bytes.
    """
    found = parent.get(name)
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
    """All of a `dataset`, with its checks."""
    return np.asarray(dataset(parent, name, kinds, axes)[()])
