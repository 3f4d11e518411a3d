"""stream: the region follows the pose, memory stays bounded, and every bad source raises a clear error."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.config import compact
from cpm_fast.inference.streaming import stream
from cpm_fast.inference.tracking.tracker import SIDE_STEP, followed
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.weights import DRAWN, FOLDER
from support import clips

GREY = np.full((40, 60, 3), 90, np.uint8)
drawn = pytest.mark.skipif(not (FOLDER / f"{DRAWN}.safetensors").is_file(), reason="the bundled weights are missing")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> CPM:
    torch.manual_seed(0)
    return CPM(replace(compact(), input_size=(64, 64), stages=1)).eval()


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "walk.mp4"
    return path, clips.write_walk(path, 2.0)


@drawn
def test_the_region_follows_the_walker(walk):
    path, truth = walk
    results = list(stream(path, model=DRAWN, find=False))
    assert [result.frame for result in results] == list(range(50)) and results[25].seconds == 1.0
    # The first frame is run as a whole, and then again on a closer region.
    assert {result.roi_source for result in results} == {"parts"} and results[0].rois[0].side < 250
    found = np.array([result.keypoints[0] for result in results])
    torso = np.linalg.norm(truth[:, 5] - truth[:, 8], axis=1)
    hits = np.linalg.norm(found - truth, axis=2)[5:] < 0.2 * torso[5:, None]
    still = np.array([result.keypoints[0] for result in stream(path, model=DRAWN, find=False, follow=False)])
    missed = np.linalg.norm(still - truth, axis=2)[5:] < 0.2 * torso[5:, None]
    assert hits.mean() > 0.9 > 0.5 > missed.mean()
    assert all(result.timing.network > 0 for result in results)


@drawn
def test_smoothing_steadies_the_pose(walk):
    path, truth = walk
    plain, smooth = (
        np.array([r.keypoints[0] for r in stream(path, model=DRAWN, find=False, smooth=smooth)])
        for smooth in (False, True)
    )

    def shaking(found: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(np.diff(found - truth, axis=0), axis=2)))

    assert shaking(smooth) < 0.9 * shaking(plain)


def test_followed():
    parts = np.array([[10.0, 10.0], [20.0, 50.0], [30.0, 20.0], [900.0, 900.0]])
    start, last = Roi((100.0, 100.0), 200.0), Roi((20.0, 30.0), 50.0)
    sure = np.array([0.9, 0.5, 0.3, 0.1])
    assert followed(parts, sure, last, start, 1.25) == Roi((20.0, 30.0), 50.0)
    # Half of the parts are enough; then the side shrinks no faster than by its step.
    half = followed(parts[[0, 2, 3, 3]], sure[[0, 1, 3, 3]], last, start, 1.25)
    assert half == Roi((20.0, 15.0), 50.0 / SIDE_STEP).on_grid()
    assert followed(parts, np.ones(4), last, start, 1.25).side == Roi((0.0, 0.0), 50.0 * SIDE_STEP).on_grid().side
    # From the first region on, any step is allowed.
    assert followed(parts, sure, start, start, 1.25) == Roi((20.0, 30.0), 50.0)
    assert followed(parts, np.array([0.9, 0.1, 0.1, 0.1]), last, start, 1.25) == start
    assert followed(np.full((4, 2), np.nan), np.ones(4), last, start, 1.25) == start
    assert followed(np.ones((4, 2)), np.ones(4), start, start, 1.25).side == 1.0


def test_several_subjects_from_boxes(model):
    boxes = np.array([[5, 5, 25, 30], [30, 5, 55, 30]])
    results = list(stream([GREY] * 3, model=model, boxes=boxes, follow=False))
    assert [result.keypoints.shape for result in results] == [(2, 14, 2)] * 3
    assert {result.roi_source for result in results} == {"boxes"} and results[0].rois == results[2].rois
    none = next(stream([GREY], model=model, boxes=np.empty((0, 4)), smooth=True))
    assert len(none) == 0


def test_frames_from_anywhere(model):
    frames = iter([GREY, torch.from_numpy(GREY).permute(2, 0, 1), GREY[..., ::-1]])
    results = list(stream(frames, model=model, rate=10.0, belief_maps=True))
    assert [(result.frame, result.seconds) for result in results] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert results[0].belief_maps.shape == (1, 1, 15, 8, 8)


def test_a_frame_is_kept_until_the_next_is_asked_for(model):
    pictures = []

    def frames():
        for value in range(6):
            picture = np.full((40, 60, 3), value, np.uint8)
            pictures.append(weakref.ref(picture))
            yield picture

    results = []
    for result in stream(frames(), model=model):
        assert result.plot().shape == (40, 60, 3)
        results.append(result)
        gc.collect()
        assert sum(reference() is not None for reference in pictures) <= 2
    with pytest.raises(ValueError, match="video: its picture is gone"):
        results[0].plot()


def test_nothing_is_left_running_or_changed(walk, model):
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    results = stream(walk[0], model=model, threads=2)
    next(results)
    assert torch.is_inference_mode_enabled() == inference and torch.get_num_threads() == threads
    results.close()
    assert not [thread for thread in threading.enumerate() if "reader" in thread.name]


@pytest.mark.parametrize(
    ("error", "message", "source", "options"),
    [
        (FileNotFoundError, "none.mp4: no such video", "none.mp4", {}),
        (RuntimeError, "camera 63: no such camera", 63, {}),
        (TypeError, "source must be a video file, .* got ndarray", GREY, {}),
        (TypeError, "source must be .* got float", 2.5, {}),
        (TypeError, "smooth must be True, False or a OneEuro, got 3", [GREY], {"smooth": 3}),
        (ValueError, "rate must be a positive", [GREY], {"rate": 0.0}),
        (ValueError, "pyramid must be", [GREY], {"pyramid": ()}),
        (ValueError, "box 0 of video: .*left < right", [GREY], {"boxes": [9, 1, 3, 5]}),
        (TypeError, "unexpected keyword argument 'wobble'", [GREY], {"wobble": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rejects_at_once(model, error, message, source, options):
    with pytest.raises(error, match=message):
        stream(source, model=model, **options)


def test_rejects_at_the_first_frame(model):
    with pytest.raises(ValueError, match="must touch the image"):
        list(stream([GREY], model=model, boxes=[900, 900, 950, 950]))
    with pytest.raises(TypeError, match="frame 0 must be"):
        list(stream([3], model=model))


def test_it_is_public():
    assert cpm_fast.stream is stream and "OneEuro" in cpm_fast.__all__
