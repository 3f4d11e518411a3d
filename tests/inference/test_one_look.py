"""The network looks again at a subject that the search has seen if its region has moved since, and only then.

This is so in `infer`, in `stream` and in the scores of whole pictures, which give the same numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from cpm_fast.config import preset
from cpm_fast.data.sample import Sample
from cpm_fast.engine import Engine
from cpm_fast.evaluation.finding import whole_pictures
from cpm_fast.inference.asking import Looks
from cpm_fast.inference.finders.finder import Finder
from cpm_fast.inference.finders.search import Search, View
from cpm_fast.inference.images import Job
from cpm_fast.inference.parts import Cut, Found, Sighting, SubjectCrops, find_parts
from cpm_fast.inference.settings import Settings
from cpm_fast.inference.tracking import following, tracker
from cpm_fast.inference.tracking.following import Following
from cpm_fast.media.video import VideoFrame
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Result
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP

# Centers of three subjects, and the pictures' size: no finder sees them smaller.
PLACES, SIDE, SIZE = ((40, 60), (150, 70), (250, 160)), 64.0, (240, 320)


class Counting:
    """A network that counts its passes and its crops."""

    def __init__(self, model: CPM) -> None:
        self.engine = Engine(model)
        self.model, self.config, self.device = model, self.engine.config, self.engine.device
        self.passes = self.crops = 0

    def __call__(self, crops: torch.Tensor, *, last: bool = False) -> list[torch.Tensor]:
        self.passes += 1
        self.crops += len(crops)
        return self.engine(crops, last=last)


class Centers:
    """A finder's network that sees the three subjects, in every picture, at the finest scale.

    Coarse cells would place them elsewhere, and the looks there would count too.
    """

    config, device = preset("finder"), torch.device("cpu")

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        height, width = crops.shape[2:]
        maps = torch.zeros(1, 2, height // 8, width // 8)
        for x, y in PLACES if width > SIZE[1] else ():
            i, j = (round((at * width / SIZE[1] - 4) / 8) for at in (y, x))
            maps[0, 0, i, j], maps[0, 1, i, j] = 0.9, float(np.log2(SIDE * width / SIZE[1] / 64))
        return [maps]


FINDER = Finder(Centers(), Search(min_find_score=-1.0))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(5).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8))


@pytest.fixture
def second_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of the second subject are found away from the middle of its region, which moves half as far."""
    plain, (x, _) = View.around, PLACES[1]

    def around(view: View, place: int) -> Roi:
        roi = view.rois[place]
        return Roi((x + SIDE, roi.center[1]), SIDE) if abs(roi.center[0] - x) < 9 else plain(view, place)

    monkeypatch.setattr(View, "around", around)


def run(model: CPM, pictures: list[np.ndarray], search: Looks | None, **given: Any) -> tuple[list[Result], Counting]:
    """Return the results of pictures, and the network that located the parts."""
    rois = given.pop("rois", None)
    fixed = {"boxes": None, "device": "cpu", "color": "bgr", "readers": 0, "max_pixels": 10**6}
    job = Job.of(pictures, Settings(**given), model=model, rois=rois, **fixed)
    engine = Counting(model)
    results = list(dataclasses.replace(job, engine=engine, search=search).run())  # type: ignore[arg-type]
    assert all(isinstance(each, Result) for each in results)
    return results, engine  # type: ignore[return-value]


