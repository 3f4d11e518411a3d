"""Bars of progress: only where somebody looks, never in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly() -> Iterator[None]:
    """Show no bars for a while."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def bar_wanted(progress: bool | None = None, count: int = 1, least: int = 0) -> bool:
    """Say whether to show a bar.

    Args:
        progress: what the caller asked for; None: a bar on a terminal.
        count: how much there is to do.
        least: a bar is shown for more than so much.
    """
    if progress is not None:
        return progress
    return not _quiet.get() and count > least and sys.stderr.isatty()
