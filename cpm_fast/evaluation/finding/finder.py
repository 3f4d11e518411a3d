"""Scores of a finder: recall at an overlap, false regions per picture, and the threshold that balances them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.data.scenes.compose import compose
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.scene import Scene, ignored_of, scene_of, subjects_of
from cpm_fast.engine import Engine
from cpm_fast.inference.finders.finder import Candidate, candidates, chosen
from cpm_fast.inference.finders.search import middle_within, overlap
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import RECIPES

LEAST_OVERLAP = 0.5
# Peaks of a lower belief are ignored.
LOWEST = 0.05
# Composed scenes that are held out, at most; their seed is no epoch's.
SCENES, SCENES_SEED = 150, 7_919
# Whole pictures per validation set, at most.
WHOLE = 150
# A false region costs as much as a subject that is missed.
THRESHOLDS = np.linspace(0.1, 0.8, 71)


@dataclass(frozen=True)
class Match:
    """A found region: its score, and whether it belongs to a subject, to nobody, or to somebody who does not count."""

    score: float
    right: bool
    counts: bool


@dataclass(frozen=True)
class FinderScore:
    """The scores over pictures.

    Args:
        threshold: belief that balances missed and false ones best.
        recall: share of the subjects that are found above it, at `LEAST_OVERLAP`.
        false_per_picture: false regions above it, per picture.
        f_score: harmonic mean of recall and precision there.
        subjects, pictures: their numbers.
        left_out: number of pictures that could not be read.
    """

    threshold: float
    recall: float
    false_per_picture: float
    f_score: float
    subjects: int
    pictures: int
    left_out: int = 0

    def row(self) -> dict[str, Any]:
        """Return the scores as a line of a log."""
        return dict(vars(self))

    def __str__(self) -> str:
        return (
            f"recall {100 * self.recall:.1f} %, {self.false_per_picture:.2f} false per picture at a belief of "
            f"{self.threshold:.2f} ({self.subjects} subjects in {self.pictures} pictures"
            + (f"; {self.left_out} left out, run cpm-fast data check)" if self.left_out else ")")
        )


def evaluate_finder(model: CPM, dataset: Dataset) -> FinderScore:
    """Score a finder on composed scenes of a dataset and on its whole pictures.

    A picture that can't be read is left out and counted.

    Args:
        model: the finder, in any mode, which it keeps.
        dataset: held out from its training.

    Raises:
        ValueError: no picture could be read; names the dataset.
    """
    training = model.training
    engine = Engine(model.eval())
    try:
        found = [
            (scene, chosen(candidates(engine, scene.image, LOWEST), None)) for scene in held_out_scenes(dataset, model)
        ]
    finally:
        model.train(training)
    wanted = sum(min(most, len(dataset)) for most in (SCENES, WHOLE))
    if not found:
        raise ValueError(f"{dataset.name}: none of its {len(dataset)} samples could be read; run cpm-fast data check")
    return replace(score_of(found), left_out=wanted - len(found))


def held_out_scenes(dataset: Dataset, model: CPM) -> Iterator[Scene]:
    """Yield composed scenes and whole pictures of a dataset, the same at every call."""
    config, skeleton = model.config, dataset.skeleton
    augmentation = RECIPES["find"].augmentation
    for index in np.linspace(0, len(dataset) - 1, min(SCENES, len(dataset))).astype(int).tolist():
        random = np.random.default_rng((SCENES_SEED, index))

        def another(random: np.random.Generator = random) -> Sample:
            return dataset[int(random.integers(len(dataset)))]

        try:
            yield compose(dataset[index], Material(another, skeleton, config, augmentation), random)
        except (ValueError, OSError):
            continue
    for index in np.linspace(0, len(dataset) - 1, min(WHOLE, len(dataset))).astype(int).tolist():
        try:
            sample = dataset[index]
            subjects = subjects_of(sample, skeleton, config.margin)
        except (ValueError, OSError):
            continue
        yield scene_of(sample.image, subjects, ignored_of(sample, skeleton, config.margin))


def score_of(pictures: Sequence[tuple[Scene, Sequence[Candidate]]]) -> FinderScore:
    """Return the scores of the regions found in scenes, at the best threshold.

    Raises:
        ValueError: there is no picture.
    """
    if not pictures:
        raise ValueError("pictures must be at least one that can be read, got none")
    subjects = sum(len(scene.rois) for scene, _ in pictures)
    matches = [match for scene, found in pictures for match in matched(scene, found)]
    scores = np.array([match.score for match in matches])
    right = np.array([match.right for match in matches], bool)
    false = np.array([match.counts and not match.right for match in matches], bool)

    def at(threshold: float) -> tuple[float, int, int]:
        above = scores > threshold if len(scores) else np.zeros(0, bool)
        hits, wrong = int((above & right).sum()), int((above & false).sum())
        return 2 * hits / max(1, subjects + hits + wrong), hits, wrong

    # The middle one if several are equally good.
    each = [at(float(threshold))[0] for threshold in THRESHOLDS]
    threshold = float(np.median(THRESHOLDS[np.array(each) == max(each)]))
    f_score, hits, wrong = at(threshold)
    return FinderScore(threshold, hits / max(1, subjects), wrong / len(pictures), f_score, subjects, len(pictures))


def matched(scene: Scene, found: Sequence[Candidate]) -> list[Match]:
    """Assign each found region, best first, to the subject that it overlaps most, each subject once."""
    left = list(scene.rois)
    matches = []
    for one in sorted(found, key=lambda each: -each.score):
        overlaps = [overlap(one.roi, roi) for roi in left]
        right = bool(overlaps) and max(overlaps) >= LEAST_OVERLAP
        if right:
            left.pop(int(np.argmax(overlaps)))
        matches.append(Match(one.score, right, right or not middle_within(one.roi, scene.ignored)))
    return matches
