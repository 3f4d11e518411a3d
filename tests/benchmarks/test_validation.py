"""Figures of validation: by hand, against the package's own scores, and by the command."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import validation
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.open import open_dataset
from cpm_fast.evaluation import evaluate
from cpm_fast.weights import DRAWN, load, weights_file

SIGMAS = np.array([0.1, 0.05])


@pytest.fixture(scope="module")
def found():
    return evaluate(load(DRAWN, device="cpu"), DrawnFigures(12, seed=4), progress=False)


def test_pck_is_that_of_evaluate(found) -> None:
    figure = validation.pck(found)
    assert figure["value"] == pytest.approx(found.stages[-1].mean, abs=1e-3) and figure["samples"] == 12
    assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    assert list(figure["per_part"].values()) == pytest.approx(list(found.stages[-1].per_part), abs=1e-3)


def test_parts_that_are_exchanged_are_on_the_other_side(found) -> None:
    mirror = list(found.skeleton.mirror)
    exchanged = replace(found, predictions=found.truth[None][:, :, mirror])
    figure = validation.swapped(exchanged)
    assert figure["value"] == 1.0 and figure["missed"] > 12
    away = validation.swapped(replace(found, predictions=found.truth[None] + 1e4))
    assert away["value"] == 0.0 and away["missed"] == 12 * 8
    assert validation.swapped(replace(found, predictions=found.truth[None]))["value"] is None


def test_similarity_by_hand() -> None:
    truth, area = np.array([[10.0, 20.0], [30.0, 40.0]]), 900.0
    assert validation.similarity(truth, truth, area, SIGMAS) == 1.0
    moved = truth + np.array([[6.0, 0.0], [0.0, 3.0]])
    by_hand = np.exp(-36 / (2 * 900 * 0.04)), np.exp(-9 / (2 * 900 * 0.01))
    assert validation.similarity(moved, truth, area, SIGMAS) == pytest.approx(sum(by_hand) / 2)
    truth[1] = np.nan
    assert validation.similarity(moved, truth, area, SIGMAS) == pytest.approx(np.exp(-36 / (2 * 900 * 0.04)))
    assert validation.similarity(np.full((2, 2), np.nan), truth, area, SIGMAS) == 0.0


def test_the_command_says_what_it_scored(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(validation, "open_dataset", lambda spec: DrawnFigures(9, seed=int(spec)))
    monkeypatch.setattr(validation, "LAST_LSP", 5)
    assert validation.main(["--model", DRAWN, "--lsp", "1", "--lspet", "2", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "validation.json").read_text())
    assert written["sha256"] == hashlib.sha256(weights_file(DRAWN).read_bytes()).hexdigest()
    assert written["date"] and written["versions"] and f"--model {DRAWN}" in written["command"]
    counts = {name: figure["samples"] for name, figure in written["figures"].items() if "PCK" in name}
    assert list(counts.values()) == [5, 5, 9]
    assert "lspet, annotated regions, PCK@0.2" in capsys.readouterr().out


def test_everyday_pictures(data_dir) -> None:
    dataset = open_dataset(data_dir / "coco-mini" / "person_keypoints.json")
    figure = validation.everyday(load("compact-lsp", device="cpu"), dataset)
    assert figure["samples"] > 40 and 0.2 < figure["value"] < 0.7


def test_bad_use(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        validation.main([])
    assert "one of --lsp, --lspet and --coco must be given" in capsys.readouterr().err
