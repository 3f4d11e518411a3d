"""A detector of the user: a function from an image to boxes, passed as find=."""

from typing import Any

import cv2
import numpy as np
import pytest

import cpm_fast
from cpm_fast.model.cpm import CPM

BOXES = np.array([[5.0, 5, 25, 35], [20, 4, 45, 30]])
SCORES = np.array([[0.4], [0.9]])


def test_boxes_become_regions(model: CPM, picture: np.ndarray) -> None:
    found = cpm_fast.infer(picture, model=model, find=lambda image: BOXES)[0]
    given = cpm_fast.infer(picture, model=model, boxes=BOXES)[0]
    assert found.roi_source == "found" and found.rois == given.rois
    assert np.allclose(found.keypoints, given.keypoints)
    assert cpm_fast.find(picture, model=model, find=lambda image: BOXES.tolist()) == [list(given.rois)]


def test_scores_and_limits(model: CPM, picture: np.ndarray) -> None:
    def found(**limits: Any) -> list[float]:
        rois = cpm_fast.find(picture, model=model, find=lambda image: np.hstack([BOXES, SCORES]), **limits)[0]
        return [roi.center[0] for roi in rois]

    assert found() == [32.5, 15.0]
    assert found(min_find_score=0.5) == [32.5] and found(min_find_score=0.95) == []
    assert found(max_subjects=1) == [32.5]
    assert len(cpm_fast.find(picture, model=model, find=lambda image: BOXES, max_subjects=1)[0]) == 1


def test_it_sees_every_picture_as_bgr_and_may_change_it(model: CPM, folder: Any) -> None:
    seen = []

    def detector(image: np.ndarray) -> np.ndarray:
        seen.append(image.copy())
        image[:] = 0
        return BOXES

    found = cpm_fast.infer(folder, model=model, find=detector)
    plain = cpm_fast.infer(folder, model=model, boxes=[BOXES] * 3)
    assert [np.array_equal(image, cv2.imread(str(folder / "a.png"))) for image in seen] == [True] * 3
    assert all(np.allclose(a.keypoints, b.keypoints) for a, b in zip(found, plain, strict=True))
    rgb = cv2.imread(str(folder / "a.png"))[..., ::-1].copy()
    cpm_fast.infer(rgb, model=model, find=detector, color="rgb")
    assert np.array_equal(seen[-1], seen[0])


@pytest.mark.parametrize("nobody", [[], np.empty((0, 4)), np.empty((0, 5))], ids=["list", "boxes", "scored"])
def test_nobody(model: CPM, picture: np.ndarray, nobody: Any) -> None:
    with pytest.warns(UserWarning, match="no subject found in image 0"):
        assert len(cpm_fast.infer(picture, model=model, find=lambda image: nobody, min_find_score=0.5)[0]) == 0


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, r"boxes of find\(image\) must be numbers \[N, 4\] or \[N, 5\], got None"),
        ("boxes", TypeError, r"must be numbers \[N, 4\] or \[N, 5\], got 'boxes'"),
        (np.zeros((2, 3)), ValueError, r"must be \[N, 4\] .* or \[N, 5\] \(and a score\), got \[2, 3\]"),
        ([[9, 9, 9, 20]], ValueError, r"box 0 of find\(image\): box must have left < right"),
        ([[900, 9, 920, 20]], ValueError, r"box 0 of find\(image\) must touch the image of 70 x 50 px"),
        ([[0.1, 0.1, 0.5, 0.5]], ValueError, "must be in pixels, got fractions of the picture"),
        ([[1, 2, 30, 40, np.nan]], ValueError, r"scores of the boxes of find\(image\) must be numbers, got \[nan\]"),
    ],
)
def test_wrong_boxes_are_told(model: CPM, picture: np.ndarray, returned: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as told:
        cpm_fast.infer([picture, picture], model=model, find=lambda image: returned)
    assert told.value.__notes__ == ["while subjects were looked for in image 0"]


def test_its_own_errors_come_through(model: CPM, folder: Any) -> None:
    """Its errors do not count as unreadable pictures, which are left out."""

    def broken(image: np.ndarray) -> np.ndarray:
        raise OSError("the detector's weights are gone")

    for verb in (cpm_fast.infer, cpm_fast.find):
        with pytest.raises(OSError, match="the detector's weights are gone") as told:
            verb(folder, model=model, find=broken)
        assert "a.png" in told.value.__notes__[0]


def test_limits_that_need_scores(model: CPM, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must return boxes with scores, \[N, 5\], for min_find_score, got \[2, 4\]"):
        cpm_fast.infer(picture, model=model, find=lambda image: BOXES, min_find_score=0.5)
    with pytest.raises(ValueError, match="find=a function looks for subjects, but boxes or rois say where they are"):
        cpm_fast.infer(picture, model=model, find=lambda image: BOXES, boxes=BOXES)
