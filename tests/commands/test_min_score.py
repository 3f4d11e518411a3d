"""--min-score: parts below it are neither drawn nor in any file."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import FINE, main
from cpm_fast.config import compact
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.results.result import Results


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(CPM(replace(compact(), input_size=(64, 64), stages=1)), tmp_path / "net.safetensors")
    cv2.imwrite("a.png", np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    return tmp_path


def infer(*arguments: str) -> int:
    return main(["infer", "a.png", "--model", "net.safetensors", *arguments])


def test_what_is_drawn_and_written(work):
    assert infer("-o", "all") == FINE
    every = Results.load("all/results.json")[0]
    assert np.isfinite(every.keypoints).all()
    least = float(np.median(every.scores))
    below = every.scores[0] < least
    assert 0 < below.sum() < len(below)

    assert infer("--min-score", str(least), "-o", "some") == FINE
    some = Results.load("some/results.json")[0]
    assert (np.isnan(some.keypoints[0]).all(axis=1) == below).all() and (some.scores == every.scores).all()
    assert infer("--min-score", str(least), "--form", "npz", "-o", "npz") == FINE
    assert (np.isnan(Results.load("npz/results.npz")[0].keypoints[0]).all(axis=1) == below).all()
    assert infer("--min-score", str(least), "--form", "csv", "-o", "csv") == FINE
    row = next(csv.DictReader((work / "csv" / "results.csv").open()))
    assert [row[f"{name}_x"] == "" for name in every.skeleton.names] == below.tolist()
    assert infer("--min-score", str(least), "--form", "coco", "-o", "coco") == FINE
    (entry,) = json.loads((work / "coco" / "results_coco.json").read_text())
    assert (np.array(entry["keypoints"]).reshape(-1, 3) == 0).all(axis=1).tolist() == below.tolist()
    assert infer("--min-score", str(least), "--form", "openpose", "-o", "openpose") == FINE
    (person,) = json.loads((work / "openpose/openpose/a_keypoints.json").read_text())["people"]
    points = np.array(person["pose_keypoints_2d"]).reshape(-1, 3)
    assert (points == 0).all(axis=1).tolist() == below.tolist()

    low = every.plot(min_score=least)
    assert (cv2.imread("some/a_pose.png") == low).all() and not (low == every.plot(min_score=-9)).all()
    assert infer("--min-score", "9", "-o", "none") == FINE
    assert (cv2.imread("none/a_pose.png") == cv2.imread("a.png")).all()
