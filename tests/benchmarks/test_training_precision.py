"""The study of training in two precisions: both curves belong to the same training, and failures are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies import training_precision as study

TINY = ["--data", "synthetic:12", "--hold-out", "4", "--epochs", "2", "--batch", "4", "--workers", "0"]


@pytest.mark.slow
def test_both_curves_are_of_one_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert study.main([*TINY, "--input-size", "64", "64", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    fp32, bf16 = (record["results"][precision] for precision in study.PRECISIONS)
    assert fp32["steps"] == bf16["steps"] and len(fp32["losses"]) >= 1
    assert fp32["losses"] != bf16["losses"] and abs(record["loss_difference_percent"]) < 20
    assert [each["step"] for each in fp32["pck"]] == [each["step"] for each in bf16["pck"]]
    assert fp32["pck"][-1]["samples"] == 4 and path.with_suffix(".png").stat().st_size > 5000
    assert "bf16 against fp32" in capsys.readouterr().out


def test_a_training_that_fails_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the training in fp32 failed:\n.*nowhere"):
        study.main(["--data", str(tmp_path / "nowhere"), "--json", str(tmp_path / "found.json")])


def test_the_difference_is_of_the_second_half() -> None:
    results = {"fp32": {"losses": [9.0, 2.0, 2.0, 2.0]}, "bf16": {"losses": [1.0, 9.0, 2.0, 2.1]}}
    assert study.difference(results) == pytest.approx(2.5)
