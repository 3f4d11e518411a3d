"""The amount of output of a command: -q, -v, and a reader that closes the pipe."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper

from cpm_fast.system.progress import quietly

LOGGER = "cpm_fast"


@contextmanager
def loudness(options: argparse.Namespace) -> Iterator[None]:
    """Set the amount of output by -q and -v.

    -q drops standard output and progress bars; warnings and errors stay. -v shows the package's log. Letters of names
    that standard output can't take are printed as escapes, as in errors.
    """
    logger, handler = logging.getLogger(LOGGER), logging.StreamHandler(sys.stderr)
    before = logger.level
    if options.verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        if options.quiet:
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), _any_text(), quietly():
                yield
        else:
            with _any_text():
                yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def _any_text() -> Iterator[None]:
    """Let standard output take the names of any files, whose bytes may be no text of its encoding."""
    stream = sys.stdout
    if not isinstance(stream, TextIOWrapper) or stream.errors != "strict":
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        # It writes what is left, which a closed pipe refuses.
        with suppress(OSError, ValueError):
            stream.reconfigure(errors="strict")


def let_go_of_output() -> None:
    """Drop the rest of the output, so that Python reports no closed pipe at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
