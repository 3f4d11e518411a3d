"""Scores of finding subjects in whole pictures: python benchmarks/studies/finding.py --data person_keypoints.json.

On people of a COCO key point file, up to four ways: each picture as one subject, the finder of the weights if they have
one, a search, and the true boxes. For each way the mean object key point similarity of the people with at least six
labeled joints of the body (a person who was not found counts 0), and for finder and search the recall and the false
regions at an overlap of 0.5. It writes finding.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.inference.finders.search import overlap
from cpm_fast.roi import Roi
from cpm_fast.skeleton import COCO

# Sigmas of COCO's 17 parts, as a share of the root of the person's area (cocodataset.org, keypoints-eval).
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
FIRST_OF_BODY = 5
LEAST_JOINTS, LEAST_HEIGHT_PX, LEAST_OVERLAP = 6, 60.0, 0.5
RESAMPLES = 2000
# The ways that look for subjects: in all pictures, also in those without people who count.
LOOKING = ("finder", "search")


@dataclass(frozen=True, eq=False)
class Person:
    """An annotated person: box (left, top, width, height), parts [17, 2], labeled [17], area in square pixels."""

    box: np.ndarray
    parts: np.ndarray
    labeled: np.ndarray
    area: float

    def similarity(self, parts: np.ndarray) -> float:
        """Return the mean similarity of the body's labeled joints, with the formula's sigmas doubled as COCO does."""
        squared = ((parts - self.parts) ** 2).sum(1)
        each = np.exp(-squared / (2 * self.area * (2 * SIGMAS) ** 2))
        return float(each[self.body].mean())

    @property
    def body(self) -> np.ndarray:
        return self.labeled & (np.arange(len(SIGMAS)) >= FIRST_OF_BODY)

    @property
    def xyxy(self) -> list[float]:
        left, top, width, height = self.box.tolist()
        return [left, top, left + width, top + height]


def read_people(path: Path) -> dict[str, list[Person]]:
    """Return people without crowds, by file name of the picture; pictures without people too."""
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people: dict[str, list[Person]] = {name: [] for name in names.values()}
    for each in content["annotations"]:
        if not each["iscrowd"]:
            points = np.array(each["keypoints"], float).reshape(-1, 3)
            one = Person(np.array(each["bbox"], float), points[:, :2], points[:, 2] > 0, float(each["area"]))
            people[names[each["image_id"]]].append(one)
    return people


def in_coco_order(result: cpm_fast.Result) -> np.ndarray:
    """Return key points [N, 17, 2], far away where the network has no such part."""
    found = np.full((len(result), len(COCO), 2), 1e9)
    for place, name in enumerate(COCO.names):
        if name in result.skeleton.names:
            found[:, place] = result.keypoints[:, result.skeleton.index(name)]
    return found


def matched(values: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs (row, column) of a matrix, the largest value first, each row and column once, all above 0."""
    left, pairs = values.copy(), []
    while left.size and left.max() > 0:
        row, column = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
        pairs.append((row, column))
        left[row, :] = left[:, column] = 0
    return pairs


def similarities(people: Sequence[Person], result: cpm_fast.Result) -> list[float]:
    """Return one number per person who counts: the similarity of the subject that is matched with them, or 0."""
    counted = [person for person in people if person.body.sum() >= LEAST_JOINTS]
    parts = in_coco_order(result)
    each = [[person.similarity(one) for one in parts] for person in counted]
    values = np.array(each).reshape(len(counted), len(parts))
    best = [0.0] * len(counted)
    for row, column in matched(values):
        best[row] = float(values[row, column])
    return best


def regions_found(people: Sequence[Person], rois: Sequence[Roi], margin: float) -> tuple[int, int, int]:
    """Return the numbers of tall people, of those found, and of regions without a person."""
    true = [Roi.from_box(person.xyxy, margin) for person in people]
    values = np.array([[overlap(one, roi) for roi in rois] for one in true]).reshape(len(true), len(rois))
    pairs = [(row, column) for row, column in matched(values) if values[row, column] >= LEAST_OVERLAP]
    tall = {row for row, person in enumerate(people) if person.box[3] > LEAST_HEIGHT_PX}
    return len(tall), sum(row in tall for row, _ in pairs), len(rois) - len(pairs)


def interval(values: Sequence[float]) -> list[float]:
    """Return the middle 95 % of means of resampled values."""
    rng = np.random.default_rng(0)
    means = rng.choice(np.array(values), (RESAMPLES, len(values))).mean(1)
    return [float(edge) for edge in np.quantile(means, (0.025, 0.975))]


def measure(people: dict[str, list[Person]], folder: Path, model: str | None) -> dict[str, Any]:
    """Return the four ways' numbers."""
    network = cpm_fast.load("wide-lsp" if model is None else model)
    counting = [name for name, each in people.items() if any(one.body.sum() >= LEAST_JOINTS for one in each)]
    ways: dict[str, dict[str, Any]] = {
        "whole picture": {"find": False},
        **({"finder": {"find": "auto"}} if network.config.finder else {}),
        "search": {"find": "search"},
        "true boxes": {},
    }
    record: dict[str, Any] = {}
    for way, options in ways.items():
        values: list[float] = []
        tall = found = false = 0
        begin = time.perf_counter()
        for name in people if way in LOOKING else counting:
            given = {"boxes": [person.xyxy for person in people[name]]} if way == "true boxes" else options
            result = cpm_fast.infer(folder / name, model=network, **given)[0]
            values += similarities(people[name], result)
            counts = regions_found(people[name], result.rois, network.config.margin)
            tall, found, false = (sum(pair) for pair in zip((tall, found, false), counts, strict=True))
        pictures = len(people if way in LOOKING else counting)
        record[way] = {
            "people": len(values),
            "similarity": float(np.mean(values)),
            "interval": interval(values),
            "seconds_per_picture": (time.perf_counter() - begin) / pictures,
            "pictures": pictures,
        }
        if way in LOOKING:
            record[way] |= {"tall_people": tall, "recall": found / max(tall, 1), "false_per_picture": false / pictures}
        print(f"{way}: " + ", ".join(f"{key} {value}" for key, value in record[way].items()), flush=True)
    return record


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a COCO key point file of people; pictures in images/")
    parser.add_argument("--model", help="weights (default: bundled)")
    parser.add_argument("--out", type=Path, default=Path("runs/finding"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    record = measure(read_people(options.data), options.data.parent / "images", options.model)
    write(options.out / "finding.json", about(__file__, given) | {"ways": record})
    print(f"wrote {options.out / 'finding.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
