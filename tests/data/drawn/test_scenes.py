"""Drawn scenes: one to six figures that can be seen, the same in every order, grouped by picture."""

from __future__ import annotations

import numpy as np
import pytest

from cpm_fast.data.drawn.scenes import MOST_FIGURES, MOST_HIDDEN, ROUND, DrawnScenes
from cpm_fast.evaluation.finding.whole_pictures import evaluate_finding
from cpm_fast.inference.finders.detector import Detector
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP
from cpm_fast.weights import load

SCENES = 2 * MOST_FIGURES


@pytest.fixture(scope="module")
def samples():
    scenes = DrawnScenes(SCENES, seed=5)
    return [scenes[index] for index in range(len(scenes))]


@pytest.mark.parametrize(("count", "figures"), [(1, 1), (2, 3), (6, ROUND), (7, ROUND + 1), (12, 2 * ROUND)])
def test_one_sample_per_figure(count, figures):
    assert len(DrawnScenes(count)) == figures


def test_scenes_of_one_to_six_figures_in_turn(samples):
    names = [sample.name for sample in samples]
    assert names == [f"scene-{i:06d}" for i in range(SCENES) for _ in range(1 + i % MOST_FIGURES)]
    for sample in samples:
        assert len(sample.others_image) == names.count(sample.name) - 1


def test_samples_of_a_scene_share_picture_and_people(samples):
    by_name = {sample.name: [one for one in samples if one.name == sample.name] for sample in samples}
    for each in by_name.values():
        every = np.array([sample.parts_image for sample in each])
        for place, sample in enumerate(each):
            np.testing.assert_array_equal(sample.image, each[0].image)
            np.testing.assert_array_equal(sample.others_image, np.delete(every, place, axis=0))
    pictures = {each[0].image.tobytes() for each in by_name.values()}
    assert len(pictures) == SCENES


def test_every_figure_is_in_the_picture_and_can_be_seen(samples):
    for sample in samples:
        limit = np.array(sample.image.shape[1::-1]) - 1
        assert sample.complete
        assert sample.labeled.all() and ((sample.parts_image >= 0) & (sample.parts_image <= limit)).all()
        assert sample.roi == Roi.from_parts(sample.parts_image, sample.labeled, LSP)
        assert min(sample.image.shape[:2]) >= 320 and max(sample.image.shape[:2]) <= 640
    hidden = np.array([sample.occluded.mean() for sample in samples])
    assert 0 < hidden.mean() < 0.1
    # The boxes of nearer people leave out hands, feet and the width of limbs.
    assert hidden.max() <= MOST_HIDDEN + 0.2


def test_hidden_parts_are_painted_over():
    """The nearest figure has no hidden part, and a part of another's is hidden only within a nearer one's reach."""
    scenes = DrawnScenes(60, seed=6)
    covered = 0
    for start in range(15, len(scenes), ROUND):
        nearest, *others = [scenes[start + place] for place in range(MOST_FIGURES)]
        assert not nearest.occluded.any()
        for place, sample in enumerate(others, start=1):
            nearer = [nearest.parts_image, *(one.parts_image for one in others[: place - 1])]
            for part in sample.parts_image[sample.occluded]:
                low = np.array([one.min(axis=0) for one in nearer]) - 40
                high = np.array([one.max(axis=0) for one in nearer]) + 40
                assert ((part >= low) & (part <= high)).all(axis=1).any()
                covered += 1
    assert covered > 0


def test_a_scene_depends_on_seed_and_number_only():
    few, many, other = DrawnScenes(2, 3), DrawnScenes(40, 3), DrawnScenes(2, 4)
    for index in (2, 0, 1):
        np.testing.assert_array_equal(few[index].image, many[index].image)
        assert other[index].image.shape != few[index].image.shape or (other[index].image != few[index].image).any()


@pytest.mark.parametrize(("count", "seed", "message"), [(0, 0, "count must be"), (1.5, 0, "count"), (3, -1, "seed")])
def test_bad_numbers(count, seed, message):
    with pytest.raises(ValueError, match=message):
        DrawnScenes(count, seed)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_such_sample(index):
    with pytest.raises(IndexError, match="from 0 to 2"):
        DrawnScenes(2)[index]


def test_an_evaluation_has_one_picture_per_scene():
    """A finder that is right about the nearest figure of each scene, and places another region where nobody is."""
    scenes, model = DrawnScenes(3, seed=8), load("compact-drawn", device="cpu")
    nearest = iter([scenes[0].roi, scenes[1].roi, scenes[3].roi])

    def boxes(image: np.ndarray) -> np.ndarray:
        roi = next(nearest)
        (x, y), half = roi.center, roi.side / model.config.margin / 2
        return np.array([[x - half, y - half, x + half, y + half, 1.0], [0, 0, 4, 4, 0.9]])

    score = evaluate_finding(model, Detector(boxes, None, None), scenes, progress=False)
    assert (score.pictures, score.subjects) == (3, 6)
    at_half = next(one for one in score.regions if one.overlap == 0.5)
    assert (at_half.hits, at_half.missed, at_half.false) == (3, 3, 3)
