"""The study of drawn scenes: its counts, its times, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies import drawn_scenes as study
from cpm_fast.data.drawn.scenes import DrawnScenes
from cpm_fast.roi import Roi

AWAY = Roi((-500.0, -500.0), 40.0)


def test_scenes_come_with_all_their_figures():
    found = list(study.scenes_of(DrawnScenes(7, seed=2)))
    assert [len(true) for _, true in found] == [1, 2, 3, 4, 5, 6, 1]


def test_counts_of_a_finder_that_misses_one_figure_and_sees_another_that_is_not_there():
    dataset = DrawnScenes(3, seed=2)
    true = {image.tobytes(): rois for image, rois in study.scenes_of(dataset)}
    counts = study.measure(dataset, lambda image: [AWAY, *true[image.tobytes()][1:]])
    assert counts == [study.Scene(1, 0, 1), study.Scene(2, 1, 1), study.Scene(3, 2, 1)]


def test_scores_count_figures_and_scenes():
    result = study.scores([study.Scene(1, 1, 0), study.Scene(3, 1, 2), study.Scene(3, 3, 0)])
    assert (result["figures"], result["found"], result["recall"]) == (7, 5, 5 / 7)
    assert result["false_per_scene"] == pytest.approx(2 / 3)
    low, high = result["recall_interval"]
    assert 1 / 3 <= low < 5 / 7 < high <= 1
    assert sorted(result["by_figures"]) == [1, 3] and result["by_figures"][3]["recall"] == 4 / 6


def test_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--finder", "finder-lsp", "--scenes", "2", "--seeds", "3", "4", "--out", str(tmp_path)]
    assert study.main(arguments) == 0
    assert "of 6 figures" in capsys.readouterr().out
    record = json.loads((tmp_path / "drawn-scenes.json").read_text())
    assert record["command"] == " ".join(["python benchmarks/studies/drawn_scenes.py", *arguments])
    assert (record["scenes"], record["figures"], record["min_find_score"]) == (4, 6, 0.29)
    assert [record["by_seed"][seed]["figures"] for seed in ("3", "4")] == [3, 3]
    assert len(record["sha256"]["finder-lsp"]) == 64
