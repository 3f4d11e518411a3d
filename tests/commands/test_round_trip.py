"""infer --form csv, a correction, and train --data: the same regions, and no label for parts with low scores."""

import csv
import shlex
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import FINE, main
from cpm_fast.config import compact
from cpm_fast.data.formats.table import PartsTable
from cpm_fast.inference import infer
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.results.result import Results
from support import clips

LEAST = 0.02


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Write a network with low and uneven peaks, three pictures and a video."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(CPM(replace(compact(), input_size=(64, 64), stages=2)), tmp_path / "net.safetensors")
    (tmp_path / "in").mkdir()
    for i in range(3):
        cv2.imwrite(f"in/{i}.png", np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    clips.write_walk(tmp_path / "walk.mp4", 0.4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def correct(path, row: int, **cells: str) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row] |= cells
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def train(table: str) -> int:
    options = "--hold-out 1 --recipe modern --input-size 64 64 --stages 2 --epochs 1 --batch 2 --workers 0 -o run"
    return main(["train", "--data", table, *shlex.split(options)])


def test_pictures(work, monkeypatch):
    assert (
        main(
            ["infer", "in", "--model", "net.safetensors", "--form", "csv", "--min-score", str(LEAST), "-o", "out/deep"]
        )
        == FINE
    )
    correct(work / "out/deep/results.csv", 1, neck_x="7.5", neck_y="8")
    found = infer("in", model="net.safetensors")
    # The table works from another folder too.
    monkeypatch.chdir(work / "in")
    table = PartsTable(work / "out" / "deep" / "results.csv")
    for i, result in enumerate(found):
        sample = table[i]
        assert (sample.image == cv2.imread(f"{i}.png")).all()
        region = sample.region(compact().margin)
        assert region.center == pytest.approx(result.rois[0].center) and region.side == pytest.approx(
            result.rois[0].side
        )
        low = result.scores[0] < LEAST
        low[1] &= i != 1
        assert low.any() and not low.all() and (sample.labeled == ~low).all()
    assert table[1].parts_image[1].tolist() == [7.5, 8]


def test_the_frames_of_a_video(work):
    assert (
        main(
            ["infer", "walk.mp4", "--model", "net.safetensors", "--min-score", str(LEAST), "--no-pictures", "-o", "out"]
        )
        == FINE
    )
    correct(work / "out/walk.csv", 4, neck_x="7.5", neck_y="8")
    table, results = PartsTable(work / "out" / "walk.csv"), Results.load("out/walk.csv")
    assert len(table) == len(results) == 10 and results[0].name == "walk.mp4"
    for i in (0, 4, 9):
        sample = table[i]
        assert sample.name == f"../walk.mp4 frame {i}"
        region = sample.region(compact().margin)
        assert region.center == pytest.approx(results[i].rois[0].center)
        assert region.side == pytest.approx(results[i].rois[0].side)
        known = np.isfinite(results[i].keypoints[0]).all(axis=1)
        assert (sample.labeled == known).all() and not known.all()
    assert table[4].parts_image[1].tolist() == [7.5, 8]
    capture = cv2.VideoCapture("walk.mp4")
    frames = [capture.read()[1] for _ in range(10)]
    assert all((table[i].image == frames[i]).all() for i in range(10))
    assert train("out/walk.csv") == FINE


def test_a_high_least_score_changes_no_frame_that_follows(work):
    walk = ["infer", "walk.mp4", "--model", "compact-drawn", "--find", "whole", "--no-pictures"]
    assert main([*walk, "-o", "all"]) == FINE and main([*walk, "--min-score", "0.9", "-o", "few"]) == FINE
    every, few = Results.load("all/walk.csv"), Results.load("few/walk.csv")
    assert [result.rois for result in every] == [result.rois for result in few]
    assert np.isnan(few[5].keypoints).sum() > np.isnan(every[5].keypoints).sum()
    assert "neck_x_found" in (work / "few/walk.csv").read_text()


def test_the_table_of_a_video_works_on_another_machine(work, monkeypatch):
    """The end of the video's path leads to it from the table's folder."""
    assert (
        main(
            ["infer", "walk.mp4", "--model", "net.safetensors", "--min-score", str(LEAST), "--no-pictures", "-o", "out"]
        )
        == FINE
    )
    text = (work / "out/walk.csv").read_text()
    (work / "elsewhere/films").mkdir(parents=True)
    (work / "walk.mp4").rename(work / "elsewhere/films/walk.mp4")
    (work / "elsewhere/walk.csv").write_text(text.replace("../walk.mp4", "D:\\mice\\films\\walk.mp4"))
    monkeypatch.chdir(work / "in")
    with pytest.warns(UserWarning, match=r"walk: 1 of 1 pictures are named by paths of another place.*films/walk\.mp4"):
        table = PartsTable(work / "elsewhere/walk.csv")
    assert table[4].name == "D:\\mice\\films\\walk.mp4 frame 4" and table[4].image.any()
