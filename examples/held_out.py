"""The errors of a network on held-out samples, beside two baselines that need no network.

    python examples/held_out.py --data mouse/ --hold-out 18 --model runs/mouse/final.safetensors -o runs/mouse/held-out

mean pose: where each part is on average in the training samples, within the region. nearest neighbor: the pose of the
most similar training sample. Errors are distances in image pixels, over labeled parts; PCK@t is the share of errors up
to t times the longer side of the box around the subject's labeled parts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, Sample, hold_out
from cpm_fast.evaluation import predict
from cpm_fast.metrics import box_reference_length, pck
from cpm_fast.model.crops import warp
from cpm_fast.results.drawing import write_picture
from cpm_fast.roi import BOX_MARGIN
from cpm_fast.system.files import atomic_write
from cpm_fast.weights import load

THRESHOLDS = (0.02, 0.05, 0.1)
# Pictures are compared at this size; poses are compared in regions of any size.
ALIKE_PX, REGION_PX = (32, 32), (1000, 1000)
SHOWN, COLUMNS, TILE_PX = 6, 3, 360
TRUTH_COLOR, FOUND_COLOR, GRAY = (80, 220, 80), (60, 90, 255), 128


def mean_pose(training: Sequence[Sample], held_out: Sequence[Sample]) -> np.ndarray:
    """Return the average training pose in the region of each held-out sample: [M, P, 2] image pixels."""
    poses = np.array([sample.region(BOX_MARGIN).to_box(sample.parts_image, REGION_PX) for sample in training])
    known = np.isfinite(poses)
    # A part that no training sample has is placed in the middle.
    sums, counts = np.where(known, poses, 0).sum(axis=0), known.sum(axis=0)
    mean = np.where(counts > 0, sums / np.maximum(1, counts), REGION_PX[0] / 2)
    return np.array([sample.region(BOX_MARGIN).to_image(mean, REGION_PX) for sample in held_out])


def nearest_neighbor(training: Sequence[Sample], held_out: Sequence[Sample]) -> np.ndarray:
    """Return the pose of the training sample with the most similar picture; the mean pose if it lacks a part."""
    pictures = np.array([_small(sample) for sample in training])
    found = mean_pose(training, held_out)
    for place, sample in enumerate(held_out):
        nearest = training[int(np.square(pictures - _small(sample)).sum(axis=(1, 2)).argmin())]
        pose = sample.region(BOX_MARGIN).to_image(
            nearest.region(BOX_MARGIN).to_box(nearest.parts_image, REGION_PX), REGION_PX
        )
        found[place] = np.where(np.isfinite(pose), pose, found[place])
    return found


def _small(sample: Sample) -> np.ndarray:
    crop = warp(sample.image, sample.region(BOX_MARGIN).matrix(ALIKE_PX), ALIKE_PX, GRAY)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float64)


def errors_px(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return distances [M, P] in image pixels, NaN where a part is not labeled."""
    return np.linalg.norm(predicted - truth, axis=2)


def figures(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the figures in the table's columns."""
    errors, length = errors_px(predicted, truth), box_reference_length(truth)
    shares = {f"PCK@{t:g}": 100 * float(pck(predicted, truth, length, t).mean) for t in THRESHOLDS}
    return {"mean px": float(np.nanmean(errors)), "median px": float(np.nanmedian(errors)), **shares}


def compare(model_path: str, training: Dataset, validation: Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return each method's parts of the held-out samples [M, P, 2] by the method's name, and the truth."""
    seen = [training[i] for i in range(len(training))]
    held = [validation[i] for i in range(len(validation))]
    answers = {"mean pose": mean_pose(seen, held), "nearest neighbor": nearest_neighbor(seen, held)}
    for stage, predicted in enumerate(predict(load(model_path), validation).predicted, 1):
        answers[f"network, stage {stage}"] = predicted
    return answers, np.array([np.where(sample.labeled[:, None], sample.parts_image, np.nan) for sample in held])


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Format rows under the names of their figures."""
    names = list(next(iter(rows.values())))
    width = max(map(len, rows))
    lines = [" " * width + "".join(name.rjust(11) for name in names)]
    lines += [row.ljust(width) + "".join(f"{cells[name]:11.1f}" for name in names) for row, cells in rows.items()]
    return "\n".join(lines)


def pictures(samples: Dataset, predicted: np.ndarray) -> np.ndarray:
    """Draw some held-out samples: rings are the truth, dots the predictions; a line joins each pair."""
    tiles = []
    for at in np.unique(np.linspace(0, len(samples) - 1, SHOWN).astype(int)):
        sample = samples[int(at)]
        matrix = sample.region(BOX_MARGIN).matrix((TILE_PX, TILE_PX))
        tile = warp(sample.image, matrix, (TILE_PX, TILE_PX), GRAY)
        truth = sample.region(BOX_MARGIN).to_box(sample.parts_image, (TILE_PX, TILE_PX))
        found = sample.region(BOX_MARGIN).to_box(predicted[at], (TILE_PX, TILE_PX))
        for wanted, got in zip(truth[sample.labeled], found[sample.labeled], strict=True):
            a, b = (tuple(int(value) for value in np.rint(point)) for point in (wanted, got))
            cv2.line(tile, a, b, FOUND_COLOR, 1, cv2.LINE_AA)
            cv2.circle(tile, b, 2, FOUND_COLOR, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(tile, a, 5, TRUTH_COLOR, 1, cv2.LINE_AA)
        tiles.append(tile)
    while len(tiles) % COLUMNS:
        tiles.append(np.full_like(tiles[0], GRAY))
    return np.concatenate([np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)])


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the tables and write held-out.json and held-out.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as for cpm-fast train")
    parser.add_argument("--hold-out", type=int, required=True, metavar="N", help="the last N samples, as in training")
    parser.add_argument("--model", required=True, help="weights that were trained on the others")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/held-out"), help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    dataset = open_dataset(options.data)
    training, validation = hold_out(dataset, options.hold_out)
    answers, truth = compare(options.model, training, validation)
    rows = {name: figures(predicted, truth) for name, predicted in answers.items()}
    last = next(reversed(answers))
    parts = {
        part: {name: float(error) for name, error in zip(("mean pose", "network"), pair, strict=True)}
        for part, *pair in zip(
            dataset.skeleton.names,
            *(np.nanmean(errors_px(answers[name], truth), axis=0) for name in ("mean pose", last)),
            strict=True,
        )
    }
    print(
        f"{len(training)} samples to learn from, {len(validation)} held out, {np.isfinite(truth[..., 0]).sum()} parts"
    )
    print(table(rows), table(parts), sep="\n\n")
    options.output.mkdir(parents=True, exist_ok=True)
    result = {
        "command": ["examples/held_out.py", *(arguments or sys.argv[1:])],
        "training": len(training),
        "held_out": len(validation),
        "answers": rows,
        "mean px of parts": parts,
    }
    with atomic_write(options.output / "held-out.json") as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    write_picture(pictures(validation, answers[last]), options.output / "held-out.png")
    print(f"\nwrote {options.output / 'held-out.json'}, {options.output / 'held-out.png'}")
    return result


if __name__ == "__main__":
    main()
