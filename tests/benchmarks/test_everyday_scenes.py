"""The study of composed everyday scenes: its scenes, its counts, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import everyday_scenes as study
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.scenes.scene import Scene
from cpm_fast.inference.finders.finder import Candidate
from cpm_fast.roi import Roi

HERE, THERE, AWAY = Roi((20.0, 20.0), 30.0), Roi((80.0, 20.0), 30.0), Roi((20.0, 90.0), 30.0)


def test_scenes_are_of_the_held_out_samples_and_the_same_at_every_call() -> None:
    class LastTwo(DrawnFigures):
        def __getitem__(self, index: int):
            assert index >= 6
            return super().__getitem__(index)

    first, second = (list(study.scenes_of(LastTwo(8), 2, 6)) for _ in range(2))
    assert [scene.image.shape[:2] for scene in first] == [*study.SIZES] * 2
    assert all(np.array_equal(a.image, b.image) and a.rois == b.rois for a, b in zip(first, second, strict=True))
    assert sum(len(scene.rois) for scene in first) >= 6


def test_counts_leave_out_those_who_do_not_count() -> None:
    scene = Scene(np.zeros((9, 9, 3), np.uint8), (HERE, THERE), (AWAY,))
    found = [Candidate(HERE, 0.9), Candidate(AWAY, 0.8), Candidate(Roi((150.0, 150.0), 30.0), 0.7)]
    assert study.counts([(scene, found)]) == {"people": 2, "recall": 0.5, "false_per_scene": 1.0}


def test_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "synthetic:5", "--hold-out", "3", "--scenes", "3", "--model", "compact-lsp"]
    assert study.main([*arguments, "--out", str(tmp_path)]) == 0
    assert "judged, above 0.3: recall" in capsys.readouterr().out
    record = json.loads((tmp_path / "everyday-scenes.json").read_text())
    assert record["command"].startswith("python benchmarks/studies/everyday_scenes.py --data synthetic:5 ")
    (ways,) = record["scenes"].values()
    recalls = [row["recall"] for row in ways["alone"].values()]
    assert recalls == sorted(recalls, reverse=True) and len(ways["judged"]) == len(study.LEAST_SCORES)
