"""The outcome of an evaluation: a table to print, numbers to keep, a curve to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.evaluation.cells import percent, plain_number
from cpm_fast.evaluation.curves import score_curves
from cpm_fast.evaluation.rule import FLIC_RULE, OBSERVER, Rule
from cpm_fast.metrics import Score, area_below, errors, scores
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write

TABLE_WIDTH = 120
PROTOCOLS = {
    "crop": "crop: each sample's own region; where it comes from the annotation, the truth gives center and scale",
    "lsp": "lsp: about the image's center, image height to 294.4 px of a 368 px box; the truth is not used",
    "predictions": "predictions as they were given",
}
# The parts reported on FLIC, each the mean of both sides (Sapp and Taskar 2013).
FLIC_REPORTED = ("elbow", "wrist")
OBSERVED = "observer-centric: left and right of truth and prediction named as if every subject faced the camera"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a dataset, stage by stage.

    Args:
        dataset: its name.
        source: the origin of the predictions: the name of a network or of a file, for titles.
        protocol: a key of `PROTOCOLS`: the origin of the regions.
        pyramid: factors on the magnification that were averaged.
        precision: of the network; empty if it is not known.
        rule: of the scores.
        skeleton: the P parts that were scored; those that network and dataset share, in the dataset's order.
        unscored: parts of the dataset that were not scored.
        unreadable: number of samples that could not be read; they are in no array.
        samples: names of the M other samples.
        images: [M] the image of each, in the dataset's own words.
        indices: [M] their indices in the dataset.
        predictions: [T, M, P, 2] image pixels, NaN where there is none.
        heights: [T, M, P] of the belief peaks, NaN where not known.
        truth: [M, P, 2] image pixels, NaN where not labeled.
        reference_length: [M] image pixels, NaN where there is none.
        areas_image: [M] of the subjects, square image pixels, NaN where not annotated.
    """

    dataset: str
    source: str
    protocol: str
    pyramid: tuple[float, ...]
    precision: str
    rule: Rule
    skeleton: Skeleton
    unscored: tuple[str, ...]
    unreadable: int
    samples: tuple[str, ...]
    images: tuple[str, ...]
    indices: np.ndarray
    predictions: np.ndarray
    heights: np.ndarray
    truth: np.ndarray
    reference_length: np.ndarray
    areas_image: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the P parts."""
        return self.skeleton.names

    @property
    def reference(self) -> str:
        """The length that errors were measured against, in words."""
        return self.rule.over

    @cached_property
    def stages(self) -> tuple[Score, ...]:
        """The score of every stage, T of them."""
        threshold = self.rule.threshold
        assert threshold is not None
        return tuple(self._scores(stage, [threshold])[0] for stage in range(len(self.predictions)))

    @cached_property
    def curve_scores(self) -> tuple[list[Score], ...]:
        """The scores of every stage at the K thresholds of the rule's curve."""
        return tuple(self._scores(stage, self.rule.curve) for stage in range(len(self.predictions)))

    def _scores(self, stage: int, thresholds: Sequence[float]) -> list[Score]:
        return scores(
            self.predictions[stage],
            self.truth,
            self.reference_length,
            thresholds,
            in_mean=self.rule.in_mean(self.names),
        )

    def curves(self) -> np.ndarray:
        """Return the mean of every stage at the thresholds of the rule's curve: [T, K] fractions."""
        return np.array([[score.mean for score in stage] for stage in self.curve_scores])

    @cached_property
    def areas(self) -> tuple[float, ...]:
        """Area below every stage's curve, over its range."""
        return tuple(area_below(heights, self.rule.curve) for heights in self.curves())

    @cached_property
    def errors(self) -> np.ndarray:
        """Distances from the truth: [T, M, P] image pixels, NaN where not labeled or not predicted."""
        return np.array([errors(stage, self.truth) for stage in self.predictions])

    def groups(self) -> dict[str, list[int]]:
        """Group the parts whose scores tables average: both sides of a pair under one name, the others alone."""
        return {_stem(self.names, i, j): sorted({i, j}) for i, j in enumerate(self.skeleton.mirror) if i <= j}

    def group_means(self, score: Score) -> list[float]:
        """Return a score's `per_part`, averaged over each of `groups`."""
        return [_mean(score.per_part[members]) for members in self.groups().values()]

    def worst(self, count: int) -> list[int]:
        """Return up to `count` of the M samples, the worst of the last stage first.

        Those with the largest share of wrong parts come first; among equals, those with the larger mean error over
        their reference length. Samples without one, or without a labeled part, are left out.
        """
        length = self.reference_length
        counted = np.isfinite(self.truth).all(axis=2) & (np.isfinite(length) & (length > 0))[:, None]  # [M, P]
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = self.errors[-1] / length[:, None]
        right = relative <= (self.rule.threshold or 0.0)
        known = np.flatnonzero(counted.any(axis=1))
        wrong = (counted & ~right).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
        mean = np.array([_mean(row) for row in np.where(counted, relative, np.nan)])
        order = np.lexsort((-np.nan_to_num(mean[known]), -wrong[known]))
        return known[order][:count].tolist()

    def save_curve(self, path: str | Path) -> None:
        """Draw the score over the threshold, one line per stage, as a PNG."""
        with atomic_write(path) as file:
            file.write(self.curve_picture())

    def curve_picture(self) -> bytes:
        """Return the picture of `save_curve`: the bytes of a PNG file."""
        lines = {
            f"stage {stage}, AUC {100 * area:.1f}": heights
            for stage, (heights, area) in enumerate(zip(self.curves(), self.areas, strict=True), 1)
        }
        return score_curves(self.rule, lines, self.dataset)

    def table(self, sides: bool = False) -> str:
        """Format one row per stage in percent: mean, area under the curve, every part; then the samples and the rule.

        Args:
            sides: with a second table, in which left and right are averaged, and the errors in pixels.
        """
        last = self.stages[-1]
        lines = [f"{self.rule.title} of {self.dataset}, percent; error over {self.reference}"]
        columns = [("mean", [score.mean for score in self.stages]), ("AUC", list(self.areas))]
        columns += [(name, [score.per_part[i] for score in self.stages]) for i, name in enumerate(self.names)]
        lines += _blocks(columns)
        if sides:
            lines += self._sides()
        if self.protocol == "predictions" and self.source:
            lines.append(f"of {self.source}")
        pyramid = f"; pyramid {_numbers(self.pyramid)}" if len(self.pyramid) > 1 else ""
        precision = f"; {self.precision}" if self.precision not in ("", "fp32") else ""
        lines.append(PROTOCOLS[self.protocol] + pyramid + precision)
        if self.rule.centric == OBSERVER:
            lines.append(OBSERVED)
        lines.append(f"counted: {last.samples} samples, {int(last.counts.sum())} labeled parts")
        if last.left_out:
            lines.append(f"left out: {last.left_out} of {len(self.samples)} without {self.rule.lacking}")
        if self.unreadable:
            lines.append(f"unreadable: {self.unreadable} of {len(self.samples) + self.unreadable}")
        if self.unscored:
            lines.append(f"not scored, the network has no such part: {', '.join(self.unscored)}")
        return "\n".join(lines)

    def _sides(self) -> list[str]:
        names = list(self.groups())
        lines = []
        if len(names) < len(self.names):
            means = zip(*(self.group_means(score) for score in self.stages), strict=True)
            lines += ["left and right averaged", *_blocks(list(zip(names, means, strict=True)))]
        if self.rule.metric == FLIC_RULE:
            last = dict(zip(names, self.group_means(self.stages[-1]), strict=True))
            lines.append(
                "FLIC: " + ", ".join(f"{part} {100 * last[part]:.2f}" for part in FLIC_REPORTED if part in last)
            )
        distances = " ".join(f"{_mean(stage):.1f} ({_median(stage):.1f})" for stage in self.errors)
        lines.append(f"error in image pixels, mean (median) by stage: {distances}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return scores, curves and counts as plain numbers: fractions, None for NaN; no predictions."""
        return {
            "dataset": self.dataset,
            "source": self.source,
            "protocol": self.protocol,
            "pyramid": list(self.pyramid),
            "precision": self.precision or None,
            "metric": self.rule.title,
            "reference": self.reference,
            "centric": self.rule.centric,
            "names": list(self.names),
            "unscored": list(self.unscored),
            "samples": len(self.samples),
            "unreadable": self.unreadable,
            "curve_thresholds": list(self.rule.curve),
            "stages": [self._stage(stage) for stage in range(len(self.stages))],
        }

    def _stage(self, stage: int) -> dict[str, Any]:
        score, distances = self.stages[stage], self.errors[stage]
        return {
            "threshold": score.threshold,
            "mean": plain_number(score.mean),
            "area_under_curve": plain_number(self.areas[stage]),
            "per_part": [plain_number(value) for value in score.per_part],
            "sides_averaged": {
                name: plain_number(value) for name, value in zip(self.groups(), self.group_means(score), strict=True)
            },
            "counts": score.counts.tolist(),
            "samples": score.samples,
            "left_out": score.left_out,
            "mean_error_px": plain_number(_mean(distances)),
            "median_error_px": plain_number(_median(distances)),
            "mean_error_px_per_part": [plain_number(_mean(distances[:, part])) for part in range(len(self.names))],
            "curve": [plain_number(value) for value in self.curves()[stage]],
            "curve_per_part": [
                [plain_number(at.per_part[part]) for at in self.curve_scores[stage]] for part in range(len(self.names))
            ],
        }


def _stem(names: Sequence[str], part: int, mirror: int) -> str:
    """Return the common name of a pair of parts: elbow for left_elbow and right_elbow, if no other part has it."""
    if part == mirror:
        return names[part]
    stems = {names[i].removeprefix("left_").removeprefix("right_") for i in (part, mirror)}
    return stems.pop() if len(stems) == 1 and not stems & set(names) else f"{names[part]}/{names[mirror]}"


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _blocks(columns: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    """Format columns of percentages under names of one or two lines, in as many blocks as the width needs."""
    rows = [f"stage {stage}" for stage in range(1, len(columns[0][1]) + 1)]
    margin = max(len(row) for row in rows)
    cells = [_column(name, values) for name, values in columns]
    blocks: list[list[list[str]]] = []
    block: list[list[str]] = []
    used = margin
    for cell in cells:
        if block and used + len(cell[0]) > TABLE_WIDTH:
            blocks.append(block)
            block, used = [], margin
        block.append(cell)
        used += len(cell[0])
    blocks.append(block)
    labels = [" " * margin] * 2 + [row.ljust(margin) for row in rows]
    return [
        (label + "".join(cell[line] for cell in block)).rstrip()
        for block in blocks
        for line, label in enumerate(labels)
    ]


def _column(name: str, values: Sequence[float]) -> list[str]:
    """Format two lines of head and one per value, all of one width."""
    first, _, second = name.replace(" ", "_").rpartition("_")
    texts = [first, second, *map(percent, values)]
    width = 1 + max(len("100.0"), *(len(text) for text in texts))
    return [text.rjust(width) for text in texts]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
