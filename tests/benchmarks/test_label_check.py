"""Networks not trained on them find labels that are wrong on purpose; correct labels stay."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.studies import label_check
from benchmarks.studies.label_check import Limits, Opinion, check, fold_of, judged, torsos_of
from cpm_fast.data.corrected import Corrected, Correction
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.open import open_dataset
from cpm_fast.skeleton import LSP
from cpm_fast.weights import DRAWN, load
from support import small_network

TINY = replace(small_network.TINY, input_size=(32, 32))


def truth(count: int) -> np.ndarray:
    """Return a figure of 14 parts, 100 px between shoulder and hip."""
    points = np.random.default_rng(0).uniform(0, 1000, (count, 14, 2))
    points[:, LSP.index("left_shoulder")] = (0, 0)
    points[:, LSP.index("right_hip")] = (60, 80)
    return points


def sure(points: np.ndarray, height: float = 0.9) -> Opinion:
    return Opinion(points, np.zeros(points.shape[:2]), np.full(points.shape[:2], height))


def test_what_agrees_stays() -> None:
    points = truth(3)
    near = points + 19.0 / np.sqrt(2)
    assert judged(near, sure(points), np.full(3, 100.0), [5, 6, 7], LSP, Limits()) == []
    far_but_unsure = judged(points + 300, sure(points, 0.3), np.full(3, 100.0), [5, 6, 7], LSP, Limits())
    split = replace_spread(sure(points), 20.0)
    assert far_but_unsure == [] and judged(points + 300, split, np.full(3, 100.0), [5, 6, 7], LSP, Limits()) == []


def replace_spread(found: Opinion, spread: float) -> Opinion:
    return Opinion(found.points, np.full_like(found.spread, spread), found.heights)


def test_exchanged_moved_and_left_out() -> None:
    points, labels = truth(3), truth(3)
    left, right, neck = LSP.index("left_knee"), LSP.index("right_knee"), LSP.index("neck")
    labels[0, [left, right]] = labels[0, [right, left]]
    labels[1, neck] += (0, 70)
    found = judged(labels, sure(points), np.full(3, 100.0), [5, 6, 7], LSP, Limits())
    assert [(one.sample, one.part, one.why) for one in found] == [
        (5, "right_knee", "exchanged"),
        (5, "left_knee", "exchanged"),
        (6, "neck", "moved"),
    ]
    assert found[0].point == tuple(points[0, right]) and found[2].point == tuple(points[1, neck])
    less_sure = judged(labels, sure(points, 0.5), np.full(3, 100.0), [5, 6, 7], LSP, Limits())
    assert [(one.part, one.point, one.why) for one in less_sure][2:] == [("neck", None, "left out")]
    labels[1, neck] = np.nan
    assert len(judged(labels, sure(points), np.full(3, 100.0), [5, 6, 7], LSP, Limits())) == 2


def test_a_torso_is_the_longer_of_both() -> None:
    points, labels = truth(2), truth(2)
    labels[0, LSP.index("left_shoulder")] = np.nan
    labels[1, LSP.index("left_shoulder")] = (-60, -80)
    assert torsos_of(labels, points, LSP).tolist() == [100.0, 200.0]


def test_folds_are_of_equal_size() -> None:
    assert np.bincount(fold_of(10, 4)).tolist() == [3, 3, 2, 2]


def test_drawn_figures_with_wrong_labels() -> None:
    """Bundled weights, not trained on these figures, check them; labels in four of them are wrong."""
    plain = DrawnFigures(10, seed=77)
    wrong: list[Correction] = []
    for index in range(4):
        parts = plain[index].parts_image
        for a, b in (("left_hip", "right_hip"),) if index % 2 else ():
            pair = [plain.skeleton.index(name) for name in (a, b)]
            wrong += [Correction(index, a, tuple(parts[pair[1]])), Correction(index, b, tuple(parts[pair[0]]))]
        x, y = parts[plain.skeleton.index("head_top")]
        wrong.append(Correction(index, "head_top", (x + 150.0, y + 150.0)))
    damaged = Corrected(plain, wrong)
    found = check(damaged, 8, [load(DRAWN, device="cpu")] * 2, Limits())
    assert found and all(one.sample < 8 for one in found)
    heads = {one.sample for one in found if one.part == "head_top"}
    assert len(heads & set(range(4))) >= 3 and len(heads - set(range(4))) <= 1
    for one in found:
        if one.part == "head_top" and one.sample < 4 and one.point is not None:
            right = plain[one.sample].parts_image[plain.skeleton.index("head_top")]
            assert np.linalg.norm(np.array(one.point) - right) < 15


def test_the_command_trains_checks_and_draws(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(label_check, "preset", lambda _, skeleton: replace(TINY, skeleton=skeleton))
    given = ["--data", "synthetic:14:3", "--hold-out", "2", "--folds", "2", "--out", str(tmp_path)]
    options = ["--epochs", "1", "--batch", "4", "--workers", "0", "--also", "synthetic:6", "1"]
    for fold in ("0", "1"):
        assert label_check.main(["train", *given, *options, "--fold", fold]) == 0
    assert label_check.main(["check", *given]) == 0
    assert label_check.main(["sheet", *given]) == 0
    path = tmp_path / label_check.CORRECTIONS_FILE
    assert open_dataset(f"corrected:{path}:synthetic:14:3").name == "synthetic"
    assert f"wrote {path}, " in capsys.readouterr().out


def test_a_sheet_shows_what_changes(tmp_path) -> None:
    data = DrawnFigures(7, seed=1)
    changes = [Correction(i, "neck", (10.0, 10.0) if i % 2 else None) for i in range(7)]
    label_check.sheet(data, changes, tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    side = label_check.SHEET_SIDE_PX
    assert picture.shape == (2 * side, label_check.SHEET_COLUMNS * side, 3)


def test_bad_use(capsys) -> None:
    for options in (["--folds", "1"], ["--fold", "4"], ["--hold-out", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            label_check.main(["check", "--data", "synthetic:9", "--hold-out", "1", *options])
    assert "--folds must be from 2" in capsys.readouterr().err
