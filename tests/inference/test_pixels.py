"""Large JPEGs are read no finer than the network's crops need, and the parts keep their places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

import cpm_fast
from cpm_fast.config import NetworkConfig
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.inference.images import Job
from cpm_fast.inference.parts import Found, Sighting
from cpm_fast.inference.pixels import fine_enough, read_for, read_to_look, read_whole, reduction_for
from cpm_fast.inference.settings import Settings
from cpm_fast.media import image as reading
from cpm_fast.media.sources import Source
from cpm_fast.roi import Roi

MODEL = "compact-drawn"
LARGER = 5


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> tuple[Path, Roi]:
    """Return a drawn figure, enlarged five times, and the region around it."""
    sample = DrawnFigures(1)[0]
    large = cv2.resize(sample.image, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
    path = tmp_path_factory.mktemp("photo") / "large.jpg"
    cv2.imwrite(str(path), large, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert sample.roi is not None
    return path, sample.roi.reduced(1 / LARGER)


@pytest.fixture
def reductions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the reductions at which JPEGs were decoded."""
    seen: list[int] = []
    decode = reading._by_opencv
    monkeypatch.setattr(reading, "_by_opencv", lambda data, factor: seen.append(factor) or decode(data, factor))
    return seen


def config() -> NetworkConfig:
    return cpm_fast.load(MODEL).config


def test_reduction_is_that_of_the_crop():
    network = dataclasses.replace(config(), input_size=(256, 256))
    for side, pyramid, wanted in (
        (256, (1,), 1),
        (511, (1,), 1),
        (512, (1,), 2),
        (1024, (1,), 4),
        (1024, (0.5, 2), 2),
        (9e4, (1,), 8),
    ):
        assert reduction_for([Roi((0, 0), side)], network, pyramid) == wanted, (side, pyramid)
    assert reduction_for([Roi((0, 0), 9000), Roi((0, 0), 600)], network, (1.0,)) == 2
    assert reduction_for([], network, (1.0,)) == 1


@pytest.mark.parametrize("way", ["whole", "region"])
def test_parts_are_those_of_the_picture_read_whole(photo, way, reductions):
    path, roi = photo
    given = {"find": False} if way == "whole" else {"rois": roi}
    found = cpm_fast.infer(path, model=MODEL, device="cpu", **given)[0]
    assert len(reductions) == 1 and reductions[0] > 1
    right = cpm_fast.infer(cv2.imread(str(path)), model=MODEL, device="cpu", **given)[0]
    assert found.size == right.size and found.rois == right.rois
    # In crop pixels: both are exact to about a hundredth of a pixel for a clear peak.
    crop_px = found.rois[0].magnification(config().input_size)
    errors = np.linalg.norm(found.keypoints - right.keypoints, axis=-1) * crop_px
    assert np.median(errors) < 0.25
    assert np.abs(found.scores - right.scores).max() < 0.05


def test_picture_is_read_again_for_small_subjects(photo, reductions):
    path, _ = photo
    source = Source(str(path), path)
    looked_at = read_to_look(source, 320)
    assert looked_at.reduction == 2
    large, small = Roi((300, 300), 900), Roi((300, 300), 120)
    assert fine_enough(looked_at, source, [large], config(), (1.0,)) is looked_at
    assert fine_enough(looked_at, source, [], config(), (1.0,)) is looked_at
    again = fine_enough(looked_at, source, [large, small], config(), (1.0,))
    assert again.reduction == 1 and reductions == [2, 1]
    assert read_to_look(source, None).reduction == read_to_look(source, 10_000).reduction == 1
    assert read_for(source, [small], config(), (1.0,)).reduction == 1
    assert read_whole(source, config(), (1.0,)).reduction > 1


def test_parts_of_a_look_count_unless_the_picture_is_read_again(photo):
    path, _ = photo
    seen = Found(np.full((1, 14, 2), 7.0), np.full((1, 14), 0.9), None, 0, 0, 0)

    @dataclasses.dataclass
    class Looks:
        side: float

        def longer_px(self, network):
            return 320

        def sightings(self, engine, settings, image):
            return [Sighting(Roi((400.0, 300.0), self.side).reduced(2), seen)]

    job = job_of(path)
    (once,), (twice,) = (dataclasses.replace(job, search=Looks(side)).run() for side in (900.0, 120.0))
    assert (once.scores == np.float32(0.9)).all() and not (twice.scores == np.float32(0.9)).any()
    assert np.allclose(once.keypoints, once.rois[0].to_image(seen.parts_box[0], config().input_size))


@pytest.mark.parametrize("side", [900.0, 120.0], ids=["read once", "read twice"])
def test_found_regions_are_in_pixels_of_the_picture(photo, side):
    path, _ = photo
    seen = []

    class Looks:
        def longer_px(self, network):
            return 320

        def sightings(self, engine, settings, image):
            seen.append(image.shape)
            return [Sighting(Roi((400.0, 300.0), side).reduced(2))]

    job = dataclasses.replace(job_of(path), search=Looks())
    (found,) = job.run()
    height, width = found.size
    assert seen == [(-(-height // 2), -(-width // 2), 3)] and found.roi_source == "found"
    assert found.rois[0].center == pytest.approx((400.0, 300.0)) and found.rois[0].side == pytest.approx(side)
    right = cpm_fast.infer(cv2.imread(str(path)), model=MODEL, device="cpu", rois=found.rois[0])[0]
    assert np.abs(found.scores - right.scores).max() < 0.05


def job_of(path: Path) -> Job:
    return Job.of(path, Settings(), model=MODEL, boxes=None, rois=None, device="cpu", color="bgr", readers=0)
