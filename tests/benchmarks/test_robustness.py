"""The command that disturbs regions: its disturbances, by hand, and its files."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from benchmarks.studies import robustness
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import Sample
from cpm_fast.roi import Roi
from cpm_fast.weights import DRAWN


def sample() -> Sample:
    parts = np.array([[10.0, 20.0], [30.0, 70.0], [np.nan, np.nan]])
    return Sample(np.zeros((80, 60, 3), np.uint8), parts, np.array([True, True, False]), Roi((20, 40), 157.07), "a")


def test_a_shift_is_a_share_of_the_height_in_directions_evenly_spread() -> None:
    rois = [robustness.shifted(0.2, turn, 0)(5, sample()) for turn in range(robustness.DIRECTIONS)]
    offsets = np.array([roi.center for roi in rois]) - (20, 40)
    # A side of 157.07 px is a height of 100 px.
    assert np.allclose(np.hypot(*offsets.T), 20, atol=0.01) and np.allclose(offsets.sum(axis=0), 0, atol=1e-9)
    assert all(roi.side == 157.07 for roi in rois)
    again, other = (robustness.shifted(0.2, 0, 0)(index, sample()) for index in (5, 6))
    assert again == rois[0] != other


def test_scales_boxes_and_whole_pictures() -> None:
    assert robustness.scaled(2.0)(0, sample()) == Roi((20, 40), 157.07 / 2)
    assert robustness.boxed(1.4)(0, sample()) == Roi((20, 45), 70.0)
    assert robustness.whole_picture(0, sample()) == Roi.whole_image(80, 60)


def test_a_shift_lowers_the_score_of_a_network_that_was_trained_without() -> None:
    model, figures = robustness.load(DRAWN), DrawnFigures(12, 7)
    right, wrong = (
        robustness.pck_of(model, figures, [robustness.shifted(share, 0, 0)])["last"] for share in (0.0, 1.0)
    )
    assert wrong < right - 20


@pytest.mark.slow
def test_the_command_writes_tables_and_curves(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(robustness, "SHIFTS", (0.0, 0.3))
    monkeypatch.setattr(robustness, "SCALES", (1.0, 1.4))
    given = ["--data", "synthetic:6:3", "--last", "4", "--model", DRAWN, "--out", str(tmp_path)]
    assert robustness.main(given) == 0
    found = json.loads((tmp_path / "robustness.json").read_text())["results"]["synthetic"]
    assert found["samples"] == 4 and set(found["shift"]) == {"0.0", "0.3"} and set(found["scale"]) == {"1.0", "1.4"}
    scores = [
        score[stage]
        for group in ("shift", "scale", "region", "test")
        for score in found[group].values()
        for stage in ("first", "last")
    ]
    assert all(0 <= score <= 100 and math.isfinite(score) for score in scores)
    assert found["region"]["annotation"] == found["test"]["plain"] == found["shift"]["0.0"]
    assert cv2.imread(str(tmp_path / "robustness.png")) is not None
    assert "whole picture" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"), [(["--last", "9"], "must be from 1 to 6"), (["--last", "1", "--last", "1"], "once for each")]
)
def test_bad_use(given, said, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        robustness.main(["--data", "synthetic:6", *given])
    assert said in capsys.readouterr().err
