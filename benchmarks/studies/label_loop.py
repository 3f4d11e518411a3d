"""The gain of labeling the frames that `suggest` names: the mouse, from 20 labels, two rounds, against random frames.

The mouse has 90 labeled frames: 18 are held out for the error, and 20 of the others, drawn by the seed, are labeled
first. Each round trains a network from the same start for the same minutes, lets the criteria (or chance)
choose frames, and takes their true labels as a person's corrections. A study that was stopped resumes: rounds that
ended stay.

python benchmarks/studies/label_loop.py --data DATA/mirror-mouse --minutes 5 -o benchmarks/results/label-loop.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.cli import FINE
from cpm_fast.cli import main as cpm_fast
from cpm_fast.data.open import open_dataset
from cpm_fast.data.own_skeleton import SKELETON_FILE
from cpm_fast.data.sample import Dataset
from cpm_fast.inference import infer
from cpm_fast.labeling.frames import small
from cpm_fast.labeling.naming import write_skeleton
from cpm_fast.labeling.ranking import look, novelty, rank
from cpm_fast.labeling.table import LABELED, LabeledSubject, LabelTable
from cpm_fast.media.image import read_image
from cpm_fast.system.files import atomic_write
from cpm_fast.weights import load

HELD_OUT, FIRST, STEP, ROUNDS = 18, 20, 20, 2
WAYS = ("suggest", "random")
TRAINING = ("--init", "compact-lsp", "--mirror", "0", "--scale", "0.9", "1.1", "--rotate", "10", "--hold-out", "0")
# An epoch of this many frames is measured first, to find how many fit the minutes.
PROBE_EPOCHS = 2


def write_folder(dataset: Dataset, indices: list[int], folder: Path) -> list[str]:
    """Write pictures of the samples as PNG and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_skeleton(dataset.skeleton, folder / SKELETON_FILE)
    names = [f"frame-{index:03d}.png" for index in indices]
    for index, name in zip(indices, names, strict=True):
        if not (folder / name).exists():
            cv2.imwrite(str(folder / name), dataset[index].image)
    return names


def write_labels(dataset: Dataset, indices: list[int], folder: Path) -> None:
    """Write labels.csv of these samples; the whole picture is the box."""
    table = LabelTable(folder / "labels.csv", dataset.skeleton)
    for index in indices:
        sample = dataset[index]
        points = tuple(
            (float(x), float(y), 2) if there else None
            for (x, y), there in zip(sample.parts_image, sample.labeled, strict=True)
        )
        height, width = sample.image.shape[:2]
        subject = LabeledSubject(points, (0.0, 0.0, width - 1.0, height - 1.0))
        table.replace(f"frame-{index:03d}.png", [subject], LABELED)
    table.write()


def train(labels: Path, run: Path, epochs: float, seed: int, more: list[str]) -> float:
    """Train into a folder and return the seconds."""
    started = time.perf_counter()
    words = ["train", "--data", str(labels), "--epochs", str(epochs), "--seed", str(seed), "--workers", "0",
             "--validate-every", "1000000", *TRAINING, *more, "-o", str(run)]  # fmt: skip
    if cpm_fast(words) != FINE:
        raise RuntimeError(f"training failed: {words}")
    return time.perf_counter() - started


def train_for(labels: Path, run: Path, minutes: float, seed: int, more: list[str]) -> float:
    """Train for about this many minutes and return the epochs."""
    with tempfile.TemporaryDirectory() as probe:
        one = train(labels, Path(probe) / "one", 1, seed, more)
        several = train(labels, Path(probe) / "several", 1 + PROBE_EPOCHS, seed, more)
    epoch = max((several - one) / PROBE_EPOCHS, 1e-3)
    epochs = max(1, round((60 * minutes - (one - epoch)) / epoch))
    train(labels, run, epochs, seed, more)
    return epochs


