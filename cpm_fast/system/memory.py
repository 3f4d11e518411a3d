"""Keep freed memory in the process: training on a CPU allocates the same large maps at every step."""

from __future__ import annotations

import ctypes
import sys

# Options of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Ask glibc to reuse large blocks instead of returning them to the system after every use.

    By default each map of a step is mapped, zeroed page by page, and unmapped again; for the compact network that is
    about half of a training step. Does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
