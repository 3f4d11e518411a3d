"""Neighbors compute within the block, and end with it after any error."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

from benchmarks.harness import neighbors as module
from benchmarks.harness.neighbors import neighbors


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
