"""Subjects of a video that enter, cross, hide and leave: those followed, and their numbers."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cpm_fast
from benchmarks.studies.identities import about, identities
from cpm_fast.data.drawn.crossing import RATE, crossing_figures
from cpm_fast.inference.parts import Found, Sighting
from cpm_fast.inference.tracking import following
from cpm_fast.inference.tracking.following import FIND_EVERY, LOST_FRAMES
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.weights import DRAWN, FOLDER

GRAY = np.full((240, 426, 3), 90, np.uint8)
drawn = pytest.mark.skipif(not (FOLDER / f"{DRAWN}.safetensors").is_file(), reason="the bundled weights are missing")
pytestmark = pytest.mark.usefixtures("one_thread")


def figure(x: float, y: float = 120.0, seed: int = 0) -> np.ndarray:
    """Return parts [14, 2] of a person at a place: 60 px wide and 120 px tall."""
    return np.random.default_rng(seed).uniform((-30, -60), (30, 60), (14, 2)) + np.array([x, y])


class Seeing:
    """A mock of the network that is given the figures' places: it finds the one nearest to the region's middle.

    Args:
        frames: parts [K, 14, 2] of the figures in each frame, the last one in front of the others.
        hidden: share of a figure's width within which the one behind is hidden.
    """

    def __init__(self, frames: Sequence[np.ndarray], hidden: float = 0.6) -> None:
        self.frames, self.hidden, self.frame = frames, hidden, -1
        self.random = np.random.default_rng(0)

    def pictures(self) -> Iterator[np.ndarray]:
        for frame in range(len(self.frames)):
            self.frame = frame
            yield GRAY

    def seen(self) -> list[np.ndarray]:
        figures = [one for one in self.frames[self.frame] if 0 <= one.mean(0)[0] < GRAY.shape[1]]
        return [one for i, one in enumerate(figures) if all(self._apart(one, other) for other in figures[i + 1 :])]

    def _apart(self, one: np.ndarray, other: np.ndarray) -> bool:
        return abs(one.mean(0) - other.mean(0))[0] > self.hidden * 60

    def boxes(self, image: np.ndarray) -> np.ndarray:
        return np.array([[*one.min(0), *one.max(0)] for one in self.seen()]).reshape(-1, 4)

    def look(self, engine: Any, settings: Any, image: np.ndarray, sightings: Sequence[Sighting]) -> list[Found]:
        found = []
        for roi in [one.roi for one in sightings]:
            near = sorted(self.seen(), key=lambda one: float(np.linalg.norm(one.mean(0) - roi.center)))
            there = bool(near) and np.linalg.norm(near[0].mean(0) - roi.center) < roi.side / 2
            parts = (near[0] if there else figure(*roi.center)) + self.random.normal(0, 1, (14, 2))
            scores = np.full((1, 14), 0.8 if there else 0.1, np.float32)
            found.append(Found(roi.to_box(parts, engine.config.input_size)[None], scores, None, 0, 0, 0))
        return found


@pytest.fixture
def follow(model: CPM, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[cpm_fast.Result]]:
    def run(frames: Sequence[np.ndarray], hidden: float = 0.6, **options: Any) -> list[cpm_fast.Result]:
        seeing = Seeing(frames, hidden)
        monkeypatch.setattr(following, "look", seeing.look)
        return list(cpm_fast.stream(seeing.pictures(), model=model, find=seeing.boxes, **options))

    return run


def crossing(seed: int, frames: int = 500) -> list[np.ndarray]:
    """Return two people who walk back and forth in opposite ways and cross at least four times; one is in front."""
    random = np.random.default_rng(seed)
    period, phase, height = random.uniform(150, 250), random.uniform(-0.6, 0.6), random.uniform(0, 12)
    swings = random.normal(0, 6, (2, 14, 2))
    every = []
    for i in range(frames):
        angle = 2 * np.pi * i / period + phase
        every.append(
            np.array(
                [
                    figure(213 + way * 150 * np.sin(angle), 120 + height * one, seed=one) + swings[one] * np.sin(i / 4)
                    for one, way in enumerate((1, -1))
                ]
            )
        )
    return every


@pytest.mark.parametrize("seed", range(5))
def test_figures_that_cross_keep_their_numbers(follow, seed):
    frames = crossing(seed)
    kept = identities(iter(follow(frames)), frames)
    assert (kept.exchanged, kept.renewed, kept.ids, kept.nobody) == (0, 0, 2, 0), kept
    assert kept.unseen < 0.1 * kept.figures


def test_without_motion_they_are_exchanged(follow, monkeypatch):
    """The crossing test can fail: subjects that are expected to stand still exchange their numbers."""
    monkeypatch.setattr(following.FollowedSubject, "moved", lambda subject, frame: subject)
    monkeypatch.setattr(following.FollowedSubject, "steady", lambda subject, frame: np.array(subject.region.center))
    monkeypatch.setattr(following, "sameness", lambda *_: 0.5)
    frames = crossing(1)
    kept = identities(iter(follow(frames)), frames)
    assert kept.exchanged + kept.renewed > 0


LIGHT, DARK = np.full((14, 3), 200.0), np.full((14, 3), 40.0)


def someone(place: int, colors: np.ndarray, parts: np.ndarray) -> following.FollowedSubject:
    x, y = parts.mean(0).tolist()
    region = Roi((x, y), 168.0)
    return following.FollowedSubject(place, region, parts, np.array([3.0, 0.0]), colors, 4, region.center, 4, age=9)


def pose_of(colors: np.ndarray, parts: np.ndarray) -> following.FoundPose:
    x, y = parts.mean(0).tolist()
    found = Found(parts[None], np.full((1, 14), 0.8), None, 0, 0, 0)
    return following.FoundPose(Roi((x, y), 168.0), found, parts, found.scores[-1], Roi((x, y), 168.0), colors, False)


def test_two_in_one_place_are_told_apart_by_their_colors():
    light, dark = someone(0, LIGHT, figure(200)), someone(1, DARK, figure(200))
    for colors, (one, other) in ((LIGHT, (light, dark)), (DARK, (dark, light))):
        pose = pose_of(colors, figure(209))
        a, b = (each.moved(7).alike(pose, 7) for each in (one, other))
        assert a > 2 * b > 0
    # With unknown colors both are alike, and the same colors make nobody of somebody far away.
    a, b = (each.moved(7).alike(pose_of(np.full((14, 3), np.nan), figure(209)), 7) for each in (light, dark))
    assert a == b > 0.5
    assert light.moved(7).alike(pose_of(LIGHT, figure(420)), 7) < following.LEAST_ALIKE


def test_colors_and_velocity_stay_where_poses_may_be_mistaken():
    subject = someone(0, LIGHT, figure(200)).moved(5)
    seen, crowded = (subject.seen_as(pose_of(DARK, figure(230)), 5, near) for near in (False, True))
    assert (seen.colors < LIGHT).all() and seen.velocity[0] > 3 and seen.free_frame == 5
    assert (crowded.colors == LIGHT).all() and crowded.velocity[0] == 3 and crowded.free_frame == 4


def test_state_of_a_subject_is_plain_and_whole():
    parts, colors = figure(200), LIGHT.copy()
    parts[3], colors[5] = np.nan, np.nan
    subject = replace(someone(3, colors, figure(200)), parts=parts)
    again = following.FollowedSubject.from_dict(json.loads(json.dumps(subject.to_dict(), allow_nan=False)))
    for name, value in vars(subject).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(getattr(again, name), value, equal_nan=True), name
        else:
            assert getattr(again, name) == value, name


def test_a_small_pose_within_another_is_nobody_new(follow):
    """Until it is beside: a child who stands in front of somebody."""
    big = figure(200)

    def small(x: float) -> np.ndarray:
        return 0.15 * figure(0, 0, seed=1) + np.array([x, 160])

    frames = [np.array([big, small(212 if i < 10 else 330)]) for i in range(20)]
    results = follow(frames, hidden=0.0)
    assert [result.ids for result in results] == [(0,)] * 10 + [(0, 1)] * 10


def test_one_comes_while_another_is_followed(follow):
    frames = [np.array([figure(80)] if i < 7 else [figure(80), figure(300, seed=1)]) for i in range(20)]
    results = follow(frames)
    first = next(result.frame for result in results if len(result) == 2)
    assert first == 2 * FIND_EVERY
    assert [result.ids for result in results] == [(0,)] * first + [(0, 1)] * (20 - first)
    assert results[0].roi_source == "found" and {result.roi_source for result in results[1:]} == {"parts"}


def test_one_leaves_and_one_who_comes_back_late_is_new(follow):
    """A short gap keeps the number; after a longer one, or at the border, the number is not used again."""

    def frames(gap: int) -> list[np.ndarray]:
        there, gone = np.array([figure(80), figure(300, seed=1)]), np.array([figure(80)])
        return [there] * 10 + [gone] * gap + [there] * 10

    for gap, ids in ((LOST_FRAMES - 10, (0, 1)), (LOST_FRAMES + 10, (0, 2))):
        results = follow(frames(gap))
        assert {result.ids for result in results[10 : 10 + gap]} == {(0,)}
        assert results[-1].ids == ids


def test_one_who_walks_out_has_left_at_once(follow):
    out = [np.array([figure(300 + 12 * i)]) for i in range(20)]
    back = [np.array([figure(340)])] * 10
    results = follow(out + back)
    assert results[0].ids == (0,) and results[-1].ids == (1,)


def test_limits_and_nobody(follow):
    three = np.array([figure(80), figure(220, seed=1), figure(360, seed=2)])
    assert {result.ids for result in follow([three] * 8)} == {(0, 1, 2)}
    assert {result.ids for result in follow([three] * 8, max_subjects=2)} == {(0, 1)}
    results = follow([np.empty((0, 14, 2))] * 3, smooth=True)
    assert [(len(result), result.frame) for result in results] == [(0, 0), (0, 1), (0, 2)]


def test_smoothing_belongs_to_the_subject_and_not_to_its_place(follow):
    """When the first subject is lost, the second one's filter continues."""
    stays = [figure(300 + (i % 2), seed=1) for i in range(16)]
    both = [np.array([figure(80), one]) if i < 10 else np.array([one]) for i, one in enumerate(stays)]
    alone = [np.array([one]) for one in stays]
    a, b = follow(both, smooth=True), follow(alone, smooth=True)
    assert a[-1].ids == (1,) and np.abs(a[-1].keypoints[0] - b[-1].keypoints[0]).max() < 4


