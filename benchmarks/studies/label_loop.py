"""Whether the frames that `suggest` names teach more than random ones: the mouse, from 20 labels, two rounds of 20.

The mouse has 90 labeled frames: 18 are held out for the error, and 20 of the others, drawn by the seed, are labeled
first. Each round lets the criteria (or chance) choose frames, takes their true labels as a person's corrections, and
trains a network from the same start for the same epochs: as many as fit the minutes, measured once for each number of
labels.

    python benchmarks/studies/label_loop.py --data DATA/mirror-mouse -o benchmarks/results/label-loop.json

Three seeds are 15 trainings of five minutes. They can be done in pieces: --trainings 2 ends after two, and the same
command does the next. A training that was killed begins anew. --quick shows in a minute that all of it runs; its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.harness.record import commit  # noqa: E402
from cpm_fast.cli import FINE  # noqa: E402
from cpm_fast.cli import main as cpm_fast  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.own_skeleton import SKELETON_FILE  # noqa: E402
from cpm_fast.data.sample import Dataset  # noqa: E402
from cpm_fast.inference import infer  # noqa: E402
from cpm_fast.labeling.frames import small_gray  # noqa: E402
from cpm_fast.labeling.naming import write_skeleton  # noqa: E402
from cpm_fast.labeling.ranking import examine, novelty, rank  # noqa: E402
from cpm_fast.labeling.table import LABELED, LabeledSubject, LabelTable  # noqa: E402
from cpm_fast.media.image import read_image  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402
from cpm_fast.weights import load  # noqa: E402

WAYS = ("suggest", "random")
# Not --hold-out: the study holds out its own frames. The mouse's views are not mirrored.
TRAINING = "--init compact-lsp --mirror 0 --scale 0.9 1.1 --rotate 10 --hold-out 0 --validate-every 1000000 --workers 0"
# These epochs are timed first, to find how many fit the minutes: 10 to 30 seconds of them.
PROBE_EPOCHS = 16
WEIGHTS = "final.safetensors"


@dataclass(frozen=True)
class Setting:
    """The sizes of a study.

    Args:
        held_out: samples for the error, the last of the data.
        first: labels at the start.
        step: labels that each round adds.
        rounds: how many.
        minutes: of a training; 0: one epoch.
    """

    held_out: int = 18
    first: int = 20
    step: int = 20
    rounds: int = 2
    minutes: float = 5.0


QUICK = Setting(held_out=2, first=3, step=2, rounds=1, minutes=0)


@dataclass(frozen=True)
class Round:
    """One training. Round 0 is that of the first labels, and the same for both ways."""

    seed: int
    way: str
    number: int

    @property
    def key(self) -> str:
        return f"{self.seed} {self.way if self.number else 'first'} {self.number}"

    @property
    def before(self) -> Round:
        return Round(self.seed, self.way, self.number - 1)


def all_rounds(seeds: int, setting: Setting) -> Iterator[Round]:
    """Yield every training, each behind the one that it begins from."""
    for seed in range(seeds):
        yield Round(seed, WAYS[0], 0)
        for way in WAYS:
            yield from (Round(seed, way, number) for number in range(1, setting.rounds + 1))


def picture_name(index: int) -> str:
    return f"frame-{index:03d}.png"


def write_pictures(dataset: Dataset, indices: Sequence[int], folder: Path) -> None:
    """Write the samples' pictures and their skeleton."""
    folder.mkdir(parents=True, exist_ok=True)
    write_skeleton(dataset.skeleton, folder / SKELETON_FILE)
    for index in indices:
        if not (folder / picture_name(index)).exists():
            cv2.imwrite(str(folder / picture_name(index)), dataset[index].image)


def write_labels(dataset: Dataset, indices: Sequence[int], path: Path) -> None:
    """Write a table of these samples only; the box is the whole picture, as where infer is given none."""
    path.unlink(missing_ok=True)
    table = LabelTable(path, dataset.skeleton)
    for index in indices:
        sample = dataset[index]
        points = tuple(
            (float(x), float(y), 2) if there else None
            for (x, y), there in zip(sample.parts_image, sample.labeled, strict=True)
        )
        height, width = sample.image.shape[:2]
        subject = LabeledSubject(points, (0.0, 0.0, width - 1.0, height - 1.0))
        table.replace(picture_name(index), [subject], LABELED)
    table.write()


