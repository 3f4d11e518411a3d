"""Keep freed memory in the process: training on a CPU allocates the same large maps at every step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Options of glibc's mallopt and what they are by default (malloc.h, mallopt(3)); there is no way to ask for them.
M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES = -1, 128 * 1024
M_MMAP_MAX, MMAP_MAX = -4, 65536


def keep_freed_memory() -> None:
    """Make glibc reuse large blocks from now on, instead of returning them to the system after every use.

    By default each map of a step is mapped, zeroed page by page, and unmapped again; for the compact network that is
    about half of a training step. Does nothing where the C library is another.
    """
    _set(0, -1)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory within the block; behind it glibc's defaults are in force, and what is free goes back."""
    keep_freed_memory()
    try:
        yield
    finally:
        library = _set(MMAP_MAX, TRIM_THRESHOLD_BYTES)
        if library is not None:
            library.malloc_trim(0)


def _set(mmap_max: int, trim_threshold: int) -> ctypes.CDLL | None:
    """Set both options; returns the library, None where it is not glibc."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        return None
    library.mallopt(M_MMAP_MAX, mmap_max)
    library.mallopt(M_TRIM_THRESHOLD, trim_threshold)
    return library
