"""Ctrl-C and SIGTERM: they end work between two steps, never within one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

NOTE = b"\nstopping after this step; a second signal or Ctrl-C stops at once, without saving\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM, which schedulers and containers send before they kill: work ends and is saved as at Ctrl-C."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def leave_interrupts_to_parent() -> None:
    """Let only the parent end this process, a data worker; call it in the main thread, before other threads start.

    A terminal sends Ctrl-C, and systemd and Slurm send SIGTERM, to a command's workers too. They still have to read the
    batches of the step that the command finishes and saves.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_parent, name="terminations", daemon=True).start()


def _end_with_parent() -> None:
    # A handler is not told who sent the signal.
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


# The handlers that `interrupts_held` may replace, and what they raise.
_RAISED = {signal.default_int_handler: KeyboardInterrupt, _terminate: Terminated}


@contextmanager
def terminations_raised() -> Iterator[None]:
    """Raise Terminated at SIGTERM within the block, for commands; a handler of someone else's stays."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C or SIGTERM wait for the end of the block and raise there; a second one does not wait.

    Does nothing in other threads than the main one, and where a signal has another handler than Python's or that of
    `terminations_raised`.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    plain: dict[int, Any] = {number: handler for number in numbers if (handler := signal.getsignal(number)) in _RAISED}
    if not plain or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: type[KeyboardInterrupt] | None = None

    def hold(number: int, _frame: FrameType | None) -> None:
        nonlocal caught
        if caught is not None:
            raise _RAISED[plain[number]]
        caught = _RAISED[plain[number]]
        # Not print: the signal may have come in the middle of one.
        with suppress(OSError):
            os.write(2, NOTE)

    for number in plain:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in plain.items():
            signal.signal(number, handler)
    if caught is not None:
        raise caught
