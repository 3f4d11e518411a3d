"""The numbers of a video's subjects in every form of results."""

import json

import numpy as np
import pytest

from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton

STICK = Skeleton("stick", ("top", "bottom"))


def frame(number: int, ids: tuple[int, ...]) -> Result:
    count = len(ids)
    points = np.arange(4 * count, dtype=np.float32).reshape(count, 2, 2) + 5
    scores, rois = np.full((count, 2), 0.5, np.float32), (Roi((9, 9), 8),) * count
    time = {"frame": number, "seconds": number / 25}
    return Result(points, scores, STICK, "walk.mp4", (20, 30), rois, "parts", ids=ids, **time)


@pytest.mark.parametrize("form", ["json", "csv", "npz"])
def test_they_are_read_again(tmp_path, form):
    results = Results([frame(0, (0, 1)), frame(1, (1,)), frame(2, (3, 1, 0))])
    results.save(tmp_path / f"a.{form}")
    assert [result.ids for result in Results.load(tmp_path / f"a.{form}")] == [(0, 1), (1,), (3, 1, 0)]


@pytest.mark.parametrize("form", ["json", "csv", "npz"])
def test_pictures_have_none(tmp_path, form):
    picture = Result(np.ones((2, 2, 2)), np.ones((2, 2)), STICK, "a.png", (20, 30))
    picture.save(tmp_path / f"a.{form}")
    assert Results.load(tmp_path / f"a.{form}")[0].ids == () and picture.numbers == (0, 1)


def test_openpose_s_files_have_them(tmp_path):
    frame(1, (4, 2)).save(tmp_path / "a.json", form="openpose")
    people = json.loads((tmp_path / "a.json").read_text())["people"]
    assert [person["person_id"] for person in people] == [[4], [2]]


def test_a_subject_has_one_color_wherever_it_stands():
    image = np.zeros((60, 80, 3), np.uint8)

    def colors(ids: tuple[int, ...]) -> list[np.ndarray]:
        points = np.array([[[20, 30], [20, 50]], [[60, 30], [60, 50]]], np.float32)[: len(ids)]
        rois = (Roi((20, 40), 24), Roi((60, 40), 24))[: len(ids)]
        shown = Result(points, np.ones((len(ids), 2), np.float32), STICK, "a.mp4", (60, 80), rois, ids=ids)
        picture = shown.drawn(image, details=True)
        return [picture[round(top), round(left)] for left, top, _, _ in shown.boxes]

    both, swapped, alone = colors((0, 1)), colors((1, 0)), colors((1,))
    assert (both[0] == swapped[1]).all() and (both[1] == swapped[0]).all() and (alone[0] == both[1]).all()
    assert (both[0] != both[1]).any()


@pytest.mark.parametrize("ids", [(0,), (1, 1), (0, 1, 2)])
def test_wrong_numbers_are_refused(ids):
    with pytest.raises(ValueError, match="ids must be 2 different numbers"):
        Result(np.ones((2, 2, 2)), np.ones((2, 2)), STICK, ids=ids)
