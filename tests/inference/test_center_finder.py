"""Regions from the one map of the released person network, by a network whose map is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.config import Conv, preset
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.finders.center_finder import LONGEST_PX, MOST_CENTERS, CenterFinder
from cpm_fast.inference.finders.search import Search
from cpm_fast.inference.settings import Settings
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.roi import Roi
from support.small_network import TINY_LAYERS

WEIGHTS = "compact-drawn"
PICTURE = np.zeros((368, 656, 3), np.uint8)
# Width of the bumps in the map, network pixels.
SIGMA_PX = 21.0
LAYERS = {**TINY_LAYERS, "features": (), "first": (Conv(1, 4),)}  # the release's later stages read the trunk itself
TINY = replace(preset("person"), stages=2, input_size=(64, 64), tail=(Conv(3, 4),), **LAYERS)


class Given:
    """An engine whose map has a bump for each subject: x and y in pixels of its own picture, and the belief."""

    config = preset("person")
    device = torch.device("cpu")

    def __init__(self, *subjects: tuple[float, float, float]) -> None:
        self.subjects = subjects
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        height, width = crops.shape[2:]
        self.sizes.append((height, width))
        y, x = (8 * np.arange(side // 8) + 3.5 for side in (height, width))
        belief = np.full((height // 8, width // 8), 0.01)
        for at_x, at_y, peak in self.subjects:
            squared = (x[None] - at_x) ** 2 + (y[:, None] - at_y) ** 2
            belief = np.maximum(belief, peak * np.exp(-squared / (2 * SIGMA_PX**2)))
        return [torch.from_numpy(belief).float()[None, None]]


def regions(engine: Any, image: np.ndarray = PICTURE, least: float = 0.5, most: int | None = None) -> Sequence[Roi]:
    return [one.roi for one in CenterFinder(engine, Search(most, least)).sightings(engine, Settings(), image)]


def test_centers_and_regions_as_high_as_the_picture() -> None:
    engine = Given((280, 150, 0.9), (503, 152, 0.8), (369, 169, 0.7), (100, 100, 0.4))
    for scale in (1, 2, 0.5):
        height, width = round(368 * scale), round(656 * scale)
        found = regions(engine, np.zeros((height, width, 3), np.uint8))
        wanted = [((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5) for x, y, _ in engine.subjects[:3]]
        assert np.allclose([roi.center for roi in found], wanted, atol=scale)
        assert [roi.side for roi in found] == [height] * 3
    assert engine.sizes == [(368, 656)] * 3


def test_centers_are_those_of_the_release() -> None:
    """Its demo in words: the map to pixels by cubics, the highest of 3 x 3 pixels, and above 0.5."""
    random = np.random.default_rng(0)
    for _ in range(3):
        places = [
            (x + random.uniform(-30, 30), random.uniform(60, 300), random.uniform(0.6, 1)) for x in (80, 240, 400, 560)
        ]
        engine = Given(*places)
        belief = engine(torch.zeros(1, 3, 368, 656))[0][0, 0].numpy()
        pixels = cv2.resize(belief, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        y, x = np.nonzero((pixels == cv2.dilate(pixels, np.ones((3, 3)))) & (pixels > 0.5))
        wanted = sorted(zip(x.tolist(), y.tolist(), strict=True))
        found = sorted(roi.center for roi in regions(engine))
        assert len(found) == len(wanted) == 4 and np.allclose(found, wanted, atol=1.5)


def test_limits() -> None:
    engine = Given((100, 180, 0.9), (300, 180, 0.7), (500, 180, 0.3))
    assert [len(regions(engine, least=least)) for least in (0.2, 0.5, 0.8, 0.95)] == [3, 2, 1, 0]
    assert [roi.center[0] for roi in regions(engine, most=1)] == pytest.approx([100], abs=1)

    class Rough(Given):
        def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
            generator = torch.Generator().manual_seed(0)
            return [torch.rand(1, 1, crops.shape[2] // 8, crops.shape[3] // 8, generator=generator)]

    assert len(regions(Rough(), least=0.1)) == MOST_CENTERS


def test_padding_finds_nobody() -> None:
    """The picture is filled up to whole cells, and a peak there is nobody's."""
    engine = Given((660, 180, 0.9))
    assert regions(engine, np.zeros((368, 650, 3), np.uint8)) == [] and engine.sizes == [(368, 656)]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 1), (9, 9), (1, 5000), (5000, 1), (90, 900)], ids=str)
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    engine = Given((4, 4, 0.9))
    for roi in regions(engine, np.zeros((*size, 3), np.uint8)):
        assert roi.side > 0.999 * size[0] and np.isfinite(roi.center).all()
    assert max(engine.sizes[0]) <= LONGEST_PX and min(engine.sizes[0]) >= 8
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    finder = CenterFinder(cpm_fast.Engine(CPM(TINY).eval()), Search(None, -1.0))
    assert len(finder.sightings(finder.engine, Settings(), image)) <= MOST_CENTERS


def test_maps_that_are_no_numbers_find_nobody() -> None:
    class Broken(Given):
        def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
            return [torch.full_like(maps, float("nan")) for maps in super().__call__(crops)]

    assert regions(Broken((300, 180, 0.9))) == []


@pytest.fixture
def person_file(tmp_path: Path) -> Path:
    """Weights of a person network whose belief is 0 everywhere."""
    model = CPM(TINY)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    save_model(model, tmp_path / "person.safetensors")
    return tmp_path / "person.safetensors"


def test_infer_takes_it_as_a_finder(person_file: Path) -> None:
    model = cpm_fast.load(person_file)
    assert model.config == TINY
    asked = Asked(person_file).of(cpm_fast.load(WEIGHTS))
    assert isinstance(asked, CenterFinder) and asked.search.min_find_score == 0.5
    for finder in (person_file, model):
        with pytest.warns(UserWarning, match="no subject found"):
            assert len(cpm_fast.infer(PICTURE, model=WEIGHTS, find=finder)[0]) == 0
    # Wherever the peak of a belief is that is the same everywhere.
    torch.nn.init.constant_(model.conv("stage2_beliefs").bias, 0.75)
    (found,) = cpm_fast.find(PICTURE, model=WEIGHTS, find=model, max_subjects=1)[0]
    assert found.side == 368
    with pytest.warns(UserWarning, match="probably wrong"):
        result = cpm_fast.infer(PICTURE, model=WEIGHTS, find=model, max_subjects=1)[0]
    assert result.roi_source == "found" and list(result.rois) == [found]
