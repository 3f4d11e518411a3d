"""The study of the labeling loop: what each training is given, and work in pieces."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from benchmarks.studies import label_loop
from benchmarks.studies.label_loop import Setting, all_rounds, study, table, write_labels, write_pictures
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from support.stand_ins import TINY

SMALL = Setting(held_out=2, first=3, step=2, rounds=2, minutes=0)
COUNT = 10


@pytest.fixture
def data(tmp_path) -> str:
    drawn = DrawnFigures(COUNT, seed=1)
    write_pictures(drawn, range(COUNT), tmp_path / "data")
    write_labels(drawn, range(COUNT), tmp_path / "data" / "labels.csv")
    return str(tmp_path / "data" / "labels.csv")


@pytest.fixture
def trained(monkeypatch) -> dict[str, list[str]]:
    """Pictures by run folder; in place of training, weights drawn from the seed and the pictures."""
    seen: dict[str, list[str]] = {}

    def train(labels: Path, run: Path, epochs: int, seed: int, more: object) -> float:
        with labels.open(newline="") as file:
            pictures = [row["image"] for row in csv.DictReader(file)]
        seen[run.name] = pictures
        torch.manual_seed(sum(int(name[6:9]) << 3 * place for place, name in enumerate(pictures)) + seed)
        run.mkdir(parents=True, exist_ok=True)
        save_model(CPM(TINY), run / label_loop.WEIGHTS)
        return 1.0

    monkeypatch.setattr(label_loop, "train", train)
    return seen


def test_each_training_has_its_own_labels(tmp_path, data, trained):
    done = study(data, SMALL, 1, tmp_path / "work", tmp_path / "loop.json")
    rounds = done["rounds"]
    assert list(rounds) == [turn.key for turn in all_rounds(1, SMALL)] and len(rounds) == 5
    for key, values in rounds.items():
        assert trained["run-" + key.replace(" ", "-")] == [f"frame-{index:03d}.png" for index in values["frames"]]
        assert len(set(values["frames"])) == values["labels"] and max(values["frames"]) < COUNT - SMALL.held_out
    first = set(rounds["0 first 0"]["frames"])
    for way in label_loop.WAYS:
        assert [rounds[f"0 {way} {number}"]["labels"] for number in (1, 2)] == [5, 7]
        assert first < set(rounds[f"0 {way} 1"]["frames"]) < set(rounds[f"0 {way} 2"]["frames"])
    assert "left" not in table(done, SMALL, 1)


def test_pieces_come_to_the_same(tmp_path, data, trained):
    whole = study(data, SMALL, 1, tmp_path / "one", tmp_path / "one.json")
    for made in range(5):
        assert len(trained) == 5
        part = study(data, SMALL, 1, tmp_path / "other", tmp_path / "other.json", trainings=1)
        assert len(part["rounds"]) == made + 1
        assert (f"left: {4 - made} trainings" in table(part, SMALL, 1)) == (made < 4)
    for key, values in whole["rounds"].items():
        assert {**part["rounds"][key], "date": values["date"]} == values


def test_what_does_not_fit_is_refused(tmp_path, data, trained):
    study(data, SMALL, 1, tmp_path / "work", tmp_path / "loop.json", trainings=1)
    with pytest.raises(ValueError, match="give another -o"):
        study(data, Setting(2, 3, 2, 1, 0), 1, tmp_path / "work", tmp_path / "loop.json")
    with pytest.raises(FileNotFoundError, match="--work"):
        study(data, SMALL, 1, tmp_path / "elsewhere", tmp_path / "loop.json")
    with pytest.raises(ValueError, match="must have 20 samples, got 10"):
        study(data, Setting(10, 4, 3, 2, 0), 1, tmp_path / "work", tmp_path / "none.json")


@pytest.mark.parametrize(("times", "epochs"), [((9.0, 2.0, 10.0), 117), ((9.0, 2.0, 1.9), None)])
def test_epochs_fit_the_minutes_although_the_first_training_is_slow(monkeypatch, tmp_path, times, epochs):
    left = iter(times)
    monkeypatch.setattr(label_loop, "train", lambda *given: next(left))
    if epochs is None:
        with pytest.raises(RuntimeError, match=r"17 epochs took 1\.9 s and one 2\.0 s"):
            label_loop.fitting_epochs(tmp_path, 1.0, 0, ())
    else:
        assert label_loop.fitting_epochs(tmp_path, 1.0, 0, ()) == epochs
