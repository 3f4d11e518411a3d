"""Weights that infer, stream and find loaded themselves are prepared once; those of a caller are compared each time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cpm_fast.config import compact
from cpm_fast.engine import engine as engine_module
from cpm_fast.engine.changes import weights_state
from cpm_fast.inference import infer, stream
from cpm_fast.inference.finding import find
from cpm_fast.model.cpm import CPM

PICTURE = np.full((40, 60, 3), 90, np.uint8)


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """Record each time that an engine reads its model's weights."""
    seen: list[int] = []

    def looking(*given):
        seen.append(1)
        return weights_state(*given)

    monkeypatch.setattr(engine_module, "weights_state", looking)
    return seen


@pytest.mark.parametrize("given", ["file", "network"])
def test_only_weights_of_a_caller_are_compared_at_every_call(looks, given, tmp_path):
    torch.manual_seed(0)
    model = CPM(dataclasses.replace(compact(), input_size=(64, 64), stages=2)).eval()
    model.save(tmp_path / "model.safetensors")
    named = model if given == "network" else tmp_path / "model.safetensors"
    counts = []
    for call in (
        lambda: infer([PICTURE] * 3, model=named, batch=1, device="cpu", threads=1),
        lambda: list(stream([PICTURE] * 3, model=named, device="cpu", threads=1)),
        lambda: find([PICTURE] * 3, model=named, device="cpu", batch=1, threads=1),
    ):
        looks.clear()
        call()
        counts.append(len(looks))
    # The three calls share the engine of a named network.
    assert counts == [1, 0, 0] if given == "file" else all(count >= 3 for count in counts)
