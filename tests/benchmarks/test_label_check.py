"""Networks not trained on them find labels that are wrong on purpose; correct labels stay."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.studies import label_check
from benchmarks.studies.label_check import Limits, check, fold_of, judged, limb_pairs
from benchmarks.studies.label_evidence import SCALES, Evidence, evidence
from cpm_fast.data.corrected import FORM, Corrected, Correction
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.open import open_dataset
from cpm_fast.evaluation.network import predict
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import LSP
from cpm_fast.weights import DRAWN, load
from support import small_network

SIDES = ("left", "right")
TINY = replace(small_network.TINY, input_size=(32, 32))


def labels_of(count: int) -> np.ndarray:
    """Return figures of 14 parts, 100 px between shoulder and hip."""
    points = np.random.default_rng(0).uniform(0, 1000, (count, 14, 2))
    points[:, LSP.index("left_shoulder")] = (0, 0)
    points[:, LSP.index("right_hip")] = (60, 80)
    return points


def agreed(count: int) -> Evidence:
    """Return evidence that agrees with all labels."""
    labels, full = labels_of(count), np.full((count, 14), 0.9)
    return Evidence(list(range(5, 5 + count)), labels, full, np.zeros_like(full), labels.copy(), full.copy())


def corrected(found: Evidence) -> list[tuple[int, str, str]]:
    return [(one.sample, one.part, one.why) for one in judged(found, LSP, Limits())]


def test_what_agrees_stays() -> None:
    found = agreed(3)
    assert corrected(found) == []
    found.points[:] += 300
    assert corrected(found) == []  # Peaks elsewhere, but the beliefs at the labels are high too.
    found.own[:] = 0.1
    found.heights[:] = 0.4
    assert corrected(found) == []  # The labels' beliefs are low, but so are the peaks.


def test_pairs_of_a_limb_are_judged_together() -> None:
    found = agreed(3)
    knee, ankle, hip = ([LSP.index(f"{side}_{part}") for side in SIDES] for part in ("knee", "ankle", "hip"))
    found.own[0, [*knee, *ankle]], found.other[0, [*knee, *ankle]] = 0.1, 0.7
    found.own[0, hip], found.other[0, hip] = 0.4, 0.4
    got = judged(found, LSP, Limits())
    assert {one.part for one in got} == {f"{side}_{part}" for side in SIDES for part in ("knee", "ankle", "hip")}
    assert {one.why for one in got} == {"exchanged"} and {one.sample for one in got} == {5}
    (left_knee,) = [one for one in got if one.part == "left_knee"]
    assert left_knee.point == tuple(found.labels[0, knee[1]])
    # A pair that speaks against the exchange keeps its labels.
    found.own[0, hip], found.other[0, hip] = 0.5, 0.4
    assert {one.part for one in judged(found, LSP, Limits())} == {
        f"{side}_{part}" for side in SIDES for part in ("knee", "ankle")
    }
    # An unlabeled partner goes along; its place becomes unlabeled.
    found.labels[0, knee[0]] = np.nan
    found.own[0, [*ankle, *hip]], found.other[0, [*ankle, *hip]] = 0.1, 0.7
    by_part = {one.part: one.point for one in judged(found, LSP, Limits())}
    assert by_part["right_knee"] is None and by_part["left_knee"] == tuple(found.labels[0, knee[1]])


def test_a_small_gain_leaves_labels_out() -> None:
    found = agreed(1)
    wrist = [LSP.index("left_wrist"), LSP.index("right_wrist")]
    found.own[0, wrist], found.other[0, wrist] = 0.2, 0.7
    assert corrected(found) == [(5, "left_wrist", "doubtful"), (5, "right_wrist", "doubtful")]
    assert all(one.point is None for one in judged(found, LSP, Limits()))


def test_moved_and_left_out() -> None:
    found, neck = agreed(2), LSP.index("neck")
    found.points[0, neck] += (0, 70)
    found.own[0, neck] = 0.05
    (moved,) = judged(found, LSP, Limits())
    assert (moved.part, moved.why, moved.point) == ("neck", "moved", tuple(found.points[0, neck]))
    found.heights[0, neck] = 0.6
    (left_out,) = judged(found, LSP, Limits())
    assert (left_out.why, left_out.point) == ("left out", None)
    found.labels[0, neck] = np.nan
    assert corrected(found) == []


def test_a_torso_is_the_longer_of_both() -> None:
    found = agreed(3)
    shoulder, neck = LSP.index("left_shoulder"), LSP.index("neck")
    found.points[:, neck] += (0, 100)
    found.labels[0, shoulder] = np.nan
    found.labels[1, shoulder] = (-60, -80)
    assert found.off(LSP)[:, neck].tolist() == [1.0, 0.5, 1.0]


def test_pairs_that_limbs_join() -> None:
    found = [{LSP.names[part] for pair in pairs for part in pair} for pairs in limb_pairs(LSP)]
    limbs = [("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")]
    assert found == [{f"{side}_{part}" for side in SIDES for part in limb} for limb in limbs]


def test_beliefs_at_labels() -> None:
    """On drawn figures the networks' beliefs are high at the labels, and low at those of the other side."""
    model, data = load(DRAWN, device="cpu"), DrawnFigures(6, seed=77)
    found = evidence([model], data, [1, 4])
    twice = evidence([model, model], data, [1, 4])
    assert found.indices == [1, 4] and found.known.all()
    assert found.own.mean() > 0.5 > 0.3 > found.other.mean()
    assert (found.own <= found.heights + 1e-3).all() and (found.off(data.skeleton) < 0.3).mean() > 0.9
    np.testing.assert_allclose(twice.own, found.own, atol=1e-5)
    parts = predict(model, data, [1, 4], pyramid=SCALES, flip=True)
    np.testing.assert_allclose(found.points, parts.predicted[-1], atol=0.05)
    with pytest.raises(ValueError, match="networks must have the parts of"):
        evidence([model, CPM(TINY)], data, [0])
    with pytest.raises(ValueError, match="none of 0 samples"):
        evidence([model], data, [])


