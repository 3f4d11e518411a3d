"""Forked children are counted by how they end."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import torch

from benchmarks.checks import forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks of a process with threads are of Linux")


def test_children_of_a_quiet_and_of_a_busy_parent_compute_the_same() -> None:
    for ends in forks.fork_many(6).values():
        assert ends == forks.Ends(right=3)


def test_wrong_failed_and_hanging_children_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "SECONDS", 1)
    wanted, ends = [torch.zeros(2)], forks.Ends()
    for engine in (
        lambda crops: [crops],
        lambda crops: [crops + 1],
        lambda crops: os.kill(os.getpid(), signal.SIGKILL),
        lambda crops: 1 / 0,
        lambda crops: time.sleep(60),
    ):
        forks.fork_one(engine, torch.zeros(2), wanted, ends)
    assert ends == forks.Ends(right=1, wrong=1, hanging=1, failed=2)