def same(results: list[Result], others: list[Result]) -> bool:
    """Return whether all numbers are the same, bit for bit."""
    pairs = [
        (getattr(a, name), getattr(b, name))
        for a, b in zip(results, others, strict=True)
        for name in ("keypoints", "scores", "belief_maps")
    ]
    return all(a is b is None or np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("given", [{}, {"belief_maps": True}], ids=["plain", "belief maps"])
def test_one_look_and_the_same_numbers(model, pictures, given) -> None:
    # A pass of one crop: sums are in one order, however many crops there are.
    found, engine = run(model, pictures, FINDER, batch=1, **given)
    rois = [list(result.rois) for result in found]
    assert [len(each) for each in rois] == [3, 3]
    again, second = run(model, pictures, None, batch=1, rois=rois, **given)
    assert same(found, again) and second.crops == 6
    # The three candidates of each picture.
    assert engine.crops == engine.passes == 2 * 3


@pytest.mark.usefixtures("second_moves")
def test_a_region_that_moved_is_looked_at_again(model, pictures) -> None:
    found, engine = run(model, pictures, FINDER, batch=1)
    rois = [list(result.rois) for result in found]
    assert [sum(abs(roi.center[0] - PLACES[1][0] - SIDE / 2) < 9 for roi in each) for each in rois] == [1, 1]
    again, _ = run(model, pictures, None, batch=1, rois=rois)
    # The parts are those of the region that the result names: one more look at each picture.
    assert same(found, again) and engine.crops == engine.passes == 2 * (3 + 1)


@pytest.mark.parametrize("moves", [False, True], ids=["stays", "moves"])
def test_with_a_judge_the_network_looks_once_at_each_subject(model, pictures, moves, request) -> None:
    if moves:
        request.getfixturevalue("second_moves")
    judge = Counting(model)
    finder = dataclasses.replace(FINDER, judge=judge)
    found, engine = run(model, pictures, finder, batch=1)
    again, _ = run(model, pictures, None, batch=1, rois=[list(result.rois) for result in found])
    assert same(found, again) and engine.crops == 2 * 3 and judge.crops == 2 * 3


def test_a_search_needs_no_more_looks(model, pictures) -> None:
    search, picture = Search(2, -1.0), pictures[0][:48, :64].copy()
    found, engine = run(model, [picture], search, batch=1)
    again, _ = run(model, [picture], None, batch=1, rois=[list(found[0].rois)])
    alone = Counting(model)
    search.sightings(alone, Settings(batch=1), picture)  # type: ignore[arg-type]
    assert same(found, again) and len(found[0]) == 2 and engine.crops == alone.crops


def test_stream_takes_the_parts_of_that_look(model, pictures, monkeypatch) -> None:
    monkeypatch.setattr(tracker, "FOLLOWED_SCORE", -10.0)
    monkeypatch.setattr(following, "FIND_EVERY", 1)
    wanted, _ = run(model, pictures[:1], FINDER, batch=1, belief_maps=True)
    engine = Counting(model)
    stream = Following(engine, Settings(batch=1, belief_maps=True), "video", FINDER, None)  # type: ignore[arg-type]
    crops = []
    for index in range(2):
        (result,) = stream.results(iter([VideoFrame(pictures[0], index, index / 25)]))
        crops.append(engine.crops)
        if not index:
            assert same([result], wanted) and result.rois == wanted[0].rois and result.roi_source == "found"
    # The three candidates; then again, and the three that are followed.
    assert crops == [3, 3 + 3 + 3]


class Annotated:
    """A dataset of the three subjects of each picture, whose true regions are beside those of the finder."""

    name, skeleton = "annotated", LSP

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(PLACES) * len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture, place = divmod(index, len(PLACES))
        x, y = PLACES[place]
        parts = np.random.default_rng(index).uniform(-20, 20, (14, 2)) + np.array([x, y])
        return Sample(self.pictures[picture], parts, np.ones(14, bool), Roi((x + 2.0, y), 60.0), f"{picture}.png")


def test_scores_of_whole_pictures_are_of_the_parts_of_that_look(model, pictures, monkeypatch) -> None:
    engine, seen = Counting(model), []

    def heard(*given: Any) -> Iterator[Any]:
        for tag, found in find_parts(*given):
            seen.append(np.array([one.scores[-1] for one in found]))
            yield tag, found

    monkeypatch.setattr(whole_pictures, "find_parts", heard)
    monkeypatch.setattr(whole_pictures, "Engine", lambda _, precision: engine)
    score = whole_pictures.evaluate_finding(model, FINDER, Annotated(pictures), oks=False, settings=Settings(batch=8))
    wanted, alone = run(model, pictures, FINDER, batch=8)
    assert [np.array_equal(found[:3], one.scores) for found, one in zip(seen, wanted, strict=True)] == [True, True]
    assert score.regions[0].hits == 6 and [len(found) for found in seen] == [6, 6]
    # Beside the looks of `infer` one crop for each true region; those of both pictures are one pass.
    assert (engine.crops, engine.passes) == (alone.crops + 6, alone.passes + 1)


def test_a_full_batch(model, pictures) -> None:
    found, engine = run(model, pictures, FINDER)
    again, _ = run(model, pictures, None, rois=[list(result.rois) for result in found])
    # Each picture takes one pass for the three candidates.
    assert engine.passes == 2 and engine.crops == 6
    for one, other in zip(found, again, strict=True):
        assert np.allclose(one.scores, other.scores, atol=1e-5)
    assert all(result.timing.network > 0 for result in found)


@pytest.mark.parametrize(
    ("given", "crops"),
    [({"flip": True}, 2), ({"pyramid": (0.8, 1.0)}, 2), ({"refine": False}, 1), ({"pyramid": (0.9,)}, 1)],
    ids=str,
)
def test_other_looks_are_made(model, pictures, given, crops) -> None:
    found, engine = run(model, pictures[:1], FINDER, batch=1, **given)
    again, _ = run(model, pictures[:1], None, batch=1, rois=[list(found[0].rois)], **given)
    assert same(found, again) and engine.crops == 3 + 3 * crops


def test_pictures_come_in_order_and_known_ones_at_once(model) -> None:
    crop = np.zeros((1, *model.config.input_size, 3), np.uint8)
    known = Found(np.zeros((1, 14, 2)), np.full((1, 14), 0.5), None, 0, 0, 0)
    taken: list[str] = []

    def subjects() -> Iterator[tuple[str, SubjectCrops]]:
        for name in "abcde":
            taken.append(name)
            roi = Roi((0, 0), 1)
            seen = name in "bcd"
            yield name, SubjectCrops([Sighting(roi, known if seen else None)], () if seen else [Cut(crop)])

    engine = Counting(model)
    seen = []
    for name, found in find_parts(engine, Settings(batch=2), subjects()):  # type: ignore[arg-type]
        seen.append((name, found[0] is known, taken[-1]))
    assert seen == [("a", False, "b"), ("b", True, "b"), ("c", True, "c"), ("d", True, "d"), ("e", False, "e")]
    assert engine.passes == 2
