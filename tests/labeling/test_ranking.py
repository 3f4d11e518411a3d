"""Ranking of pictures to label next: each criterion measures the property in its name, and the picks differ."""

import csv

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.labeling.frames import ExtractedFrame
from cpm_fast.labeling.predictions import FolderPredictions
from cpm_fast.labeling.ranking import (
    RankedPicture,
    contact_sheet,
    jumps,
    low_peaks,
    mirrored_disagreement,
    novelty,
    rank,
    stage_disagreement,
)
from cpm_fast.results import Result
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from support.labeling import SKELETON, make_beetles
from support.small_network import TINY

PAIR = Skeleton("pair", ("left_a", "right_a"), (), (("left_a", "right_a"),))


def result(points, scores=None, belief_maps=None, skeleton=PAIR, side=100.0):
    keypoints = np.array([points], np.float32)
    heights = np.ones(keypoints.shape[:2], np.float32) if scores is None else np.array([scores], np.float32)
    return Result(keypoints, heights, skeleton, rois=(Roi((50, 50), side),), belief_maps=belief_maps)


def candidate(name, level=0, points=((10, 10), (20, 10)), **criteria):
    return RankedPicture(name, result(points), np.full((24, 32), level, np.uint8), criteria)


def test_low_peaks():
    assert low_peaks(result([(1, 1), (2, 2)], [0.9, 0.5])) == pytest.approx(0.3)
    nobody = Result(np.empty((0, 2, 2), np.float32), np.empty((0, 2), np.float32), PAIR)
    assert low_peaks(nobody) == 1


def test_stage_disagreement():
    maps = np.zeros((1, 3, 3, 10, 10), np.float32)
    for stage, x in enumerate((0, 2, 5)):
        maps[0, stage, 0, 4, x] = 1
        maps[0, stage, 1, 7, 7] = 1
    assert stage_disagreement(result([(1, 1), (2, 2)], belief_maps=maps)) == pytest.approx(3 / 2 / 10)
    assert np.isnan(stage_disagreement(result([(1, 1), (2, 2)], belief_maps=maps[:, :1])))


def test_mirrored_disagreement():
    seen = result([(10, 10), (30, 12)])
    assert mirrored_disagreement(seen, result([(69, 12), (89, 10)]), 100) == pytest.approx(0)
    assert mirrored_disagreement(seen, result([(69, 12), (79, 10)]), 100) == pytest.approx(0.05)


def test_jumps_stand_out_of_their_video():
    found = [
        candidate(f"{i}", points=((10.0 + 2 * i + (30 if i == 2 else 0), 10), (20.0 + 2 * i, 10))) for i in range(5)
    ]
    jumps(found, [ExtractedFrame(f"{i}", "v", 3 * i, 0.0, "kmeans") for i in range(5)])
    values = [one.criteria["jump"] for one in found]
    assert values[2] == max(values[1:4]) == pytest.approx(0.15) and np.isnan([values[0], values[4]]).all()
    jumps(found, [ExtractedFrame(f"{i}", "v", 300 * i, 0.0, "kmeans") for i in range(5)])
    assert np.isnan([one.criteria["jump"] for one in found]).all()


def test_novelty_is_the_distance_to_what_is_labeled():
    found = [candidate("a", 10), candidate("b", 60)]
    novelty(found, np.stack([np.full((24, 32), level, np.uint8) for level in (12, 100)]))
    assert [one.criteria["novelty"] for one in found] == [2, 40]


def test_rank_weighs_criteria_and_passes_over_what_looks_the_same():
    found = [
        candidate(name, level, low_peaks=doubt)
        for name, level, doubt in (("same", 10, 0.9), ("best", 11, 1.0), ("other", 90, 0.5), ("sure", 140, 0.0))
    ]
    assert [one.image for one in rank(found, 2, {"low_peaks": 1})] == ["best", "other"]
    assert [one.score for one in found] == pytest.approx([2 / 3, 1, 1 / 3, 0])
    assert len(rank(found, 9)) == 4 and rank([], 3) == []
    with pytest.raises(ValueError, match="weights must be of"):
        rank(found, 2, {"beauty": 1})


def test_contact_sheet_holds_every_pick(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((100, 50, 3), 90, np.uint8))
    sheet = contact_sheet(tmp_path, [candidate("a.png"), candidate("a.png")] * 3, PAIR)
    assert sheet.shape == (2 * 266, 4 * 240, 3) and (sheet[300, -100] == 255).all()


