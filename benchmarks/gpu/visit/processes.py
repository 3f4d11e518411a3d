"""A command with a time limit, killed together with everything that it started; its rows are read while it runs.

Only the standard library is used: the first steps run before anything is installed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

# A step's processes inherit this variable, so that those that left its group are found too.
MARK = "CPM_FAST_GPU_VISIT_STEP"
# Paths of JSON lists: names of cases that the process leaves out, and of those that it does again, last.
SEEN, AGAIN = "CPM_FAST_GPU_VISIT_SEEN", "CPM_FAST_GPU_VISIT_AGAIN"
# The seconds of a step's process, and the names of the steps that did not pass so far, with commas.
LIMIT, FAILED = "CPM_FAST_GPU_VISIT_LIMIT", "CPM_FAST_GPU_VISIT_FAILED"
POLL_S = 0.2
# An option of prctl on Linux.
PR_SET_PDEATHSIG = 1
Row = dict[str, Any]


class Running:
    """A process and all that it starts, with a mark; rows come through a pipe whose number follows `--rows`.

    Args:
        command: to which `--rows NUMBER` is added.
        mark: value of MARK, of no other process.
        log: takes stdout and stderr.
        environment: of the process.
    """

    def __init__(self, command: Sequence[str], mark: str, log: BinaryIO, environment: dict[str, str]) -> None:
        self.mark, self.rest = mark, b""
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        try:
            self.process = subprocess.Popen(
                [*command, "--rows", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,
                env={**environment, MARK: mark},
            )
        finally:
            os.close(writer)

    def watch(self, limit_s: float, take: Callable[[Row], None]) -> int | None:
        """Pass on rows until the process ends; return its exit code, or None if it was killed at the limit."""
        deadline = time.monotonic() + limit_s
        try:
            while True:
                code = self.process.poll()
                for row in self._rows():
                    take(row)
                if code is not None:
                    return code
                if time.monotonic() >= deadline:
                    return None
                select.select([self.reader], [], [], min(POLL_S, max(0.0, deadline - time.monotonic())))
                if self.closed:
                    # It may run on without a pipe, so sleep rather than spin.
                    time.sleep(POLL_S / 4)
        finally:
            self.kill()
            for row in self._rows():
                take(row)
            os.close(self.reader)

    closed = False

    def _rows(self) -> list[Row]:
        chunks = []
        with suppress(BlockingIOError):
            while chunk := os.read(self.reader, 1 << 16):
                chunks.append(chunk)
            self.closed = True
        *lines, self.rest = (self.rest + b"".join(chunks)).split(b"\n")
        rows = []
        for line in lines:
            # A killed process may leave half a line.
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
        return rows

    def kill(self) -> None:
        """Kill the process, its group, and every process with its mark."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        # The next list includes processes that start while this one is read.
        while found := marked(self.mark):
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self.process.wait()


def marked(mark: str) -> list[int]:
    """Return the living processes with that mark in their environment; none if the system does not show it."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def die_with_parent() -> None:
    """Have the system kill this process when its parent ends; only on Linux, elsewhere do nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