def test_one_subject_is_what_it_was(model):
    """max_subjects=1, follow=False and find=False do not use the finder of the weights."""
    plain = [result.keypoints for result in cpm_fast.stream([GRAY] * 2, model=model)]
    for options in ({"max_subjects": 1}, {"find": False}):
        results = list(cpm_fast.stream([GRAY] * 2, model=model, **options))
        assert all((a == b.keypoints).all() for a, b in zip(plain, results, strict=True))
        assert [result.ids for result in results] == [(0,)] * 2
    boxes = np.array([[5, 5, 25, 30], [30, 5, 55, 30]])
    assert {result.ids for result in cpm_fast.stream([GRAY] * 2, model=model, boxes=boxes)} == {(0, 1)}


def test_rejects(model):
    for options, message in (
        ({"find": lambda image: [], "follow": False}, "follow must be True where subjects are found"),
        ({"find": "search", "boxes": [1, 1, 9, 9]}, "boxes or rois say where they are"),
        ({"max_subjects": 3}, "max_subjects is for subjects that are looked for, got 3 with weights that have no"),
        ({"max_subjects": 0}, "max_subjects must be a positive whole number"),
        ({"find": 3}, 'find must be "auto", "search", False, a finder or a function'),
    ):
        with pytest.raises(ValueError, match=message):
            cpm_fast.stream([GRAY], model=model, **options)
    with pytest.raises(TypeError, match="boxes of find") as told:
        list(cpm_fast.stream([GRAY], model=model, find=lambda image: None))
    assert told.value.__notes__ == ["while subjects were looked for in frame 0 of video"]


@drawn
@pytest.mark.slow
def test_the_bundled_network_keeps_those_who_cross_apart():
    """Their numbers stay from before they meet until they are apart."""
    frames = list(crossing_figures(140 / RATE, 0))[70:]
    truth = [parts for _, parts in frames]
    images = (image for image, _ in frames)
    kept = identities(cpm_fast.stream(images, model=DRAWN, find=about(truth), rate=RATE), truth)
    assert (kept.exchanged, kept.renewed, kept.ids) == (0, 0, 2), kept
    assert kept.unseen < 0.2 * kept.figures
