"""Evaluation on whole pictures: the found subjects, and their key points beside those in true regions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from cpm_fast.data.sample import Dataset
from cpm_fast.engine import Engine
from cpm_fast.evaluation.annotated import coco_source, with_unsampled
from cpm_fast.evaluation.finding.score import MATCHED, OVERLAPS, FindingScore, PoseScore, RegionScore
from cpm_fast.evaluation.network import PROGRESS_FROM_SAMPLES, SampleReader
from cpm_fast.evaluation.oks import AveragePrecision, ScoredSubjects, average_precision
from cpm_fast.evaluation.rule import Rule
from cpm_fast.inference.asking import Looks, looked
from cpm_fast.inference.finders.search import middle_within, overlap
from cpm_fast.inference.parts import Sighting, SubjectCrops, find_parts, subjects_in
from cpm_fast.inference.settings import Settings
from cpm_fast.media.image import read_image
from cpm_fast.metrics import scores
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.system.progress import bar_wanted

# In place of the picture of a sample that was read.
ONE_PIXEL = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class _PictureSamples:
    """A picture: its name, how to read it, rows of its samples, and squares about those who do not count."""

    name: str
    read: Any
    rows: tuple[int, ...]
    ignored: tuple[Roi, ...]


def evaluate_finding(
    model: CPM,
    looks: Looks,
    dataset: Dataset,
    *,
    finder: str = "the finder",
    rule: Rule | None = None,
    oks: bool | None = None,
    settings: Settings | None = None,
    progress: bool | None = None,
) -> FindingScore:
    """Score the subjects found in whole pictures, and their key points beside those in the true regions.

    The parts of a found subject are those of the look that found it, as in `infer`. Pictures are read at their own
    size; `infer` may read large JPEGs at half of it.

    Each region, best first, is assigned to the remaining subject that it overlaps most. Regions whose middle lies in an
    annotated crowd, or on a person who is no sample, count neither as true nor as false.

    Args:
        model: the pose network; it is left as it was.
        looks: the search for subjects (`Asked.of`).
        dataset: annotated samples; of COCO's files also the pictures without people.
        finder: its name, for titles.
        rule: when a part is right; PCK@0.2 if not given.
        oks: whether COCO's average precision is computed; if not given, where the annotation allows it.
        settings: of the pose network's runs.
        progress: whether to show a bar; if not given, for more than a few pictures on a terminal.

    Raises:
        ValueError: no sample could be read, the dataset lacks what the rule needs, or `oks` is true and an area is
            missing.
        RuntimeError: `oks` is true and pycocotools is missing.
    """
    training = model.training
    try:
        return _Finding(model.eval(), looks, dataset, rule, settings or Settings(), progress).score(finder, oks)
    finally:
        model.train(training)


class _Finding:
    """Samples, and what was found for them: [M] regions, [M, P, 2] parts and [M, P] heights; beside all that was."""

    def __init__(
        self, model: CPM, looks: Looks, dataset: Dataset, rule: Rule | None, settings: Settings, progress: bool | None
    ) -> None:
        self.config, self.dataset, self.skeleton = model.config, dataset, dataset.skeleton
        self.engine, self.looks = Engine(model, precision=settings.precision), looks
        self.settings = settings.for_network(model.config)
        self.order = np.array(self.skeleton.order_from(model.skeleton.names))
        if (self.order < 0).all():
            raise ValueError(
                f"network and dataset must share a part, the dataset has {list(self.skeleton.names)}, the network "
                f"{list(model.skeleton.names)}"
            )
        self.reader = SampleReader(dataset, range(len(dataset)))
        self.samples = [replace(sample, image=ONE_PIXEL) for sample in self.reader]
        if not self.samples:
            reason = f"; the first: {self.reader.unreadable[0]}" if self.reader.unreadable else ""
            raise ValueError(f"{dataset.name}: none of its {len(dataset)} samples could be read{reason}")
        self.rule = (rule or Rule()).settled(self.skeleton, heads=bool(np.isfinite(self.reader.heads).any()))
        self.true_rois = [sample.region(self.config.margin) for sample in self.samples]
        self.counts = {at: np.zeros(3, int) for at in OVERLAPS}  # hits, missed, false
        empty = np.full((len(self.samples), len(self.skeleton), 3), np.nan)
        self.matched, self.true = empty, empty.copy()
        self.found_images: list[str] = []
        self.found_parts: list[np.ndarray] = []
        pictures = self.pictures
        show = bar_wanted(progress, len(pictures), PROGRESS_FROM_SAMPLES)
        with tqdm(total=len(pictures), desc=dataset.name, unit="picture", leave=False, disable=not show) as bar:
            for (key, picture, rois), found in find_parts(self.engine, self.settings, self._looked()):
                bar.update()
                parts = [
                    self._in_order(
                        np.concatenate(
                            [roi.to_image(one.parts_box[-1], self.config.input_size), one.scores[-1][:, None]], axis=1
                        )
                    )
                    for roi, one in zip([*rois, *(self.true_rois[row] for row in picture.rows)], found, strict=True)
                ]
                self._take(key, picture, rois, parts)

    def _in_order(self, parts: np.ndarray) -> np.ndarray:
        """Return parts [P', 3] of the network in the order of the dataset: [P, 3], NaN where the network has none."""
        return np.where(self.order[:, None] < 0, np.nan, parts[self.order])

    @cached_property
    def pictures(self) -> Mapping[str, _PictureSamples]:
        """The pictures by what the dataset calls them."""
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(self.reader.images):
            rows.setdefault(key, []).append(row)
        pictures = {key: self._picture(own) for key, own in rows.items()}
        source = coco_source(self.dataset)
        if source is not None:
            # Those without people are in nobody's sample.
            _, images = with_unsampled(*self._truth(), self.reader.names, self.skeleton)
            for key, name in images.items():
                if key not in pictures:
                    squares = tuple(Roi.from_box(box, 1.0) for box in source.ignored.get(name, ()))
                    path = source.pictures.path(name)
                    pictures[key] = _PictureSamples(name, lambda path=path: read_image(path), (), squares)
        return pictures

    def _truth(self) -> tuple[ScoredSubjects, Dataset, list[int]]:
        reader = self.reader
        truth = ScoredSubjects(reader.images, reader.truth(), np.array(reader.areas))
        return truth, self.dataset, reader.indices

    def _picture(self, rows: Sequence[int]) -> _PictureSamples:
        first, index = self.samples[rows[0]], self.reader.indices[rows[0]]
        squares = [Roi.from_box(box, 1.0) for box in first.ignored_image]
        for parts in first.others_image:
            mine = any(np.array_equal(parts, self.samples[row].parts_image, equal_nan=True) for row in rows)
            known = parts[np.isfinite(parts).all(axis=1)]
            if not mine and len(known):
                low, high = known.min(axis=0), known.max(axis=0)
                x, y = ((low + high) / 2).tolist()
                squares.append(Roi((x, y), max(1.0, float((high - low).max()))))
        return _PictureSamples(first.name, lambda: self.dataset[index].image, tuple(rows), tuple(squares))

    def _looked(self) -> Iterator[tuple[tuple[str, _PictureSamples, Sequence[Roi]], SubjectCrops]]:
        for key, picture in self.pictures.items():
            try:
                image = picture.read()
            except (OSError, ValueError) as error:
                self.reader.unreadable.append(str(error))
                continue
            found = looked(self.looks, self.engine, self.settings, image, picture.name)
            every = [*found, *(Sighting(self.true_rois[row]) for row in picture.rows)]
            rois = [one.roi for one in found]
            yield (key, picture, rois), subjects_in(image, every, self.config, self.settings)

    def _take(self, key: str, picture: _PictureSamples, rois: Sequence[Roi], parts: Sequence[np.ndarray]) -> None:
        """Count the regions of a picture, and keep the parts: of the regions first, then of its samples."""
        true = [self.true_rois[row] for row in picture.rows]
        for at in OVERLAPS:
            pairs = matched_regions(rois, true, at)
            false = [i for i, roi in enumerate(rois) if i not in pairs and not middle_within(roi, picture.ignored)]
            self.counts[at] += (len(pairs), len(true) - len(pairs), len(false))
        for i, place in matched_regions(rois, true, MATCHED).items():
            self.matched[picture.rows[place]] = parts[i]
        for place, row in enumerate(picture.rows):
            self.true[row] = parts[len(rois) + place]
        self.found_images += [key] * len(rois)
        self.found_parts += parts[: len(rois)]

    def score(self, finder: str, oks: bool | None) -> FindingScore:
        """Return the scores of all that was found."""
        right = np.isfinite(self.matched).any(axis=(1, 2))
        ways: list[PoseScore] = []
        left_out = ""
        found = np.array(self.found_parts).reshape(-1, len(self.skeleton), 3)
        for every, images, parts in (
            (self.matched, self.found_images, found),
            (self.true, self.reader.images, self.true),
        ):
            precision = None
            if oks is not False and not left_out:
                try:
                    precision = self._precision(images, parts)
                except (ValueError, RuntimeError) as error:
                    if oks:
                        raise
                    left_out = str(error)
            ways.append(PoseScore(self._pck(every, right), self._pck(every, np.ones(len(right), bool)), precision))
        regions = tuple(RegionScore(at, *self.counts[at].tolist()) for at in OVERLAPS)
        counts = len(self.pictures), len(self.samples), len(self.reader.unreadable)
        in_found, in_true = ways
        return FindingScore(self.dataset.name, finder, self.rule, *counts, regions, in_found, in_true, left_out)

    def _pck(self, parts: np.ndarray, chosen: np.ndarray) -> float:
        shared = np.flatnonzero(self.order >= 0)
        truth, names = self.reader.truth(), [self.skeleton.names[i] for i in shared]
        lengths = self.rule.lengths(truth, self.skeleton, np.array(self.reader.heads))
        assert self.rule.threshold is not None
        if not chosen.any():
            return math.nan
        predicted, counted = parts[chosen][:, shared, :2], self.rule.in_mean(names)
        found = scores(predicted, truth[chosen][:, shared], lengths[chosen], [self.rule.threshold], in_mean=counted)
        return found[0].mean

    def _precision(self, images: Sequence[str], parts: np.ndarray) -> AveragePrecision:
        """Return COCO's numbers; a subject's score is the mean over its parts."""
        truth, known = with_unsampled(*self._truth(), self.reader.names, self.skeleton)
        shared = self.order >= 0
        heights = parts[:, shared, 2]
        found = ScoredSubjects(
            images, parts[..., :2], np.nan_to_num(heights).mean(axis=1) if len(parts) else np.empty(0)
        )
        return average_precision(truth, found, self.skeleton, known)


def matched_regions(rois: Sequence[Roi], true: Sequence[Roi], least: float) -> dict[int, int]:
    """Match found regions in order, each with the remaining true region that it overlaps most."""
    left = dict(enumerate(true))
    pairs: dict[int, int] = {}
    for i, roi in enumerate(rois):
        best = max(left, key=lambda place: overlap(roi, left[place]), default=None)
        if best is not None and overlap(roi, left[best]) >= least:
            pairs[i] = best
            del left[best]
    return pairs