def train(labels: Path, run: Path, epochs: int, seed: int, more: Sequence[str]) -> float:
    """Train into a folder, which is emptied before; seconds."""
    shutil.rmtree(run, ignore_errors=True)
    started = time.perf_counter()
    words = ["train", "--data", str(labels), "--epochs", str(epochs), "--seed", str(seed), *TRAINING.split(), *more]
    words += ["-o", str(run)]
    if cpm_fast(words) != FINE:
        raise RuntimeError(f"training failed: {words}")
    return time.perf_counter() - started


def fitting_epochs(labels: Path, minutes: float, seed: int, more: Sequence[str]) -> int:
    """Measure how many epochs a training of so many minutes has.

    Raises:
        RuntimeError: the times are no measure: other work took more of them than the epochs.
    """
    if not minutes:
        return 1
    with tempfile.TemporaryDirectory() as probe:
        train(labels, Path(probe) / "first", 1, seed, more)  # the first of a process takes seconds longer
        one = train(labels, Path(probe) / "one", 1, seed, more)
        several = train(labels, Path(probe) / "several", 1 + PROBE_EPOCHS, seed, more)
    epoch = (several - one) / PROBE_EPOCHS
    if epoch <= 0:
        raise RuntimeError(f"{1 + PROBE_EPOCHS} epochs took {several:.1f} s and one {one:.1f} s: stop other work")
    return max(1, round((60 * minutes - (one - epoch)) / epoch))


def error(dataset: Dataset, indices: Sequence[int], weights: Path) -> dict[str, float]:
    """Return the distance of found from true parts over samples: mean and median, pixels."""
    samples = [dataset[index] for index in indices]
    model = load(weights, device="cpu")
    rois = [sample.region(model.config.margin) for sample in samples]
    results = infer([sample.image for sample in samples], model=model, rois=rois, progress=False)
    distances = np.concatenate(
        [
            np.linalg.norm(result.keypoints[0] - sample.parts_image, axis=1)[sample.labeled]
            for result, sample in zip(results, samples, strict=True)
        ]
    )
    return {"mean_px": float(distances.mean()), "median_px": float(np.median(distances)), "points": len(distances)}


def choose(
    way: str,
    dataset: Dataset,
    labeled: Sequence[int],
    pool: Sequence[int],
    step: int,
    pictures: Path,
    weights: Path,
    seed: Sequence[int],
) -> list[int]:
    """Return the samples to label next, of those in the pool without labels."""
    left = [index for index in pool if index not in labeled]
    if way == "random":
        return sorted(np.random.default_rng(seed).choice(left, step, replace=False).tolist())
    names = {picture_name(index): index for index in left}
    candidates = examine(pictures, list(names), load(weights), bool(dataset.skeleton.pairs), False)
    novelty(candidates, np.array([small_gray(read_image(pictures / picture_name(index))) for index in labeled]))
    return sorted(names[candidate.image] for candidate in rank(candidates, step))


def opened(output: Path, setting: Setting, samples: int) -> dict[str, Any]:
    """Return the study in a file, or a new one.

    Raises:
        ValueError: the file holds a study of other sizes.
    """
    new = {"setting": asdict(setting), "samples": samples, "epochs": {}, "rounds": {}}
    if not output.is_file():
        return new
    old = json.loads(output.read_text())
    for key in ("setting", "samples"):
        if old.get(key) != new[key]:
            raise ValueError(f"{output}: {key} must be {new[key]}, got {old.get(key)}; give another -o")
    return old


