"""The study of bfloat16 on a CPU: its figures are of both precisions, and fit the promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies import bfloat16 as study
from cpm_fast.ops import backend


def test_bfloat16_on_a_trained_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    path = tmp_path / "bfloat16.json"
    given = ["--weights", "compact-drawn", "--rounds", "2", "--data", "synthetic:6", "--last", "3", "--json", str(path)]
    assert study.main(given) == 0
    record = json.loads(path.read_text())
    (row,) = record["results"]
    ours, theirs = row["errors"]["bf16"][-1], row["errors"]["bf16 by PyTorch's autocast"][-1]
    assert 10 * row["errors"]["fp32"][-1] < ours < 2 * theirs
    assert [each["batch"] for each in row["times"]] == [1, 8] and row["times"][0]["fp32_over_bf16"] > 0
    assert 90 < row["pck"]["fp32"] <= 100 and abs(row["pck"]["fp32"] - row["pck"]["bf16"]) < 5
    assert record["command"].endswith(f"--json {path}") and "compact-drawn: error" in capsys.readouterr().out
