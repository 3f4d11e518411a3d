"""Progress bars: only on a terminal, but for that of a training; none in quiet blocks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly() -> Iterator[None]:
    """Show no bars within the block."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def is_quiet() -> bool:
    """Return whether the code runs in a block that shows no bars."""
    return _quiet.get()


def bar_wanted(progress: bool | None = None, count: int = 1, least: int = 0) -> bool:
    """Return whether to show a bar.

    Args:
        progress: the caller's choice; None: a bar on a terminal.
        count: number of items.
        least: number of items above which there is a bar.
    """
    if progress is not None:
        return progress
    return not is_quiet() and count > least and sys.stderr.isatty()
