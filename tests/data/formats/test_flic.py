"""Frames Labeled in Cinema: 9 of 29 points, the observer's sides, the torso's box, tests last."""

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.flic import FramesInCinema
from cpm_fast.skeleton import FLIC
from support.matlab import structs

savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat


def points(**moved) -> np.ndarray:
    """Return [2, 29] of a person facing us: left shoulder at our right. Column j, from 0, is at y = 10 + j + 1."""
    x = np.full(29, np.nan)
    x[[0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]] = 101, 111, 121, 51, 41, 31, 91, 61, 80, 72, 76
    coords = np.stack([x, np.where(np.isnan(x), np.nan, np.arange(29.0) + 11)])
    for column, xy in moved.items():
        coords[:, int(column.removeprefix("c"))] = xy
    return coords


def example(name="a.jpg", test=0, coords=None, box=(41, 21, 121, 121), **more):
    fields = {
        "poselet_hit_idx": np.arange(3),
        "moviename": "a film",
        "coords": points() if coords is None else coords,
        "filepath": name,
        "imgdims": [90, 160, 3],
        "currframe": 7.0,
        "torsobox": np.array(box, float),
        "istrain": 1 - test,
        "istest": test,
    }
    return {**fields, **more}


def write(folder, *examples, variable="examples"):
    savemat(folder / "examples.mat", {variable: structs(*examples) if examples else np.empty((0, 0))})
    (folder / "images").mkdir(exist_ok=True)
    for name in {entry["filepath"] for entry in examples if isinstance(entry["filepath"], str)}:
        cv2.imwrite(str(folder / "images" / name), np.full((90, 160, 3), 60, np.uint8))
    return folder


def test_nine_of_the_points(tmp_path):
    dataset = FramesInCinema(write(tmp_path, example()))
    assert (dataset.name, len(dataset), dataset.skeleton) == ("flic", 1, FLIC)
    sample = dataset[0]
    assert sample.labeled.all() and sample.image.shape == (90, 160, 3) and sample.name == "a.jpg"
    left = {"left_shoulder": (100, 10), "left_elbow": (110, 11), "left_wrist": (120, 12), "left_hip": (90, 16)}
    right = {"right_shoulder": (50, 13), "right_elbow": (40, 14), "right_wrist": (30, 15), "right_hip": (60, 19)}
    wanted = {**left, **right, "nose": (75, 26)}
    assert {name: tuple(sample.parts_image[FLIC.index(name)]) for name in FLIC.names} == wanted


def test_region_of_the_release(tmp_path):
    """Torso box 1-based (41, 21) to (121, 121): center x 81, y 0.7 * 21 + 0.3 * 121 = 51; scale 0.011 * 100."""
    roi = FramesInCinema(write(tmp_path, example()))[0].roi
    assert roi.center == pytest.approx((80, 50))
    # As released the torso's box becomes 106.5 px of 368.
    assert 100 * 368 / roi.side == pytest.approx(106.49, abs=0.01)


def test_sides_are_the_observers(tmp_path):
    """From behind, the left shoulder is at our left; the release then swaps the names of all parts."""
    behind = points(c0=(51, 11), c3=(101, 14))
    sample = FramesInCinema(write(tmp_path, example(coords=behind)))[0]
    assert sample.parts_image[FLIC.index("left_shoulder")].tolist() == [100, 13]
    assert sample.parts_image[FLIC.index("right_shoulder")].tolist() == [50, 10]
    assert sample.parts_image[FLIC.index("left_wrist")].tolist() == [30, 15]
    assert sample.parts_image[FLIC.index("left_hip")].tolist() == [60, 19]
    assert sample.parts_image[FLIC.index("nose")].tolist() == [75, 26]


def test_tests_come_last(tmp_path):
    order = [("a.jpg", 1), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 0)]
    dataset = FramesInCinema(write(tmp_path, *(example(name, test) for name, test in order)))
    assert [dataset[i].name for i in range(4)] == ["b.jpg", "d.jpg", "a.jpg", "c.jpg"]
    assert [dataset[i].identity for i in range(4)] == [(2,), (4,), (1,), (3,)]
    assert dataset.test_count == 2


def test_examples_of_one_frame_are_neighbors(tmp_path):
    dataset = FramesInCinema(write(tmp_path, example(), example("b.jpg"), example(test=1, coords=points(c2=(9, 9)))))
    assert [len(dataset[i].others_image) for i in range(3)] == [1, 0, 1]
    assert dataset[0].others_image[0, FLIC.index("left_wrist")].tolist() == [8, 8]


def test_a_point_that_is_not_there_is_not_labeled(tmp_path):
    sample = FramesInCinema(write(tmp_path, example(coords=points(c16=(np.nan, 5)))))[0]
    assert sample.labeled.tolist() == [True] * 8 + [False]
    assert np.isnan(sample.parts_image[8]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": np.zeros((2, 28))}, r"example 2: coords must be numbers \[2, 29\], got \[2, 28\]"),
        ({"coords": "none"}, r"example 2: coords must be numbers \[2, 29\], got 'none'"),
        ({"torsobox": np.array([1.0, 2, 3])}, r"example 2: torsobox must be numbers \[1, 4\]"),
        ({"torsobox": np.array([1.0, 2, 3, np.nan])}, "example 2: torsobox must be four finite numbers"),
        ({"torsobox": np.array([1.0, 9, 3, 9])}, "example 2: side must be a positive number"),
        ({"filepath": 3.0}, "example 2: filepath must be text, got 3"),
        ({"istest": "yes"}, "example 2: istest must be one number"),
    ],
    ids=["few points", "no points", "half a box", "no box", "flat box", "no name", "no flag"],
)
def test_a_mistake_is_named_with_its_example(tmp_path, change, message):
    with pytest.warns(UserWarning, match=rf"examples\.mat: 1 of 2 examples left out: {message}"):
        assert len(FramesInCinema(write(tmp_path, example(), {**example("b.jpg"), **change}))) == 1
    with pytest.raises(ValueError, match=rf"examples\.mat {message.replace('example 2', 'example 1')}"):
        FramesInCinema(write(tmp_path, {**example("b.jpg"), **change}))


def test_not_flic(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"examples\.mat: no such file"):
        FramesInCinema(tmp_path)
    with pytest.raises(ValueError, match="must hold at least one, got none"):
        FramesInCinema(write(tmp_path))
    with pytest.raises(ValueError, match="must hold the variable examples"):
        FramesInCinema(write(tmp_path, example(), variable="others"))
