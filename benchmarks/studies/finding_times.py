"""Times of finding subjects: python benchmarks/studies/finding_times.py --data lsp/ --model base-lsp wide-lsp.

In pictures of 640 x 480 pixels of any dataset: milliseconds for the finder's network alone, for `find`, for `infer`
without a region, and for one run of the pose network on one crop, in turns in one process; and, per picture, the crops
that judge and pose network see in `infer`. Smaller pictures stand on a gray canvas; larger ones are reduced. It writes
finding-times.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, hold_out
from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.finders.finder import SHARE_OF_SCORE, Finder, candidates
from cpm_fast.inference.settings import find_network

SIZE, GRAY = (480, 640), 128
PICTURES = 24


def pictures_of(dataset: Dataset, most: int) -> list[np.ndarray]:
    """Return the first different pictures of a dataset, at most so many, each [480, 640, 3] uint8 BGR."""
    found: dict[str, np.ndarray] = {}
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.name not in found:
            if len(found) == most:
                break
            found[sample.name] = on_canvas(sample.image)
    return list(found.values())


def on_canvas(image: np.ndarray) -> np.ndarray:
    """Return a picture [H, W, 3] in the middle of a gray canvas, reduced if it is larger."""
    share = min(1.0, *(most / own for most, own in zip(SIZE, image.shape, strict=False)))
    height, width = (max(1, round(share * own)) for own in image.shape[:2])
    small = image if share == 1 else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.full((*SIZE, 3), GRAY, np.uint8)
    top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
    canvas[top : top + height, left : left + width] = small
    return canvas


def times(pictures: Sequence[np.ndarray], ways: dict[str, Callable[[np.ndarray], Any]], rounds: int) -> dict[str, Any]:
    """Return the median milliseconds of each way over pictures and rounds, and its multiple of the last way's.

    The ways take turns; the first round is not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for picture in pictures:
            for name, way in ways.items():
                begin = time.perf_counter()
                way(picture)
                if number:
                    taken[name].append(1e3 * (time.perf_counter() - begin))
    medians = {name: float(np.median(each)) for name, each in taken.items()}
    last = medians[list(ways)[-1]]
    return {
        name: {
            "ms": value,
            "quarters": [float(each) for each in np.quantile(taken[name], (0.25, 0.75))],
            "multiple": value / last,
        }
        for name, value in medians.items()
    }


@contextmanager
def counted() -> Iterator[Counter[int]]:
    """Count the crops that each network sees meanwhile, by the `id` of the network."""
    crops: Counter[int] = Counter()
    plain = Engine.__call__

    def counting(engine: Engine, images: torch.Tensor, *given: Any, **named: Any) -> list[torch.Tensor]:
        crops[id(engine.model)] += len(images)
        return plain(engine, images, *given, **named)

    Engine.__call__ = counting  # type: ignore[method-assign, assignment]
    try:
        yield crops
    finally:
        Engine.__call__ = plain  # type: ignore[method-assign]


def measure(model: str, pictures: Sequence[np.ndarray], rounds: int, precision: str) -> dict[str, Any]:
    """Return the times with a pose network and its finder, and the crops per picture."""
    network = find_network(model, "cpu")
    finder = Asked().of(network, precision)
    if not isinstance(finder, Finder):
        raise ValueError(f"{model}: must name a finder of regions")
    engine, least = Engine(network, precision=precision, frozen=True), SHARE_OF_SCORE * finder.search.min_find_score
    crop = torch.zeros(1, 3, *network.config.input_size)
    given: dict[str, Any] = {"model": model, "precision": precision, "device": "cpu", "progress": False}
    ways = {
        "finder": lambda picture: candidates(finder.engine, picture, least),
        "find": lambda picture: cpm_fast.find(picture, **given),
        "infer": lambda picture: cpm_fast.infer(picture, **given),
        "one run": lambda _: engine(crop, last=True),
    }
    found = times(pictures, ways, rounds)
    with counted() as crops:
        subjects = sum(len(cpm_fast.infer(picture, **given)[0]) for picture in pictures)
    judge = 0 if finder.judge is None else crops[id(finder.judge.model)]
    numbers = {"judge": judge, "pose network": crops[id(network)], "subjects": subjects}
    return {"times": found, "per_picture": {name: value / len(pictures) for name, value in numbers.items()}}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="dataset, as for cpm-fast eval")
    parser.add_argument("--last", type=int, help="of its samples, only the last so many (default: all)")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="most pictures (%(default)s)")
    parser.add_argument("--model", nargs="+", default=["base-lsp"], help="weights of pose networks (base-lsp)")
    parser.add_argument("--precision", default="auto", help="fp32 or bf16 (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of the times (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/finding-times"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    dataset = open_dataset(options.data)
    if options.last is not None and options.last < len(dataset):
        dataset = hold_out(dataset, options.last)[1]
    pictures = pictures_of(dataset, options.pictures)
    record: dict[str, Any] = {
        **about(__file__, given),
        "threads": torch.get_num_threads(),
        "data": dataset.name,
        "picture": list(SIZE),
        "pictures": len(pictures),
        "precision": options.precision,
        "models": {},
    }
    for model in options.model:
        found = record["models"][model] = measure(model, pictures, options.rounds, options.precision)
        rows = [f"{name} {each['ms']:.1f} ms" for name, each in found["times"].items()]
        rows += [f"{name} {value:.2f} per picture" for name, value in found["per_picture"].items()]
        print(f"{model}: " + ", ".join(rows), flush=True)
    write(options.out / "finding-times.json", record)
    print(f"wrote {options.out / 'finding-times.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