def error(dataset: Dataset, indices: list[int], weights: Path) -> dict[str, float]:
    """Return the distance of found from true parts over samples: mean and median, pixels."""
    samples = [dataset[index] for index in indices]
    results = infer(
        [sample.image for sample in samples], model=weights, rois=[sample.roi for sample in samples], progress=False
    )
    distances = np.concatenate(
        [
            np.linalg.norm(result.keypoints[0] - sample.parts_image, axis=1)[sample.labeled]
            for result, sample in zip(results, samples, strict=True)
        ]
    )
    return {"mean_px": float(distances.mean()), "median_px": float(np.median(distances)), "points": len(distances)}


def choose(way: str, dataset: Dataset, labeled: list[int], pool: list[int], folder: Path, weights: Path,
           random: np.random.Generator) -> list[int]:  # fmt: skip
    """Return the next samples to label."""
    left = [index for index in pool if index not in labeled]
    if way == "random":
        return sorted(random.choice(left, STEP, replace=False).tolist())
    names = {f"frame-{index:03d}.png": index for index in left}
    candidates = look(folder, list(names), load(weights), bool(dataset.skeleton.pairs), False)
    novelty(candidates, np.array([small(read_image(folder / f"frame-{index:03d}.png")) for index in labeled]))
    return sorted(names[candidate.image] for candidate in rank(candidates, STEP))


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Run every seed and way, without rounds that the file already has."""
    dataset = open_dataset(options.data)
    count = len(dataset)
    held_out, pool = list(range(count - HELD_OUT, count)), list(range(count - HELD_OUT))
    done: dict[str, Any] = {"minutes": options.minutes, "samples": count, "held_out": HELD_OUT, "rounds": {}}
    if options.output.is_file():
        before = json.loads(options.output.read_text())
        if any(before[key] != done[key] for key in ("minutes", "samples", "held_out")):
            raise ValueError(f"{options.output}: is of other settings; give another -o")
        done = before
    for seed in range(options.seeds):
        first = sorted(np.random.default_rng(seed).choice(pool, FIRST, replace=False).tolist())
        for way in WAYS:
            labeled, random = list(first), np.random.default_rng([seed, 1])
            for number in range(ROUNDS + 1):
                # Both ways are the same before the first choice.
                key = f"{seed} {way if number else 'first'} {number}"
                folder = options.work / f"seed-{seed}"
                write_folder(dataset, pool, folder)
                run = options.work / f"run-{key.replace(' ', '-')}"
                if key not in done["rounds"]:
                    write_labels(dataset, labeled, place := folder)
                    epochs = train_for(place / "labels.csv", run, options.minutes, seed, options.more)
                    found = error(dataset, held_out, run / "final.safetensors")
                    done["rounds"][key] = {"labels": len(labeled), "frames": labeled, "epochs": epochs, **found}
                    with atomic_write(options.output) as file:
                        file.write(json.dumps(done, indent=1).encode())
                    print(f"{key}: {len(labeled)} labels, {found['mean_px']:.2f} px", flush=True)
                if number < ROUNDS:
                    following = done["rounds"].get(f"{seed} {way} {number + 1}")
                    chosen = following["frames"] if following else None
                    weights = run / "final.safetensors"
                    labeled = chosen or sorted(
                        [*labeled, *choose(way, dataset, labeled, pool, folder, weights, random)]
                    )
    return done


def table(done: dict[str, Any], seeds: int) -> str:
    """Return the mean error at equal numbers of labels."""
    lines = ["labels   suggest: mean px (per seed)        random: mean px (per seed)"]
    for number in range(ROUNDS + 1):
        cells = []
        for way in WAYS:
            keys = [f"{seed} {way if number else 'first'} {number}" for seed in range(seeds)]
            values = [done["rounds"][key]["mean_px"] for key in keys]
            cells.append(f"{np.mean(values):6.2f} ({', '.join(f'{value:.2f}' for value in values)})".ljust(34))
        lines.append(f"{FIRST + STEP * number:6d}   {'  '.join(cells)}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the mouse's folder with CollectedData.csv")
    parser.add_argument("--minutes", type=float, default=5.0, help="per training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs/label-loop"), help="folder for runs (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file, which a second call resumes")
    parser.add_argument("more", nargs="*", help="further options of cpm-fast train, behind --")
    options = parser.parse_args(arguments)
    print(table(study(options), options.seeds))


if __name__ == "__main__":
    main(sys.argv[1:])
