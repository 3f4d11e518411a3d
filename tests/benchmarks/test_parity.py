"""The fast path trains like the reference, and the comparison detects it if not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.checks import parity
from cpm_fast.ops import gaussian_targets as targets_op
from support.runs import COMPACT

CONFIG = replace(parity.RECIPE, batch=3)
STEPS = 4


def compared(device: str, precision: str = "fp32") -> dict:
    batches = parity.make_batches(COMPACT, CONFIG, STEPS)
    where = torch.device(device)
    exact = parity.train(COMPACT, CONFIG, batches, where, "reference", torch.float64)
    return parity.compare(COMPACT, replace(CONFIG, precision=precision), batches, where, exact)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("tf32", marks=pytest.mark.gpu), "bf16"])
def test_fast_path_trains_as_the_reference(fast, precision):
    if precision == "tf32" and fast == "cpu":
        pytest.skip("tf32 is for CUDA")
    row = compared(fast, precision)
    assert row["equal_to_rounding"]
    bound = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}[precision]
    assert row["weights_fast_to_float64"] < bound and row["weights_reference_to_float64"] < bound


def test_a_fast_path_that_is_off_is_seen(monkeypatch):
    monkeypatch.setattr("cpm_fast.training.targets.loss.gaussian_targets", _off_when_fast)
    assert not compared("cpu")["equal_to_rounding"]


def _off_when_fast(*inputs):
    from cpm_fast.ops import backend

    maps = targets_op.gaussian_targets(*inputs)
    return maps * 0.99 if backend._requested == "fast" else maps


def test_command_writes_table_and_curves(tmp_path, capsys):
    assert parity.main(["--steps", "2", "--batch", "1", "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert "fp32: weights after 2 steps" in capsys.readouterr().out
    assert (tmp_path / "parity.json").stat().st_size and (tmp_path / "parity.png").stat().st_size


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--preset", "none"], ["--device", "tpu"]])
def test_command_rejects(wrong):
    with pytest.raises(SystemExit) as stop:
        parity.main(wrong)
    assert stop.value.code == 2
