"""Ctrl-C between two steps, never within one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NOTE = b"\nstopping after this step; Ctrl-C again stops at once, without saving\n"


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block and raise KeyboardInterrupt there; a second one does not wait.

    Does nothing in other threads than the main one, and where the signal already has a handler that is not Python's.
    """
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not plain or threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = False

    def hold(_number: int, _frame: FrameType | None) -> None:
        nonlocal caught
        if caught:
            raise KeyboardInterrupt
        caught = True
        # Not print: the signal may have come in the middle of one.
        with suppress(OSError):
            os.write(2, NOTE)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt
