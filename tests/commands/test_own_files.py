"""Files of the user in an output folder: no command overwrites them, and each stops before it works."""

import json

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main

TABLE = "image,nose_x,nose_y,ear_x,ear_y\na.png,10,20,30,40\n"
RUN = {"network": {}, "training": {"epochs": 1}, "data": [], "hold_out": []}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "own.csv").write_text(TABLE)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(RUN))
        (tmp_path / name / "metrics.jsonl").write_text("")
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["data", "check", "own.csv"], ["check.json", "own-examples.png", "own-suspicious.png"]),
        (
            ["eval", "--data", "own.csv", "--model", "compact-drawn"],
            ["eval.json", "pck.png", "report.html", "predictions.csv"],
        ),
        (["eval", "--data", "own.csv", "--predictions", "own.csv"], ["eval.json", "pck.png", "report.html"]),
        (["demo", "--figures", "1"], ["poses.png", "stages0.png", "results.json", "results.csv"]),
        (["compare", "one", "two"], ["compare.png"]),
    ],
    ids=["data check", "eval", "eval of a file", "demo", "compare"],
)
def test_they_are_refused(work, capsys, command, names):
    for name in names:
        (work / "out" / name).write_text("mine")
        assert main([*command, "-o", "out"]) == BAD_USE
        assert f"{name}: exists, and cpm-fast did not write it" in capsys.readouterr().err
        assert (work / "out" / name).read_text() == "mine"
        (work / "out" / name).unlink()
        assert list((work / "out").iterdir()) == []


def test_a_second_check_replaces_the_first(work, capsys):
    for _ in range(2):
        assert main(["data", "check", "own.csv", "-o", "out"]) == FINE
    assert "wrote out/own-examples.png, out/check.json" in capsys.readouterr().out


def test_a_table_without_labels_is_no_data_to_train_on(work, capsys):
    head, _ = TABLE.splitlines()
    (work / "empty.csv").write_text(f"{head},left,top,right,bottom\na.png,,,,,1,2,30,40\n")
    assert main(["train", "--data", "empty.csv", "--hold-out", "0", "-o", "run"]) == BAD_USE
    assert "empty.csv: must have labeled parts, got 1 samples without any" in capsys.readouterr().err