def test_a_contact_sheet_writes_names_of_other_alphabets(tmp_path):
    """Two names of as many letters are told apart; OpenCV's own font has a question mark for each."""
    captions = []
    for name in ("мышь.png", "тёща.png"):
        cv2.imwrite(str(tmp_path / name), np.full((100, 50, 3), 90, np.uint8))
        captions.append(contact_sheet(tmp_path, [candidate(name)], PAIR)[:26, :240])
    assert (captions[0] != captions[1]).any() and (captions[0] < 128).any()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return a tiny network of the beetle's parts."""
    from dataclasses import replace

    import torch

    from cpm_fast.model.cpm import CPM
    from cpm_fast.model.files import save_model

    torch.manual_seed(0)
    config = replace(TINY, skeleton=SKELETON)
    path = tmp_path_factory.mktemp("network") / "beetle.safetensors"
    save_model(CPM(config), path)
    return path


def test_suggest_writes_table_sheet_and_predictions(network, tmp_path, capsys):
    folder, out = make_beetles(tmp_path / "beetles"), tmp_path / "out"
    (folder / "labels.csv").write_text(
        "image,head_x,head_y,left_wing_x,left_wing_y,right_wing_x,right_wing_y,tail_x,tail_y,label_state\n"
        "run-000001.png,1,2,3,4,,,,,labeled\n"
    )
    arguments = ["suggest", str(folder), "--model", str(network), "-n", "3", "-o", str(out)]
    assert main(arguments) == FINE
    assert f"--only {out / 'suggestions.csv'}" in capsys.readouterr().out
    rows = list(csv.DictReader((out / "suggestions.csv").open()))
    assert len(rows) == 3 and "run-000001.png" not in [row["image"] for row in rows]
    assert all(row["low_peaks"] and row["stages"] and row["mirrored"] and row["novelty"] for row in rows)
    assert cv2.imread(str(out / "suggestions.png")).shape[1] == 4 * 240
    found = FolderPredictions(folder / ".labeling", SKELETON)
    assert sum(found.has(f"run-{i:06d}.png") for i in range(6)) == 5
    assert main([*arguments, "--by", "low_peaks"]) == FINE
    assert main(["suggest", str(folder)]) == BAD_USE
    assert main([*arguments[:4], "-n", "0"]) == BAD_USE


def test_suggest_names_pictures_and_leaves_out_damaged_ones(network, tmp_path, capsys):
    """Without labels and with them; a network without training is unsure of every picture."""
    folder, out = make_beetles(tmp_path / "beetles"), tmp_path / "out"
    (folder / "labels.csv").write_text(
        "image,head_x,head_y,left_wing_x,left_wing_y,right_wing_x,right_wing_y,tail_x,tail_y,label_state\n"
        "run-000001.png,1,2,3,4,,,,,labeled\n"
    )
    for name in ("run-000001.png", "run-000003.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:80])
    arguments = ["suggest", str(folder), "--model", str(network), "-n", "9", "-o", str(out)]
    assert main(arguments) == FINE
    told = capsys.readouterr().err.splitlines()
    for name in ("run-000001.png", "run-000003.png"):
        assert any(line.startswith(f"warning: left out {folder / name}: ") for line in told), told
    doubts = [line for line in told if "probably wrong" in line]
    assert len(doubts) == 1 and doubts[0].startswith("warning: run-000000.png and 3 others: ")
    rows = list(csv.DictReader((out / "suggestions.csv").open()))
    assert sorted(row["image"] for row in rows) == [f"run-{i:06d}.png" for i in (0, 2, 4, 5)]
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    assert main(arguments) == BAD_USE


def test_suggest_says_when_all_is_labeled(network, tmp_path, capsys):
    folder = make_beetles(tmp_path / "beetles")
    rows = "".join(f"run-{i:06d}.png,1,2,3,4,,,,\n" for i in range(6))
    (folder / "labels.csv").write_text(
        "image,head_x,head_y,left_wing_x,left_wing_y,right_wing_x,right_wing_y,tail_x,tail_y\n" + rows
    )
    assert main(["suggest", str(folder), "--model", str(network), "-o", str(tmp_path / "out")]) == BAD_RESULT
    assert "every one of 6 pictures is labeled" in capsys.readouterr().out
