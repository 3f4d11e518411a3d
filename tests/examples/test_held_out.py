"""The baselines that a network must beat, computed by hand, and the example that compares them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

import held_out
from cpm_fast.config import Conv, preset
from cpm_fast.data.sample import Sample
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton

WHOLE = Roi((10.0, 10.0), 20.0)
UNKNOWN = (np.nan, np.nan)


def sample(points, value=0, roi=WHOLE):
    points = np.array(points, float)
    return Sample(np.full((21, 21, 3), value, np.uint8), points, np.isfinite(points).all(axis=1), roi, "any")


def test_mean_pose_leaves_out_what_is_not_labeled():
    training = [sample([(1, 2), (4, 4)]), sample([(3, 6), UNKNOWN]), sample([(5, 10), (6, 8)])]
    found = held_out.mean_pose(training, [sample([(0, 0), (0, 0)])] * 2)
    np.testing.assert_allclose(found, [[(3, 6), (5, 6)]] * 2)


def test_mean_pose_is_that_of_the_region():
    """A training part 1 px right of the center of a 20 px square gives 2 px right of that of a 40 px square."""
    found = held_out.mean_pose([sample([(11, 10)])], [sample([(0, 0)], roi=Roi((100.0, 50.0), 40.0))])
    np.testing.assert_allclose(found, [[(102, 50)]])


def test_a_part_that_nobody_has_is_in_the_middle():
    found = held_out.mean_pose([sample([(1, 1), UNKNOWN])], [sample([(0, 0), (0, 0)])])
    np.testing.assert_allclose(found[0], [(1, 1), (10, 10)], atol=0.02)


def test_the_nearest_neighbor_looks_most_alike():
    training = [sample([(1, 2), (4, 4)], 10), sample([(3, 6), UNKNOWN], 200), sample([(5, 10), (6, 8)], 100)]
    found = held_out.nearest_neighbor(training, [sample([(0, 0)] * 2, value) for value in (30, 190, 110)])
    np.testing.assert_allclose(found, [[(1, 2), (4, 4)], [(3, 6), (5, 6)], [(5, 10), (6, 8)]])


def test_figures():
    """Errors of 5, 10 and 0 pixels in a box of 200 pixels are 2.5 %, 5 % and 0."""
    truth = np.array([[(0, 0), (200, 100), UNKNOWN, (100, 50)]], float)
    predicted = np.array([[(3, 4), (200, 110), (9, 9), (100, 50)]], float)
    found = held_out.figures(predicted, truth)
    assert found["mean px"] == 5 and found["median px"] == 5
    assert [found[f"PCK@{t}"] for t in (0.02, 0.05, 0.1)] == pytest.approx([100 / 3, 100, 100])


def test_the_example(tmp_path, capsys):
    rows = ["scorer,me,me,me,me", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 60, 3), 20 * number, np.uint8))
        rows.append(f"{number}.png,{10 + number},10,30,{20 + number}")
    (tmp_path / "CollectedData.csv").write_text("\n".join(rows) + "\n")
    mouse = Skeleton("mouse", ("nose", "tail"))
    tiny = replace(
        preset("compact", mouse),
        input_size=(64, 64),
        stages=2,
        trunk=((Conv(3, 4),),) * 3,
        tail=(),
        features=(Conv(1, 4),),
        first=(Conv(3, 4),),
        refine=(Conv(3, 4),),
    )
    model, output = tmp_path / "tiny.safetensors", tmp_path / "out"
    save_model(CPM(tiny), model)
    given = ["--data", str(tmp_path), "--hold-out", "2", "--model", str(model), "-o", str(output)]
    result = held_out.main(given)
    # Trained on noses at x = 10, 11, 12; held out are 13 and 14, tails at y = 23, 24 against 20, 21, 22.
    assert result["answers"]["mean pose"]["mean px"] == pytest.approx(2.5)
    assert result["mean px of parts"]["nose"]["mean pose"] == pytest.approx(2.5)
    # The third sample is nearest to both.
    assert result["answers"]["nearest neighbor"]["mean px"] == pytest.approx(1.5)
    assert list(result["answers"]) == ["mean pose", "nearest neighbor", "network, stage 1", "network, stage 2"]
    assert json.loads((tmp_path / "out" / "held-out.json").read_text()) == json.loads(json.dumps(result))
    assert cv2.imread(str(tmp_path / "out" / "held-out.png")).shape == (360, 1080, 3)
    assert "3 samples to learn from, 2 held out, 4 parts" in capsys.readouterr().out
