"""--min-score: parts below it are neither drawn nor in any file."""

import csv
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.config import compact
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.results.result import Results
from support.clips import write_walk


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
    assert infer("--min-score", "1", "-o", "none") == FINE
    assert (cv2.imread("none/a_pose.png") == cv2.imread("a.png")).all()


@pytest.mark.parametrize("score", ["7", "1.01", "inf", "nan"])
def test_a_score_that_makes_no_sense_is_refused_before_work(work, capsys, score):
    for verb, *arguments in (
        ("infer", "a.png", "--min-score"),
        ("infer", "walk.mp4", "--min-score"),
        ("infer", "a.png", "--find", "search", "--min-find-score"),
        ("infer", "walk.mp4", "--find", "search", "--min-find-score"),
        ("eval", "--data", "synthetic:4", "--find", "search", "--min-find-score"),
    ):
        if "walk.mp4" in arguments:
            write_walk(work / "walk.mp4", 0.2)
        model = ["--model", "net.safetensors"]
        assert main([verb, *arguments, score, *model, "-o", "out"]) == BAD_USE, arguments
        told = capsys.readouterr().err
        assert re.search(r"min.(find.)?score must be (at most 1, the score of a part that is|a finite number)", told), (
            told
        )
        assert not (work / "out" / "results.json").exists() and not (work / "out" / "walk.csv").exists()


def test_a_library_call_refuses_it_too(work):
    assert infer("-o", "all", "--form", "npz") == FINE
    result = Results.load("all/results.npz")[0]
    image = np.zeros((60, 60, 3), np.uint8)
    for call in (
        lambda: result.plot(min_score=7),
        lambda: result.drawn(image, min_score=7),
        lambda: result.plot_stages(min_score=7),
        lambda: result.save("a.json", min_score=7),
        lambda: Results([]).save("a.json", min_score=7),
        lambda: result.surer_than(7),
        lambda: cpm_fast.infer(image, model="net.safetensors", find="search", min_find_score=7),
        lambda: cpm_fast.find(image, model="net.safetensors", find="search", min_find_score=7),
        lambda: next(cpm_fast.stream([image], model="net.safetensors", find="search", min_find_score=7)),
        lambda: replace(compact(), find_score=7),
    ):
        with pytest.raises(
            ValueError, match=r"(min_|min_find_|find_)score must be (at most 1|a finite number up to 1)"
        ):
            call()
    # A function's scores are its own, such as percentages.
    found = cpm_fast.infer(image, model="net.safetensors", find=lambda _: [[5, 5, 40, 40, 80]], min_find_score=75)
    assert len(found[0]) == 1