def test_folds_are_of_equal_size() -> None:
    assert np.bincount(fold_of(10, 4)).tolist() == [3, 3, 2, 2]


def test_drawn_figures_with_wrong_labels() -> None:
    """Bundled weights, not trained on these figures, check them; labels in four of them are wrong."""
    plain = DrawnFigures(10, seed=77)
    skeleton = plain.skeleton
    wrong: list[Correction] = []
    for index in range(4):
        parts = plain[index].parts_image
        for part in ("left_hip", "left_knee", "left_ankle"):
            a = skeleton.index(part)
            b = skeleton.mirror[a]
            wrong += [Correction(index, skeleton.names[x], tuple(parts[y])) for x, y in ((a, b), (b, a))]
        x, y = parts[skeleton.index("head_top")]
        wrong.append(Correction(index, "head_top", (x + 150.0, y + 150.0)))
    damaged = Corrected(plain, wrong)
    model = load(DRAWN, device="cpu")
    found = check(damaged, [(range(0, 8, 2), [model]), (range(1, 8, 2), [model])], Limits(exchange=0.5, doubt=0.25))
    assert [one.sample for one in found] == sorted(one.sample for one in found)
    heads = {one.sample for one in found if one.part == "head_top"}
    legs = {one.sample for one in found if one.why == "exchanged" and "knee" in one.part}
    assert len(heads & set(range(4))) >= 3 and len(heads - set(range(4))) <= 1
    assert len(legs & set(range(4))) >= 3 and len(legs - set(range(4))) <= 1
    repaired = Corrected(damaged, found)
    for index in legs & set(range(4)):
        knees = [skeleton.index("left_knee"), skeleton.index("right_knee")]
        np.testing.assert_allclose(repaired[index].parts_image[knees], plain[index].parts_image[knees], atol=15)


def test_the_command_trains_checks_and_draws(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(label_check, "preset", lambda _, skeleton: replace(TINY, skeleton=skeleton))
    given = ["--data", "synthetic:14:3", "--hold-out", "2", "--folds", "2", "--out", str(tmp_path)]
    options = ["--epochs", "1", "--batch", "4", "--workers", "0", "--also", "synthetic:6", "1"]
    for fold in ("0", "1"):
        assert label_check.main(["train", *given, *options, "--fold", fold]) == 0
    assert label_check.main(["check", *given]) == 0
    assert json.loads((tmp_path / label_check.CORRECTIONS_FILE).read_text())["about"]["networks"] == "of 2 folds"
    network = tmp_path / "fold0" / "final.safetensors"
    assert label_check.main(["check", *given, "--network", str(network)]) == 0
    assert label_check.main(["sheet", *given]) == 0
    everything = Limits(exchange=-1e9, doubt=-1e9, against=1e9)
    monkeypatch.setattr(label_check, "Limits", lambda: everything)
    path = tmp_path / label_check.CORRECTIONS_FILE
    for held_out, samples in (((), set(range(12))), (("--held-out",), {12, 13})):
        assert label_check.main(["check", *given, "--network", str(network), *held_out]) == 0
        assert {row[0] for row in json.loads(path.read_text())["rows"]} == samples
    assert open_dataset(f"corrected:{path}:synthetic:14:3").name == "synthetic"
    assert f"wrote {path}, " in capsys.readouterr().out


def test_a_sheet_shows_what_changes(tmp_path) -> None:
    data = DrawnFigures(7, seed=1)
    changes = [Correction(i, "neck", (10.0, 10.0) if i % 2 else None) for i in range(7)]
    label_check.sheet(data, changes, tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    side = label_check.SHEET_SIDE_PX
    assert picture.shape == (4 * side, 2 * label_check.SHEET_COLUMNS * side, 3)


@pytest.mark.parametrize(("name", "training"), [("lsp", 800), ("lspet", 9500)])
def test_the_corrections_are_of_training_samples_alone(name, training) -> None:
    written = json.loads((label_check.ROOT / f"benchmarks/results/corrections-{name}.json").read_text())
    assert written["form"] == FORM and written["about"]["limits"] == vars(Limits())
    assert {row[1] for row in written["rows"]} <= set(LSP.names)
    assert min(row[0] for row in written["rows"]) >= 0 and max(row[0] for row in written["rows"]) < training


@pytest.mark.parametrize(("name", "training", "samples"), [("lsp", 800, 1000), ("lspet", 9500, 10000)])
def test_the_corrections_that_were_looked_at_are_of_held_out_samples_alone(name, training, samples) -> None:
    written = json.loads((label_check.ROOT / f"benchmarks/results/corrections-{name}-held-out.json").read_text())
    assert written["form"] == FORM and written["samples"] == samples
    limbs = {(row[0], row[1].split("_")[1] in ("hip", "knee", "ankle")) for row in written["rows"]}
    assert len(limbs) == written["about"]["labels wrong"]
    assert all(training <= row[0] < samples and row[1] in LSP.names for row in written["rows"])


def test_bad_use(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        label_check.main(["check", "--data", "synthetic:9", "--hold-out", "1", "--held-out"])
    assert "--held-out must go with --network" in capsys.readouterr().err
    for options in (["--folds", "1"], ["--fold", "4"], ["--hold-out", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            label_check.main(["check", "--data", "synthetic:9", "--hold-out", "1", *options])
    assert "--folds must be from 2" in capsys.readouterr().err
