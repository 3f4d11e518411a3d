"""Scores of finding drawn figures: python benchmarks/studies/drawn_scenes.py --finder finder-drawn.

On drawn scenes of one to six figures: the share of the figures that are found at an overlap of 0.5 with the true
region, and the false regions per scene, with 95 % intervals over scenes, and both by the number of figures. It writes
drawn-scenes.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.data.drawn.scenes import MOST_FIGURES, DrawnScenes
from cpm_fast.evaluation.finding.score import MATCHED
from cpm_fast.evaluation.finding.whole_pictures import matched_regions
from cpm_fast.evaluation.interval import bootstrap_interval
from cpm_fast.roi import Roi
from cpm_fast.weights import weights_file


@dataclass(frozen=True)
class Scene:
    """A scene's counts: its figures, those that were found, and regions that are no figure."""

    figures: int
    found: int
    false: int


def scenes_of(dataset: DrawnScenes) -> Iterator[tuple[np.ndarray, list[Roi]]]:
    """Yield each scene's picture [H, W, 3] and the true regions of its figures."""
    samples = (dataset[index] for index in range(len(dataset)))
    for _, each in groupby(samples, key=lambda sample: sample.name):
        first, *others = each
        yield first.image, [sample.region(1.0) for sample in (first, *others)]


def scores(counts: Sequence[Scene]) -> dict[str, Any]:
    """Return recall and false regions per scene with their intervals, and both by the number of figures."""

    def part(chosen: Sequence[Scene]) -> dict[str, Any]:
        figures = np.array([one.figures for one in chosen])
        found, false = (np.array([getattr(one, name) for one in chosen]) for name in ("found", "false"))
        return {
            "scenes": len(chosen),
            "figures": int(figures.sum()),
            "found": int(found.sum()),
            "recall": float(found.sum() / figures.sum()),
            "recall_interval": list(bootstrap_interval(found / figures, figures)),
            "false": int(false.sum()),
            "false_per_scene": float(false.mean()),
            "false_interval": list(bootstrap_interval(false)),
        }

    by_number = {number: [one for one in counts if one.figures == number] for number in range(1, MOST_FIGURES + 1)}
    return part(counts) | {"by_figures": {number: part(each) for number, each in by_number.items() if each}}


def measure(dataset: DrawnScenes, find: Callable[[np.ndarray], list[Roi]]) -> list[Scene]:
    """Return the counts of each scene."""
    counts = []
    for image, true in scenes_of(dataset):
        regions = find(image)
        found = len(matched_regions(regions, true, MATCHED))
        counts.append(Scene(len(true), found, len(regions) - found))
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--finder", required=True, help="name or file of weights")
    parser.add_argument("--model", default="compact-drawn", help="weights of the pose network (%(default)s)")
    parser.add_argument("--scenes", type=int, default=360, help="of each seed (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the scenes (1)")
    parser.add_argument("--min-find-score", type=float, help="least score of a figure (default: the finder's)")
    parser.add_argument("--out", type=Path, default=Path("runs/drawn-scenes"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    finder = cpm_fast.load(options.finder)

    def find(image: np.ndarray) -> list[Roi]:
        # By their names, so that the engines are kept from call to call.
        least = options.min_find_score
        return cpm_fast.find(image, model=options.model, find=options.finder, min_find_score=least)[0]

    by_seed = {seed: measure(DrawnScenes(options.scenes, seed), find) for seed in options.seeds}
    record = {
        **about(__file__, given),
        "finder": options.finder,
        "model": options.model,
        "sha256": {
            name: sha256(weights_file(name).read_bytes()).hexdigest() for name in (options.finder, options.model)
        },
        "seeds": options.seeds,
        "min_find_score": finder.config.find_score if options.min_find_score is None else options.min_find_score,
        **scores([one for counts in by_seed.values() for one in counts]),
        "by_seed": {seed: scores(counts) for seed, counts in by_seed.items()},
    }
    print(
        f"recall {100 * record['recall']:.1f} % of {record['figures']} figures, {record['false_per_scene']:.3f} false "
        f"regions per scene in {record['scenes']} scenes"
    )
    write(options.out / "drawn-scenes.json", record)
    print(f"wrote {options.out / 'drawn-scenes.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
