"""One process per peer, so that peers do not share thread pools and memory; the parent gives out turns.

Between its turns a worker is blocked on a pipe. It reports the CPU time that it used meanwhile (threads that spin).
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Sequence[Any]]
Start = Callable[[Any], Run]


class Unavailable(Exception):
    """An error: a peer can't run here; the message has the reason and the command to type."""


class WorkerFailed(Exception):
    """An error: a peer raised or died; the message says which."""


class Worker:
    """The parent's end.

    Args:
        threads: CPU threads of the worker.
        folder: the working folder, in which peers leave files for each other.
        environment: variables in addition to those of this process.
    """

    def __init__(self, threads: int, folder: Path, environment: Mapping[str, str]) -> None:
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, **environment}
        command = [sys.executable, "-m", "benchmarks.harness.worker", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, cwd=folder
        )

    def prepare(self, start: Start, problem: Any) -> None:
        """Prepare the worker for a problem, in place of the previous one.

        Raises:
            Unavailable: the peer can't run here.
            WorkerFailed: anything else went wrong.
        """
        self._ask("prepare", start, problem)

    def result(self) -> list[np.ndarray]:
        """Return the arrays of one call; the first call is timed separately, see `usage`."""
        return self._ask("result")

    def seconds(self, calls: int, device: str) -> float:
        return self._ask("seconds", calls, device)

    def each(self, calls: int) -> list[float]:
        """Return the seconds of this many calls, one by one, after an untimed one."""
        return self._ask("each", calls)

    def usage(self) -> dict[str, float]:
        """first_s: the first call; peak_memory_bytes: resident, ever; idle_cpu: processors busy between its turns."""
        return self._ask("usage")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _ask(self, *message: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            pickle.dump(message, self.process.stdin, protocol=5)
            self.process.stdin.flush()
            kind, value = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise WorkerFailed(f"its process ended with code {self.process.wait()}") from None
        if kind == "unavailable":
            raise Unavailable(value)
        if kind == "failed":
            raise WorkerFailed(value)
        return value


class _Server:
    """The worker's end: its prepared problem, and measurements of itself."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.first = 0.0
        self.waited = self.busy = 0.0

    def prepare(self, start: Start, problem: Any) -> None:
        self.run, self.first, self.waited, self.busy = None, 0.0, 0.0, 0.0
        self.run = start(problem)

    def result(self) -> list[np.ndarray]:
        assert self.run is not None
        begin = time.perf_counter()
        arrays = [_array(value) for value in self.run()]
        self.first = time.perf_counter() - begin
        return arrays

    def seconds(self, calls: int, device: str) -> float:
        from benchmarks.harness.timing import seconds_a_call

        assert self.run is not None
        if calls > 1:
            # Caches hold the data of the previous peer.
            self.run()
        return seconds_a_call(self.run, calls, device)

    def each(self, calls: int) -> list[float]:
        from benchmarks.harness.timing import seconds_a_call

        assert self.run is not None
        self.run()
        return [seconds_a_call(self.run, 1, "cpu") for _ in range(calls)]

    def usage(self) -> dict[str, float]:
        return {
            "first_s": self.first,
            "peak_memory_bytes": _peak_memory(),
            "idle_cpu": self.busy / self.waited if self.waited else 0.0,
        }

    def answer(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        name, *arguments = message
        try:
            return "fine", getattr(self, name)(*arguments)
        except Unavailable as reason:
            return "unavailable", str(reason)
        # A peer's error is reported in its row; the other peers continue.
        except Exception as error:
            return "failed", f"{type(error).__name__}: {error}".splitlines()[0]


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    value = value.detach().cpu()
    return value.numpy() if value.dtype.itemsize >= 4 else value.float().numpy()


def _peak_memory() -> int:
    """Return the largest resident size of this process in bytes; 0 if the system does not report it.

    getrusage is not used, because a process inherits its maximum from its parent.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(kilobytes[0]) * 1024 if kilobytes else 0


def serve(threads: int) -> None:
    """Answer requests until the parent ends."""
    # The output of peers goes to stderr; the pipe is for answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # The parent handles Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import torch

    torch.set_num_threads(threads)
    server = _Server()
    while True:
        begin, busy = time.perf_counter(), time.process_time()
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        server.busy += time.process_time() - busy
        server.waited += time.perf_counter() - begin
        pickle.dump(server.answer(message), answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    # It is imported under its own name, so that its exceptions and those of peers have the same classes.
    from benchmarks.harness.worker import serve as serve_by_name

    serve_by_name(int(sys.argv[1]))
