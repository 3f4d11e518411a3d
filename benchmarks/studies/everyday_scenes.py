"""Scores of finding people in composed everyday scenes: python benchmarks/studies/everyday_scenes.py --data lsp lspet.

The scenes show held-out people as everyday pictures do: close views that cut off legs or more, groups, people behind
something, several at different sizes. The study counts the people who are found at an overlap of 0.5 and the false
regions per scene, by the finder alone and after its regions were judged by poses, at several least scores. It writes
everyday-scenes.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.mosaic import mosaic
from cpm_fast.data.scenes.pasting import pasted
from cpm_fast.data.scenes.scene import Scene
from cpm_fast.evaluation.finding.finder import LOWEST, matched
from cpm_fast.inference.finders.finder import Candidate, candidates, chosen
from cpm_fast.recipes import RECIPES

# Heights and widths of the scenes, which take turns, and the seed, which is no epoch's.
SIZES, SEED = ((360, 480), (480, 360), (180, 240)), 5_077
LEAST_BELIEFS, LEAST_SCORES = (0.2, 0.3, 0.4, 0.5), (0.2, 0.25, 0.3, 0.35, 0.4)
# Scenes that show one picture, or several side by side; the rest are of pasted people.
PICTURES_SHARE = 0.6


def scenes_of(dataset: Dataset, held_out: int, count: int) -> Iterator[Scene]:
    """Yield so many scenes of the last samples of a dataset, the same at every call."""
    network, augmentation = cpm_fast.CPM.preset("finder").config, RECIPES["find"].augmentation
    for number in range(count):
        random = np.random.default_rng((SEED, number))

        def another(random: np.random.Generator = random) -> Sample:
            return dataset[len(dataset) - 1 - int(random.integers(held_out))]

        size = SIZES[number % len(SIZES)]
        material = Material(another, dataset.skeleton, network, augmentation, shown=size)
        make = mosaic if random.random() < PICTURES_SHARE else pasted
        yield make(another(), material, random)


def counts(found: Sequence[tuple[Scene, Sequence[Candidate]]]) -> dict[str, float]:
    """Return the recall at an overlap of 0.5, and the false regions per scene."""
    matches = [one for scene, regions in found for one in matched(scene, regions)]
    people = sum(len(scene.rois) for scene, _ in found)
    false = sum(one.counts and not one.right for one in matches)
    return {
        "people": people,
        "recall": sum(one.right for one in matches) / max(1, people),
        "false_per_scene": false / max(1, len(found)),
    }


def measure(scenes: Sequence[Scene], finder: cpm_fast.CPM, model: cpm_fast.CPM) -> dict[str, Any]:
    """Return the counts of the finder alone at each belief, and of its judged regions at each score."""
    engine = cpm_fast.Engine(finder.eval())
    alone = [(scene, chosen(candidates(engine, scene.image, LOWEST), None)) for scene in scenes]
    record: dict[str, Any] = {"alone": {}, "judged": {}}
    for least in LEAST_BELIEFS:
        kept = [(scene, [one for one in found if one.score > least]) for scene, found in alone]
        record["alone"][least] = counts(kept)
    for least in LEAST_SCORES:
        images = [scene.image for scene in scenes]
        regions = cpm_fast.find(images, model=model, find=finder, min_find_score=least, progress=False)
        # Best first, as their order says.
        found = [
            (scene, [Candidate(roi, -float(place)) for place, roi in enumerate(rois)])
            for scene, rois in zip(scenes, regions, strict=True)
        ]
        record["judged"][least] = counts(found)
    return record


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="datasets, as for cpm-fast train")
    parser.add_argument("--hold-out", type=int, nargs="+", required=True, help="last samples of each to use")
    parser.add_argument("--finder", default="finder-lsp", help="name or file of weights (%(default)s)")
    parser.add_argument("--model", default="wide-lsp", help="weights of the pose network (%(default)s)")
    parser.add_argument("--scenes", type=int, default=150, help="of each dataset (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/everyday-scenes"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    finder, model = cpm_fast.load(options.finder), cpm_fast.load(options.model)
    ways: dict[str, Any] = {}
    for spec, held_out in zip(options.data, options.hold_out, strict=True):
        dataset = open_dataset(spec)
        ways[dataset.name] = measure(list(scenes_of(dataset, held_out, options.scenes)), finder, model)
        for way, rows in ways[dataset.name].items():
            for least, row in rows.items():
                print(
                    f"{dataset.name} {way}, above {least}: recall {100 * row['recall']:.1f} % of {row['people']}, "
                    f"{row['false_per_scene']:.2f} false per scene"
                )
    record = {
        **about(__file__, given),
        "finder": options.finder,
        "model": options.model,
        "scenes": ways,
    }
    write(options.out / "everyday-scenes.json", record)
    print(f"wrote {options.out / 'everyday-scenes.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