def study(
    data: str,
    setting: Setting,
    seeds: int,
    work: Path,
    output: Path,
    more: Sequence[str] = (),
    trainings: int | None = None,
) -> dict[str, Any]:
    """Do the trainings that the file has not, at most so many, and write the file after each.

    Raises:
        ValueError: the file holds a study of other sizes, or there are too few samples.
        FileNotFoundError: the weights of a training that the file has are not in the work folder.
    """
    dataset = open_dataset(data)
    count, needed = len(dataset), setting.first + setting.rounds * setting.step + setting.held_out
    if count < needed:
        raise ValueError(f"data must have {needed} samples, got {count}")
    held_out, pool = range(count - setting.held_out, count), range(count - setting.held_out)
    done = opened(output, setting, count)
    done |= {
        "command": " ".join(["python benchmarks/studies/label_loop.py", *sys.argv[1:]]),
        "commit": commit(),
        "versions": versions(),
        "cores": os.cpu_count(),
    }
    pictures = work / "frames"
    made = 0
    for turn in all_rounds(seeds, setting):
        if turn.key in done["rounds"] or made == trainings:
            continue
        write_pictures(dataset, pool, pictures)
        if turn.number:
            before = done["rounds"][turn.before.key]["frames"]
            weights = run_folder(work, turn.before) / WEIGHTS
            if not weights.is_file():
                raise FileNotFoundError(f"{weights}: {output} has this training; give its --work, or another -o")
            seed = (turn.seed, turn.number)
            chosen = choose(turn.way, dataset, before, pool, setting.step, pictures, weights, seed)
            labeled = sorted([*before, *chosen])
        else:
            labeled = sorted(np.random.default_rng(turn.seed).choice(pool, setting.first, replace=False).tolist())
        labels = pictures / "labels.csv"
        write_labels(dataset, labeled, labels)
        # Both ways and all seeds train for the same epochs, also if the machine was busier for one of them.
        number = str(len(labeled))
        if number not in done["epochs"]:
            done["epochs"][number] = fitting_epochs(labels, setting.minutes, turn.seed, more)
        run = run_folder(work, turn)
        seconds = train(labels, run, done["epochs"][number], turn.seed, more)
        found = error(dataset, held_out, run / WEIGHTS)
        done["rounds"][turn.key] = {
            "labels": len(labeled),
            "frames": labeled,
            "epochs": done["epochs"][number],
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **found,
        }
        write_json(output, done)
        made += 1
        print(f"{turn.key}: {len(labeled)} labels, {found['mean_px']:.2f} px", flush=True)
    return done


def run_folder(work: Path, turn: Round) -> Path:
    return work / f"run-{turn.key.replace(' ', '-')}"


def table(done: dict[str, Any], setting: Setting, seeds: int) -> str:
    """Return the mean error at equal labels, over the seeds that have it, and what is left to do."""
    lines = [f"{'labels':<9}" + "".join(f"{way + ': mean px (per seed)':<38}" for way in WAYS)]
    for number in range(setting.rounds + 1):
        cells = []
        for way in WAYS:
            found = [done["rounds"].get(Round(seed, way, number).key) for seed in range(seeds)]
            values = [one["mean_px"] for one in found if one]
            each = ", ".join(f"{one['mean_px']:.2f}" if one else "-" for one in found)
            cells.append(f"{np.mean(values):6.2f} ({each})" if values else f"     - ({each})")
        lines.append(f"{setting.first + setting.step * number:<9}" + "".join(f"{cell:<38}" for cell in cells))
    left = [turn.key for turn in all_rounds(seeds, setting) if turn.key not in done["rounds"]]
    if left:
        lines.append(f"left: {len(left)} trainings of {setting.minutes:g} minutes; the same command does them")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the mouse's folder with CollectedData.csv")
    parser.add_argument("--minutes", type=float, default=Setting.minutes, help="per training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("--trainings", type=int, help="end after so many, to do the rest by another call")
    parser.add_argument("--quick", action="store_true", help="one seed, few frames, an epoch per training")
    parser.add_argument("--work", type=Path, default=Path("runs/label-loop"), help="folder for runs (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file, which a second call resumes")
    parser.add_argument("more", nargs="*", help="further options of cpm-fast train, behind --")
    options = parser.parse_args(arguments)
    setting = QUICK if options.quick else Setting(minutes=options.minutes)
    seeds = 1 if options.quick else options.seeds
    done = study(options.data, setting, seeds, options.work, options.output, options.more, options.trainings)
    print(table(done, setting, seeds))


if __name__ == "__main__":
    main(sys.argv[1:])
