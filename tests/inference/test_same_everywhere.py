"""`infer`, `find`, `stream` and the scores of whole pictures treat odd pictures and limits alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.config import Conv, preset
from cpm_fast.data.sample import Sample
from cpm_fast.evaluation.finding.whole_pictures import evaluate_finding
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.finders.finder import candidates
from cpm_fast.media.image import read_image
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP
from support.small_network import TINY_LAYERS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*probably wrong")]

VERBS = ("infer", "find", "stream", "eval")
PICTURES = {
    "blank": np.full((48, 64, 3), 128, np.uint8),
    "1 x 1": np.full((1, 1, 3), 7, np.uint8),
    "20000 x 8": np.arange(8 * 20000 * 3, dtype=np.uint32).astype(np.uint8).reshape(8, 20000, 3),
    "8 x 20000": np.arange(8 * 20000 * 3, dtype=np.uint32).astype(np.uint8).reshape(20000, 8, 3),
    "gray": np.arange(40 * 60, dtype=np.uint32).astype(np.uint8).reshape(40, 60),
    "alpha": np.arange(40 * 60 * 4, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 4),
}


def tiny(name: str) -> CPM:
    """Return an untrained finder of a preset's kind."""
    layers = {**TINY_LAYERS, "first": (Conv(3, 8),)}
    config = replace(preset(name), stages=2, input_size=(64, 64), tail=(), find_score=-1.0, **layers)
    torch.manual_seed(0)
    return CPM(config).eval()


def whole(image: np.ndarray) -> np.ndarray:
    """Return the box of a whole image, as a detector that scores it 0.5."""
    return np.array([[-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, 0.5]])


FINDS = {"finder": tiny("finder"), "centers": tiny("person"), "function": whole, "search": "search"}


class One:
    """A dataset of one sample, whose picture is read by `read`."""

    name, skeleton = "one", LSP

    def __init__(self, read: Any) -> None:
        self.read = read

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        parts = np.random.default_rng(index).uniform(0, 20, (14, 2))
        return Sample(self.read(), parts, np.ones(14, bool), Roi((10, 10), 30), "picture")


def found(verb: str, image: Any, model: CPM, find: Any, **limits: Any) -> int:
    """Return how many subjects a verb finds in a picture, a path or an array."""
    if verb == "infer":
        return len(cpm_fast.infer(image, model=model, find=find, **limits)[0])
    if verb == "find":
        return len(cpm_fast.find(image, model=model, find=find, **limits)[0])
    if verb == "stream":
        return sum(len(result) for result in cpm_fast.stream([image], model=model, find=find, **limits))
    looks = Asked(find, False, limits.get("max_subjects"), limits.get("min_find_score")).of(model)
    assert looks is not None
    dataset = One(lambda: read_image(image) if isinstance(image, Path) else image)
    regions = evaluate_finding(model, looks, dataset, oks=False, progress=False).regions[0]
    return regions.hits + regions.false


@pytest.fixture
def sure_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `stream` follow all that is found: with an untrained network no part is sure."""
    monkeypatch.setattr("cpm_fast.inference.tracking.tracker.FOLLOWED_SCORE", -10.0)


@pytest.mark.usefixtures("sure_of_all")
@pytest.mark.filterwarnings("ignore:.*no subject found")
@pytest.mark.parametrize("shown", PICTURES)
@pytest.mark.parametrize("way", ["finder", "function", "centers"])
def test_any_picture(model: CPM, tmp_path: Path, shown: str, way: str) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), PICTURES[shown])
    counts = {verb: found(verb, path, model, FINDS[way], max_subjects=3) for verb in VERBS}
    assert counts["infer"] == counts["find"] == counts["eval"], counts
    # Poses that lie on one another, as those of an untrained network may, are followed as one.
    assert 1 <= counts["stream"] <= counts["infer"], counts


@pytest.mark.filterwarnings("ignore:.*no subject found")
def test_a_search_in_the_smallest_picture(model: CPM) -> None:
    assert [found(verb, PICTURES["1 x 1"], model, "search") for verb in VERBS] == [0] * 4


@pytest.mark.parametrize("way", ["finder", "centers", "search"])
def test_found_regions_lie_on_the_grid(model: CPM, way: str) -> None:
    """So a video's table gives back exactly what the network saw."""
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    if way == "finder":
        rois = [one.roi for one in candidates(cpm_fast.Engine(FINDS[way]), image, -1.0)]
    else:
        (rois,) = cpm_fast.find(image, model=model, find=FINDS[way], min_find_score=-10.0)
    assert rois and all(roi == roi.on_grid() for roi in rois)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.empty((0, 0, 3), np.uint8), r"at least one pixel, got \[0, 0, 3\]"),
        (np.empty((0, 9, 3), np.uint8), r"at least one pixel, got \[0, 9, 3\]"),
        (np.zeros((40, 60, 2), np.uint8), r"must be \[H, W.* got \[40, 60, 2\]"),
    ],
    ids=["nothing", "no rows", "two channels"],
)
@pytest.mark.filterwarnings("ignore:one. sample 0 left out")
def test_no_picture(model: CPM, verb: str, image: np.ndarray, message: str) -> None:
    name = {"stream": "frame 0", "eval": "picture"}.get(verb, "image 0")
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        found(verb, image, model, whole)


def test_the_frame_that_is_no_picture_is_named(model: CPM) -> None:
    results = cpm_fast.stream([PICTURES["blank"], np.zeros((4, 4))], model=model)
    assert next(results).frame == 0
    with pytest.raises(TypeError, match="frame 1: an array must be uint8, got float64"):
        next(results)


def test_samples_whose_pictures_are_none() -> None:
    for image, error, message in (
        (PICTURES["gray"], ValueError, r"picture: image must be \[H, W, 3\] BGR .* got \[40, 60\]; np.repeat"),
        (PICTURES["alpha"], ValueError, r"got \[40, 60, 4\]"),
        (np.zeros((4, 4, 3)), TypeError, "picture: image must be an array of uint8, got float64"),
        ("picture.png", TypeError, "must be an array of uint8, got str"),
    ):
        with pytest.raises(error, match=message):
            One(lambda image=image: image)[0]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", FINDS)
def test_limits_out_of_range(model: CPM, verb: str, way: str) -> None:
    for name, values, wanted in (
        ("max_subjects", (0, -1, 1.5, True, "2"), "a positive whole number or None"),
        ("min_find_score", (float("nan"), float("inf"), True, "0.5", 10**400), "a finite number"),
    ):
        for value in values:
            with pytest.raises(ValueError, match=f"{name} must be {wanted}, got"):
                found(verb, PICTURES["blank"], model, FINDS[way], **{name: value})


@pytest.mark.usefixtures("sure_of_all")
@pytest.mark.filterwarnings("ignore:.*no subject found")
def test_limits_in_range(model: CPM) -> None:
    for verb in VERBS:
        for way in ("finder", "centers", "function"):
            assert found(verb, PICTURES["20000 x 8"], model, FINDS[way], max_subjects=1) <= 1, (verb, way)
            # Above every score there is nobody; only a function's scores may be above 1.
            least = 1e6 if way == "function" else 1.0
            assert found(verb, PICTURES["blank"], model, FINDS[way], min_find_score=least) == 0, (verb, way)
