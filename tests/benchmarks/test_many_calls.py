"""Many calls hold no more memory than a few."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from benchmarks.checks import many_calls
from benchmarks.checks.many_calls import MOST_GROWTH_MB, Held, growth, refusal


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_hundred_calls_let_nothing_grow() -> None:
    before, after = growth(120)
    assert refusal(before, dataclasses.replace(after, memory_mb=before.memory_mb)) is None
    # A hundred calls do not cover all shapes, so plans may still be added.
    assert after.memory_mb < before.memory_mb + 4 * MOST_GROWTH_MB


def test_growth_is_named() -> None:
    before = Held(500, 10, 4)
    assert refusal(before, before) is None
    for change, name in (
        ({"memory_mb": 700}, "memory"),
        ({"descriptors": 11}, "descriptors"),
        ({"threads": 5}, "threads"),
    ):
        assert name in (refusal(before, dataclasses.replace(before, **change)) or "")


@pytest.mark.parametrize(("threads", "code"), [(4, 0), (5, 1)])
def test_the_counts_are_written(threads: int, code: int, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(many_calls, "growth", lambda calls: (Held(500, 10, 4), Held(500, 10, threads)))
    monkeypatch.setattr(sys, "argv", ["many_calls.py", "--calls", "9", "--out", str(tmp_path / "counts.json")])
    assert many_calls.main() == code
    found = json.loads((tmp_path / "counts.json").read_text())
    assert found["calls"] == 9 and found["at_the_end"]["threads"] == threads and found["command"] and "commit" in found
    assert (found["grown"] is None) == (code == 0)
