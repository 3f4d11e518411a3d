"""Comparison of runs."""

import json

import pytest

from cpm_fast.cli import BAD_USE, FINE, main


def write(folder, epochs, rows):
    folder.mkdir()
    config = {"training": {"epochs": epochs, "batch": 4, "augmentation": {"scale_min": 0.7}}, "data": ["a.csv"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_settings_scores_and_curves(tmp_path, capsys):
    first = write(
        tmp_path / "cost $5 and $6",
        3,
        [
            {"step": 20, "losses": [2.0, 1.5]},
            {"step": 25, "data": "a", "pck": [0.4, 0.5]},
            {"step": 40, "losses": [1.0, 0.5]},
            {"step": 50, "data": "a", "pck": [0.3, 0.45]},
        ],
    )
    second = write(tmp_path / "b", 5, [{"step": 20, "losses": [None, None], "unreadable": 3}])
    assert main(["compare", first, second, "-o", str(tmp_path / "out")]) == FINE
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines]
    assert ["training.epochs", "3", "5"] in cells and not any("batch" in line for line in lines)
    assert ["last", "loss", "0.500", "-"] in cells
    assert ["a:", "last", "PCK@0.2", "45.0", "%", "-"] in cells
    assert ["a:", "best", "PCK@0.2,", "step", "50.0", "%,", "25", "-"] in cells
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_finders_are_compared_by_their_recall(tmp_path, capsys):
    runs = [
        write(tmp_path / name, 3, [{"step": 9, "losses": [1.0]}, {"step": 9, "data": "a", "recall": recall}])
        for name, recall in (("a", 0.5), ("b", 0.75))
    ]
    assert main(["compare", *runs, "-o", str(tmp_path / "out")]) == FINE
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a:", "last", "recall", "50.0", "%", "75.0", "%"] in cells


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "losses": []},
        {"step": 1, "data": "a", "pck": None},
        {"step": 1, "data": "a", "pck": [None]},
        {"step": [], "losses": [1.0]},
        {"step": float("inf"), "losses": [1.0]},
        {"step": 1, "losses": [10**400]},
        {"step": 1, "pck": [0.5]},
        {"step": 1, "data": "a", "recall": "much"},
    ],
    ids=str,
)
def test_damaged_metrics_are_told(tmp_path, capsys, row):
    runs = [write(tmp_path / "a", 3, []), write(tmp_path / "b", 3, [row])]
    assert main(["compare", *runs, "-o", str(tmp_path / "out")]) == BAD_USE
    assert "b: not the folder of a run" in capsys.readouterr().err


def test_bad_use(tmp_path, capsys):
    run = write(tmp_path / "a", 3, [])
    for arguments, message in (([run], "two runs or more, got 1"), ([run, str(tmp_path)], "config.json: no such file")):
        assert main(["compare", *arguments, "-o", str(tmp_path / "out")]) == BAD_USE
        assert message in capsys.readouterr().err
