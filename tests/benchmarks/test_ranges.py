"""The study of the ranges of magnitudes that maps reach."""

from __future__ import annotations

import json

import pytest
import torch

import cpm_fast
from benchmarks.studies import ranges as study
from cpm_fast.ops import backend
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from cpm_fast.ops.spectral_conv import bound_spectral_conv, transform_weight

needs_native = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="no native code")


@needs_native
@pytest.mark.parametrize("spread", ["one value", "a faint corner", "zeros"])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_range_is_that_at_which_native_code_turns_to_plain_sums(spread: str, factor: float) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.rand(1, 16, 32, 32) + 1, torch.randn(24, 16, 7, 7), torch.zeros(24)
    if spread == "zeros":
        x[..., :8] = 0
    faint = x[..., 24:28, 28:32]
    if spread == "a faint corner":
        faint *= 1e-3
    faintest = x.amax(1).reshape(8, 4, 8, 4).amax((1, 3))
    x[0, 3, 9, 13] = study.MOST_RANGE * factor * float(faintest[faintest > 0].min())
    assert (float(study.ranges(x, 7)) > study.MOST_RANGE) == (factor > 1)
    x = x.contiguous(memory_format=torch.channels_last)
    exact = direct_conv(x, pack_weight(weight), bias, False)
    found = torch.empty_like(exact)
    bound_spectral_conv(x, transform_weight(weight, 22), bias, False, 7, None, found, weight)()
    assert torch.equal(found, exact) == (factor > 1)


@needs_native
def test_the_study_writes_a_record(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study, "bundled", lambda: ["compact-drawn", "finder-lsp"])
    assert study.main(["--most", "1", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "ranges.json").read_text())
    finder, only = found["results"]
    assert only["network"] == "compact-drawn" and only["pictures"] == study.DRAWN and found["command"]
    assert finder["network"] == study.FINDER and finder["within"]["beyond"] == 0
    assert only["within"]["maps"] > 0 and 1 < only["within"]["largest"] < study.MOST_RANGE == found["most_range"]
    assert only["within"]["beyond"] == 0


@needs_native
def test_a_network_of_ones_own(tmp_path) -> None:
    file = tmp_path / "own.safetensors"
    cpm_fast.load("compact-drawn").save(file)
    assert study.main(["--most", "1", "--model", str(file), "--out", str(tmp_path)]) == 0
    _, only = json.loads((tmp_path / "ranges.json").read_text())["results"]
    assert only["model"] == only["network"] == str(file) and only["within"]["maps"] > 0
