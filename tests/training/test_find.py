"""Training of a finder: the same loop, folder and resume as a pose network's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import main
from cpm_fast.config import PRESETS
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import TrainingItems
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes import backgrounds
from cpm_fast.data.scenes.loader import SceneItems
from cpm_fast.evaluation.finding.finder import evaluate_finder
from cpm_fast.media.image import read_image
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model
from cpm_fast.recipes import RECIPES
from cpm_fast.training.loop import train
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.optimization import make_optimizer
from cpm_fast.training.targets.finding import finder_targets
from cpm_fast.training.task import task_of
from cpm_fast.training.update import update
from support.runs import QUIET, losses, weights
from support.small_network import TINY_FINDER

CONFIG = replace(RECIPES["find"], batch=4, epochs=2.0)
DATA = [DrawnFigures(9), DrawnFigures(5, seed=1)]


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    train(TINY_FINDER, CONFIG, DATA, [], tmp_path / "whole", options=QUIET)
    train(TINY_FINDER, CONFIG, DATA, [], tmp_path / "parts", options=replace(QUIET, stop_after=4, workers=2))
    torch.manual_seed(5)
    train(TINY_FINDER, CONFIG, DATA, [], tmp_path / "parts", resume=True, options=QUIET)
    wanted = weights(tmp_path / "whole")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights(tmp_path / "parts").items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole") and (tmp_path / "whole" / "batch0.png").is_file()


def test_the_command_line_trains_and_calibrates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "finder", TINY_FINDER)
    folder = tmp_path / "run"
    command = ["train", "--find", "--data", "synthetic:12", "--hold-out", "4", "--epochs", "2", "--batch", "4"]
    assert main([*command, "--workers", "0", "--device", "cpu", "-o", str(folder)]) == 0
    rows = [row for row in MetricsLog(folder / "metrics.jsonl").rows() if "recall" in row]
    assert rows[-1]["pictures"] == 8 and 0 <= rows[-1]["recall"] <= 1 and rows[-1]["false_per_picture"] >= 0
    model = load_model(folder / "final.safetensors")
    assert model.config.kind == "find" and model.config.find_score == pytest.approx(rows[-1]["threshold"], abs=1e-3)
    assert (folder / "curves.png").is_file()


def test_backgrounds_are_part_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "finder", TINY_FINDER)
    folder, cage, other = (tmp_path / name for name in ("run", "cage", "other"))
    for place in (cage, other):
        (place / "night").mkdir(parents=True)
    cv2.imwrite(str(cage / "night" / "a.png"), np.full((40, 60, 3), 90, np.uint8))
    quiet = ["--workers", "0", "--device", "cpu", "--quiet"]
    data = ["train", "--find", "--data", "synthetic:12", "--hold-out", "4", "--epochs", "2", "--batch", "4", *quiet]
    read: list[str] = []
    monkeypatch.setattr(backgrounds, "read_image", lambda path: read.append(path.name) or read_image(path))
    assert main([*data, "--backgrounds", str(cage), "-o", str(folder)]) == 0
    assert set(read) == {"a.png"} and json.loads((folder / "config.json").read_text())["backgrounds"] == str(cage)
    (folder / "last.safetensors").unlink()
    again = ["train", "--resume", str(folder), *quiet]
    assert main([*again, "--backgrounds", str(other)]) == 2
    assert f"which has backgrounds {cage}, not {other}" in capsys.readouterr().err
    cv2.imwrite(str(cage / "night" / "a.png"), np.full((40, 60, 3), 70, np.uint8))
    assert main(again) == 2
    assert "a.png: restore them, or start another run" in capsys.readouterr().err
    assert main([*data, "--backgrounds", str(other), "-o", str(tmp_path / "more")]) == 2
    assert f"{other}: the folder has no image files" in capsys.readouterr().err
    assert main([*data, "--backgrounds", str(tmp_path / "gone"), "-o", str(tmp_path / "more")]) == 2
    assert "gone: backgrounds must be a folder of pictures" in capsys.readouterr().err
    pose = [word for word in data if word != "--find"]
    assert main([*pose, "--backgrounds", str(cage), "-o", str(tmp_path / "more")]) == 2
    assert f"--backgrounds must go with --find, got {cage} for a pose network" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


class Torn(DrawnFigures):
    """Figures whose files can't be read, from a number on."""

    whole = 3

    def __getitem__(self, index: int) -> Sample:
        if index >= self.whole:
            raise OSError(f"picture{index}.jpg: gone")
        return super().__getitem__(index)


def test_a_validation_counts_what_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluate_finder(CPM(TINY_FINDER), Torn(4))
    # A whole picture, and the scene composed about it; scenes may lack it as another's neighbor too.
    assert found.left_out >= 2 and found.pictures + found.left_out == 8
    assert f"{found.left_out} left out, run cpm-fast data check" in str(found)
    monkeypatch.setattr(Torn, "whole", 0)
    with pytest.raises(ValueError, match="none of its 4 samples could be read; run cpm-fast data check"):
        evaluate_finder(CPM(TINY_FINDER), Torn(4))


def test_scores_of_a_lost_step_are_written_once(tmp_path: Path) -> None:
    """A kill between a validation's line and its checkpoint: the resumed run validates again."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    lines = [{"step": 1, "losses": [1.0]}, {"step": 2, "losses": [0.5]}, {"step": 2, "data": "a", "recall": 0.5}]
    for line in lines:
        log.write(line)
    log.rewind(2, validated=1)
    assert list(log.rows()) == lines[:2]


def test_the_score_that_is_kept_is_that_of_the_last_validation() -> None:
    """It is the mean over all sets, for any process that wrote the log."""
    rows = [{"step": 3, "threshold": 0.9}, {"step": 6, "threshold": 0.2}, {"step": 6, "threshold": 0.3}, {"step": 7}]
    task = task_of(TINY_FINDER, CONFIG, torch.device("cpu"))
    assert task.calibrated(rows).find_score == 0.25 and task.calibrated([]) == TINY_FINDER


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    items = SceneItems(TrainingItems([DrawnFigures(6)], TINY_FINDER, CONFIG.augmentation, 0))
    batch = items.collate([items[(0, index)] for index in range(6)])
    targets, model = finder_targets(batch, TINY_FINDER), CPM(TINY_FINDER)
    optimizer = make_optimizer(model, CONFIG)
    sums = [float(update(model, optimizer, batch, targets, CONFIG).sum()) for _ in range(60)]
    assert sums[-1] < 0.5 * sums[0]


def test_rejects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--find", "--preset", "small", "--data", "synthetic:12", "-o", str(tmp_path / "run")]) == 2
    assert "--find must go with the preset finder, got --preset small" in capsys.readouterr().err
    with pytest.raises(ValueError, match="teacher and robust are for networks that locate parts"):
        train(TINY_FINDER, replace(CONFIG, robust=1.0), DATA, [], tmp_path / "other", options=QUIET)
    with pytest.raises(ValueError, match="a finder that is trained must have a map of sides, got one without"):
        train(replace(TINY_FINDER, side_map=False), CONFIG, DATA, [], tmp_path / "other", options=QUIET)
