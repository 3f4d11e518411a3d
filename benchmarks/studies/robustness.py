"""The cost of rough regions: PCK against shifted centers, wrong scales, and regions without the truth.

python benchmarks/studies/robustness.py --data lsp/ --last 200 [--model compact-lsp] [--out runs/robustness]

Regions come from the annotation and are then disturbed: the center by 0 to 30 % of the subject's height, in DIRECTIONS
directions per sample, evenly spread from a random one; the magnification by 0.7 to 1.4. They are compared with a box
around the labeled parts with the network's margin, as a user would draw one, and with the whole picture. A last table
has the gain at test by mirroring, a pyramid and sub-pixel peaks. It writes robustness.json and robustness.png.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, Sample, Subset
from cpm_fast.evaluation import evaluate
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import BOX_MARGIN, Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write, write_json
from cpm_fast.system.versions import versions
from cpm_fast.weights import DEFAULT, load

SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
DIRECTIONS = 3
# Side of a region over the subject's height, `Roi.from_height`.
SIDE_OVER_HEIGHT = Roi.from_height((0.0, 0.0), 1.0).side
SCORED_STAGES = ("first", "last")
PYRAMID = (0.85, 1.0, 1.2)

Disturb = Callable[[int, Sample], Roi]


@dataclass(frozen=True)
class Disturbed:
    """A dataset whose samples have other regions.

    Args:
        dataset: the samples.
        disturb: the region of a sample, by its number.
    """

    dataset: Dataset
    disturb: Disturb

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def skeleton(self) -> Skeleton:
        return self.dataset.skeleton

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, roi=self.disturb(index, sample))


def shifted(fraction: float, turn: int, seed: int) -> Disturb:
    """Return regions with centers off by this share of the subject's height; `turn` counts the directions."""

    def disturb(index: int, sample: Sample) -> Roi:
        angle = 2 * math.pi * (np.random.default_rng((seed, index)).random() + turn / DIRECTIONS)
        away = fraction * sample.region(BOX_MARGIN).side / SIDE_OVER_HEIGHT
        x, y = sample.region(BOX_MARGIN).center
        return Roi((x + away * math.cos(angle), y + away * math.sin(angle)), sample.region(BOX_MARGIN).side)

    return disturb


def scaled(factor: float) -> Disturb:
    """Return regions magnified by this factor too much."""
    return lambda index, sample: sample.region(BOX_MARGIN).zoomed(factor)


def boxed(margin: float) -> Disturb:
    """Return regions from the box around the labeled parts."""

    def disturb(index: int, sample: Sample) -> Roi:
        known = sample.parts_image[sample.labeled]
        return Roi.from_box([*known.min(axis=0), *known.max(axis=0)], margin)

    return disturb


def whole_picture(index: int, sample: Sample) -> Roi:
    return Roi.whole_image(*sample.image.shape[:2])


def pck_of(model: CPM, dataset: Dataset, disturbances: Sequence[Disturb], **how: Any) -> dict[str, float]:
    """Return PCK@0.2 of the first and the last stage, percent, averaged over the disturbances."""
    scores = []
    for disturb in disturbances:
        found = evaluate(model, Disturbed(dataset, disturb), progress=False, **how)
        scores.append([100 * found.stages[0].mean, 100 * found.stages[-1].mean])
    return dict(zip(SCORED_STAGES, np.mean(scores, axis=0).round(2).tolist(), strict=True))


def measured(model: CPM, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Return every table of the page."""

    def score(what: str, disturbances: Sequence[Disturb], **how: Any) -> dict[str, float]:
        score = pck_of(model, dataset, disturbances, **how)
        print(f"{what:<46} first {score['first']:6.2f}   last {score['last']:6.2f}", flush=True)
        return score

    true = scaled(1.0)
    margin = model.config.margin
    return {
        "shift": {
            str(fraction): score(
                f"center off by {100 * fraction:.0f} % of the height",
                [shifted(fraction, turn, seed) for turn in range(DIRECTIONS if fraction else 1)],
            )
            for fraction in SHIFTS
        },
        "scale": {str(factor): score(f"magnified {factor:g} times", [scaled(factor)]) for factor in SCALES},
        "region": {
            "annotation": score("region of the annotation", [true]),
            "box": score(f"box about the parts, margin {margin:g}", [boxed(margin)]),
            "whole picture": score("whole picture", [whole_picture]),
            "whole picture, pyramid": score("whole picture, pyramid", [whole_picture], pyramid=PYRAMID, flip=True),
        },
        "test": {
            "plain": score("one scale", [true]),
            "whole cells": score("one scale, peaks at whole pixels", [true], refine=False),
            "flip": score("mirrored too", [true], flip=True),
            "pyramid": score(f"pyramid {' '.join(map(str, PYRAMID))}", [true], pyramid=PYRAMID),
            "pyramid, flip": score("pyramid, mirrored too", [true], pyramid=PYRAMID, flip=True),
        },
    }


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the curves of shift and scale, one line per dataset."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, group, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("shift", "scale"),
        ("center off by, share of the height", "magnified by"),
        strict=True,
    ):
        for name, tables in results.items():
            for stage, style in zip(SCORED_STAGES, ("--", "-"), strict=True):
                points = [(float(at), score[stage]) for at, score in tables[group].items()]
                axes.plot(*zip(*points, strict=True), style, marker="o", markersize=3, label=f"{name}, {stage} stage")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    axes = figure.axes[0]
    axes.set_ylabel("PCK@0.2, percent")
    axes.set_ylim(bottom=0)
    axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", action="append", required=True, help="as for cpm-fast train; may be repeated")
    parser.add_argument("--last", action="append", type=int, metavar="N", help="only the last N samples, one a --data")
    parser.add_argument("--model", default=DEFAULT, help="weights: a file or a bundled name (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the directions (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/robustness"), help="folder to write (%(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.last is not None and len(chosen.last) != len(chosen.data):
        parser.error(f"--last must be given once for each --data ({len(chosen.data)}), got {len(chosen.last)}")
    model = load(chosen.model)
    started = time.perf_counter()
    results = {}
    for spec, last in zip(chosen.data, chosen.last or [None] * len(chosen.data), strict=True):
        dataset = open_dataset(spec)
        if last is not None:
            if not 0 < last <= len(dataset):
                parser.error(f"--last must be from 1 to {len(dataset)} of {dataset.name}, got {last}")
            dataset = Subset(dataset, range(len(dataset) - last, len(dataset)))
        print(f"{dataset.name}: {len(dataset)} samples, PCK@0.2 in percent")
        results[dataset.name] = {"samples": len(dataset), **measured(model, dataset, chosen.seed)}
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_json(
        chosen.out / "robustness.json",
        {
            "command": "python benchmarks/studies/robustness.py " + " ".join(sys.argv[1:]),
            "model": chosen.model,
            "seconds": round(time.perf_counter() - started, 1),
            "versions": versions(),
            "results": results,
        },
    )
    draw(results, chosen.out / "robustness.png")
    print(f"wrote {chosen.out / 'robustness.json'} and robustness.png, {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
