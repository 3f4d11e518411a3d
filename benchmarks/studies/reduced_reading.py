"""Large JPEGs read at reduced size, against full size: python benchmarks/studies/reduced_reading.py.

Time: one drawn figure in pictures of several sizes, from the bytes of the file to key points, each picture as one
subject; both ways in turns. Effect: for people of a COCO key point file with their true boxes, the movement of key
points and the change of their similarity with the labels. It writes reduced-reading.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import cpm_fast
from benchmarks.harness.record import about, write
from benchmarks.studies.finding import interval, read_people, similarities
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.media.image import decode_image

SIZES = ((480, 640), (1080, 1920), (3000, 4000))
QUALITY, NOISE = 90, 3.0
ROUNDS = 15


def photograph(height: int, width: int) -> bytes:
    """Return a JPEG of a drawn figure with a camera's noise, without which a JPEG of this size decodes too fast."""
    large = cv2.resize(DrawnFigures(1)[0].image, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, NOISE, large.shape)
    stored = np.clip(large + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def times(data: bytes, model: cpm_fast.CPM) -> dict[str, Any]:
    """Return milliseconds of both ways, medians of rounds in turns."""
    ways = {"reduced": lambda: data, "whole": lambda: decode_image(data, "photo")}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):
        for way, given in ways.items():
            begin = time.perf_counter()
            cpm_fast.infer(given(), model=model, find=False)
            seconds[way].append(time.perf_counter() - begin)
    # The first round of each is a warm-up.
    return {f"{way}_ms": 1e3 * float(np.median(each[1:])) for way, each in seconds.items()}


def effect(path: Path, model: cpm_fast.CPM) -> dict[str, Any]:
    """Return how far key points move, in crop pixels, and the similarity with the labels of both ways."""
    people, folder = read_people(path), path.parent / "images"
    moved: list[float] = []
    similar: dict[str, list[float]] = {"reduced": [], "whole": []}
    smaller = 0
    for name, there in people.items():
        if not there:
            continue
        boxes = [person.xyxy for person in there]
        file, array = folder / name, cv2.imread(str(folder / name))
        results = {
            "reduced": cpm_fast.infer(file, model=model, boxes=boxes)[0],
            "whole": cpm_fast.infer(array, model=model, boxes=boxes)[0],
        }
        for way, result in results.items():
            similar[way] += similarities(there, result)
        scale = np.array([roi.magnification(model.config.input_size) for roi in results["whole"].rois])
        smaller += int(scale.max() <= 0.5)
        distance = np.linalg.norm(results["reduced"].keypoints - results["whole"].keypoints, axis=-1)
        moved += (distance * scale[:, None]).ravel().tolist()
    return {
        "pictures": sum(bool(each) for each in people.values()),
        "reduced_pictures": smaller,
        "moved_px": {str(share): float(np.quantile(moved, share)) for share in (0.5, 0.9, 0.99)},
        "similarity": {way: float(np.mean(each)) for way, each in similar.items()},
        "interval": {way: interval(each) for way, each in similar.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a COCO key point file of people; pictures in images/")
    parser.add_argument("--model", default="wide-lsp", help="weights (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/reduced-reading"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    model = cpm_fast.load(options.model)
    record: dict[str, Any] = {"times": {}}
    for height, width in SIZES:
        record["times"][f"{width}x{height}"] = found = times(photograph(height, width), model)
        print(f"{width}x{height}: " + ", ".join(f"{way} {value:.1f}" for way, value in found.items()), flush=True)
    if options.data is not None:
        record["people"] = effect(options.data, model)
        print(json.dumps(record["people"], indent=1))
    head = {**about(__file__, given), "model": options.model, "rounds": ROUNDS}
    write(options.out / "reduced-reading.json", head | record)
    print(f"wrote {options.out / 'reduced-reading.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
