"""The study of the times of finding: its pictures, its times, its counts, and a whole run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import cpm_fast
from benchmarks.studies import finding_times as study
from cpm_fast.data.drawn.scenes import DrawnScenes
from cpm_fast.engine import Engine


def test_each_picture_counts_once_on_its_canvas() -> None:
    # Scenes of one, two and three figures are six samples.
    pictures = study.pictures_of(DrawnScenes(3, seed=2), most=9)
    assert [picture.shape for picture in pictures] == [(480, 640, 3)] * 3
    assert len(study.pictures_of(DrawnScenes(3, seed=2), most=2)) == 2


@pytest.mark.parametrize(("size", "shown"), [((100, 200), (100, 200)), ((960, 640), (480, 320)), ((480, 640), None)])
def test_a_picture_is_reduced_if_it_must_be_and_never_enlarged(size, shown) -> None:
    canvas = study.on_canvas(np.full((*size, 3), 7, np.uint8))
    rows, columns = np.nonzero((canvas == 7).all(axis=2))
    (height, width), found = shown or size, (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert found == (height, width) and len(rows) == height * width
    assert (rows.min(), columns.min()) == ((480 - height) // 2, (640 - width) // 2)


def test_times_are_multiples_of_the_last_way() -> None:
    ways = {"slow": lambda _: time.sleep(0.02), "fast": lambda _: time.sleep(0.01)}
    found = study.times([np.zeros((4, 4, 3), np.uint8)], ways, rounds=3)
    assert found["fast"]["multiple"] == 1 and found["slow"]["ms"] >= 20
    assert found["slow"]["multiple"] == pytest.approx(found["slow"]["ms"] / found["fast"]["ms"])
    low, high = found["slow"]["quarters"]
    assert low <= found["slow"]["ms"] <= high


def test_crops_are_counted_by_network_and_only_meanwhile() -> None:
    first, second = (Engine(cpm_fast.load("compact-drawn")) for _ in range(2))
    with study.counted() as crops:
        first(torch.zeros(3, 3, 192, 192))
        second(torch.zeros(1, 3, 192, 192), last=True)
    first(torch.zeros(1, 3, 192, 192))
    assert (crops[id(first.model)], crops[id(second.model)]) == (3, 1)


@pytest.mark.filterwarnings("ignore:.*no subject found")  # A finder of people looks at drawn figures.
def test_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "synthetic-scenes:3:2", "--last", "3", "--rounds", "1", "--out", str(tmp_path)]
    assert study.main([*arguments, "--model", "base-lsp", "compact-lsp"]) == 0
    assert "base-lsp: finder" in capsys.readouterr().out
    record = json.loads((tmp_path / "finding-times.json").read_text())
    assert record["pictures"] == 1 and record["picture"] == [480, 640]
    base, compact = record["models"]["base-lsp"], record["models"]["compact-lsp"]
    assert list(base["times"]) == ["finder", "find", "infer", "one run"] and base["times"]["one run"]["multiple"] == 1
    # compact-lsp judges for base-lsp, which sees each subject once, and for itself.
    assert base["per_picture"]["judge"] > 0 and compact["per_picture"]["judge"] == 0
    assert base["per_picture"]["pose network"] == base["per_picture"]["subjects"]


def test_weights_without_a_finder_are_refused(tmp_path: Path) -> None:
    cpm_fast.CPM.preset("compact").save(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="must name a finder of regions"):
        study.measure(str(tmp_path / "plain.safetensors"), [], 1, "auto")
