"""Tensors at the edge of memory: their pages go with them."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.checks.guarded import guarded


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_memory_goes_with_the_last_tensor() -> None:
    before = mappings()
    for _ in range(100):
        part = guarded(torch.ones(3, 4), (4, 1))[1:]
        assert float(part.sum()) == 8
    assert mappings() < before + 20
