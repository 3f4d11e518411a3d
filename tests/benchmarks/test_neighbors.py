"""Neighbors compute within the block, and end with it after any error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import neighbors as module
from benchmarks.harness.neighbors import neighbors

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(module.subprocess, "Popen", Noted)
    monkeypatch.setattr(module, "LOOP_STARTS_SECONDS", 0.05)
    return made


def test_neighbors_run_within_the_block_and_end_with_it(started: list[Any]) -> None:
    with pytest.raises(ZeroDivisionError), neighbors("2"):
        assert len(started) == 2 and all(process.poll() is None for process in started)
        raise ZeroDivisionError
    assert all(process.poll() is not None for process in started)


def test_nobody_is_started_for_a_quiet_machine(started: list[Any]) -> None:
    begin = time.perf_counter()
    with neighbors("0"):
        assert not started
    assert time.perf_counter() - begin < 1


def test_a_neighbor_that_ends_is_told(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOP", "pass")
    monkeypatch.setattr(module, "LOOP_STARTS_SECONDS", 2.0)
    with pytest.raises(RuntimeError, match="a neighbor ended by itself"), neighbors("1"):
        pytest.fail("the block must not run")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_neighbors_end_when_the_benchmark_is_killed() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from benchmarks.harness import neighbors as module
made = []
start = module.subprocess.Popen
module.subprocess.Popen = lambda *given, **options: made.append(start(*given, **options)) or made[-1]
with module.neighbors("1"):
    print(made[0].pid, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as benchmark:
        assert benchmark.stdout is not None
        neighbor = int(benchmark.stdout.readline())
        os.kill(neighbor, 0)
        benchmark.kill()
    until = time.monotonic() + 20
    while running(neighbor):
        assert time.monotonic() < until, f"process {neighbor} is still running"
        time.sleep(0.1)


def running(process: int) -> bool:
    """Return whether a process runs: it may have ended without anyone who has waited for it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
