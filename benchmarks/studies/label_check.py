"""Labels that networks trained without them contradict: exchanged sides and misplaced parts, found and corrected.

python benchmarks/studies/label_check.py train --data lspet/ --hold-out 500 --fold 0 [--folds 4] [--also lsp/ 200]
    [--preset small] [--recipe long] [--epochs 30] [--out runs/folds]
python benchmarks/studies/label_check.py check --data lspet/ --hold-out 500 [--folds 4] [--out runs/folds]
python benchmarks/studies/label_check.py sheet --data lspet/ [--count 200] [--out runs/folds]

`train` trains the network of one fold on the samples of all others; if it is stopped, run it again to resume. `check`
runs the network of its own fold on every sample, in several scales and mirrored, each pass separately. A label is
judged by its distance from the predictions, in torsos, if the passes agree and have high scores:

- the labels of a pair that fit after an exchange of the sides, and do not fit before, are exchanged ("exchanged");
- a label that is far from the predictions of all passes is moved there if the scores are very high ("moved"), else left
out ("left out").

Held-out samples are not changed. It writes corrections.json, which --data corrected:corrections.json:lspet/ applies,
and prints the count of each kind. `sheet` draws corrections for inspection: labels red, their new places green.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from cpm_fast.config import PRESETS, preset  # noqa: E402
from cpm_fast.data.corrected import Correction, read_corrections, write_corrections  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, Subset, hold_out  # noqa: E402
from cpm_fast.evaluation.network import predict  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.model.files import load_model  # noqa: E402
from cpm_fast.recipes import RECIPES  # noqa: E402
from cpm_fast.skeleton import Skeleton  # noqa: E402
from cpm_fast.training.folder import RunFolder  # noqa: E402
from cpm_fast.training.loop import train  # noqa: E402
from cpm_fast.training.options import RunOptions  # noqa: E402

# The passes: (scale, mirrored). `flip` averages the mirrored picture with the plain one, so both are compared.
SCALES = (0.85, 1.0, 1.2)
CORRECTIONS_FILE = "corrections.json"
SHEET_SIDE_PX, SHEET_COLUMNS = 220, 5


@dataclass(frozen=True)
class Limits:
    """The limits beyond which a label counts as wrong. Distances are in torsos.

    Args:
        right: up to this distance a label and a prediction are the same place. wrong: from this distance on they are
        not.
        spread: the passes agree within this.
        sure: least height of the belief's peak to leave a label out.
        very_sure: least height to move it.
    """

    right: float = 0.2
    wrong: float = 0.5
    spread: float = 0.12
    sure: float = 0.45
    very_sure: float = 0.65


@dataclass(frozen=True, eq=False)
class Opinion:
    """Predictions of the passes of one network in M samples.

    Args:
        points: [M, P, 2] the median of the passes, image pixels.
        spread: [M, P] the largest distance of a pass from it, image pixels.
        heights: [M, P] the mean height of the peaks.
    """

    points: np.ndarray
    spread: np.ndarray
    heights: np.ndarray


def fold_of(count: int, folds: int) -> np.ndarray:
    """Return the fold of every sample, [count]: neighbors are in different folds."""
    return np.arange(count) % folds


def opinion(model: CPM, dataset: Dataset, indices: Sequence[int]) -> tuple[Opinion, list[int]]:
    """Return the predictions of a network in some samples, and which samples could be read."""
    passes = [
        predict(model, dataset, indices, pyramid=(scale,), flip=flip, progress=False)
        for scale in SCALES
        for flip in (False, True)
    ]
    points = np.stack([one.predicted[-1] for one in passes])  # [passes, M, P, 2]
    heights = np.stack([one.heights[-1] for one in passes]).mean(axis=0)
    middle = np.median(points, axis=0)
    spread = np.linalg.norm(points - middle, axis=-1).max(axis=0)
    return Opinion(middle, spread, heights), list(passes[0].indices)


def judged(
    labels: np.ndarray, found: Opinion, torsos: np.ndarray, indices: Sequence[int], skeleton: Skeleton, limits: Limits
) -> list[Correction]:
    """Return corrections of samples.

    Args:
        labels: [M, P, 2] image pixels, NaN where not labeled.
        found: of the same samples.
        torsos: [M] image pixels, the length that distances are measured in.
        indices: [M] of the samples in the dataset.
        skeleton: the P parts.
        limits: beyond which a label is wrong.
    """
    mirror = np.array(skeleton.mirror)
    reach = torsos[:, None]
    known = np.isfinite(labels).all(axis=2)
    off = np.linalg.norm(found.points - labels, axis=-1) / reach
    off_other = np.linalg.norm(found.points - labels[:, mirror], axis=-1) / reach
    agreed = (found.spread <= limits.spread * reach) & (found.heights >= limits.sure)
    sides = (mirror != np.arange(len(mirror)))[None]
    # Both labels of a pair lie at the prediction of the other side, and away from their own.
    crossed = known & known[:, mirror] & agreed & sides & (off_other <= limits.right) & (off > limits.wrong)
    exchanged = crossed & crossed[:, mirror]
    far = known & agreed & (off > limits.wrong) & ~exchanged
    moved = far & (found.heights >= limits.very_sure)
    corrections = []
    for row, part in np.argwhere(exchanged | far).tolist():
        name, sample = skeleton.names[part], int(indices[row])
        if exchanged[row, part]:
            x, y = labels[row, mirror[part]].tolist()
            corrections.append(Correction(sample, name, (x, y), "exchanged"))
        elif moved[row, part]:
            x, y = found.points[row, part].tolist()
            corrections.append(Correction(sample, name, (x, y), "moved"))
        else:
            corrections.append(Correction(sample, name, None, "left out"))
    return corrections


def torsos_of(labels: np.ndarray, found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return lengths from left shoulder to right hip: [M], of labels, or of predictions if a label is missing.

    A wrong label of either would falsify all distances, so the larger of both lengths counts.
    """
    a, b = skeleton.index("left_shoulder"), skeleton.index("right_hip")
    ours = np.linalg.norm(found[:, a] - found[:, b], axis=-1)
    theirs = np.linalg.norm(labels[:, a] - labels[:, b], axis=-1)
    return np.maximum(np.fmax(ours, theirs), 1.0)


def check(dataset: Dataset, count: int, models: Sequence[CPM], limits: Limits) -> list[Correction]:
    """Return corrections of the first `count` samples; model f, not trained on fold f, judges those of fold f."""
    folds = fold_of(count, len(models))
    corrections: list[Correction] = []
    for fold, model in enumerate(tqdm(models, desc="folds", unit="fold", leave=False)):
        mine = np.flatnonzero(folds == fold).tolist()
        found, read = opinion(model, dataset, mine)
        samples = [dataset[index] for index in read]
        labels = np.stack([np.where(one.labeled[:, None], one.parts_image, np.nan) for one in samples])
        torsos = torsos_of(labels, found.points, dataset.skeleton)
        corrections += judged(labels, found, torsos, read, dataset.skeleton, limits)
    return sorted(corrections, key=lambda one: (one.sample, one.part))


def sheet(dataset: Dataset, corrections: Sequence[Correction], path: Path) -> None:
    """Draw corrected samples side by side: labels red, joined with their new places, green; a cross is left out."""
    by_sample: dict[int, list[Correction]] = {}
    for one in corrections:
        by_sample.setdefault(one.sample, []).append(one)
    tiles = []
    for index, changes in by_sample.items():
        sample = dataset[index]
        region = sample.region(1.25)
        matrix = region.matrix((SHEET_SIDE_PX, SHEET_SIDE_PX))
        tile = cv2.warpAffine(sample.image, matrix, (SHEET_SIDE_PX, SHEET_SIDE_PX))
        for change in changes:
            label = sample.parts_image[dataset.skeleton.index(change.part)]
            start = np.rint(matrix[:, :2] @ label + matrix[:, 2]).astype(int).tolist()
            if change.point is None:
                cv2.drawMarker(tile, start, (0, 0, 255), cv2.MARKER_TILTED_CROSS, 9, 2)
                continue
            end = np.rint(matrix[:, :2] @ np.array(change.point) + matrix[:, 2]).astype(int).tolist()
            cv2.line(tile, start, end, (255, 255, 255), 1)
            cv2.circle(tile, start, 3, (0, 0, 255), -1)
            cv2.circle(tile, end, 3, (0, 255, 0), -1)
        cv2.putText(tile, str(index), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
        tiles.append(tile)
    blank = np.zeros_like(tiles[0])
    rows = [tiles[i : i + SHEET_COLUMNS] for i in range(0, len(tiles), SHEET_COLUMNS)]
    whole = np.vstack([np.hstack([*row, *[blank] * (SHEET_COLUMNS - len(row))]) for row in rows])
    if not cv2.imwrite(str(path), whole):
        raise OSError(f"{path}: could not be written")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("verb", choices=("train", "check", "sheet"))
    parser.add_argument("--data", required=True, help="as for cpm-fast train")
    parser.add_argument(
        "--hold-out", type=int, default=500, metavar="N", help="the last N stay as they are (%(default)s)"
    )
    parser.add_argument("--also", nargs=2, metavar=("DATA", "HOLD_OUT"), help="train: on this dataset too, whole")
    parser.add_argument("--fold", type=int, default=0, help="train: which (%(default)s)")
    parser.add_argument("--folds", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="train: the network (%(default)s)")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="long", help="train: (%(default)s)")
    parser.add_argument("--epochs", type=float, default=30.0, help="train: passes over the data (%(default)s)")
    parser.add_argument("--batch", type=int, help="train: samples a step (default: the recipe's)")
    parser.add_argument("--workers", type=int, help="train: loader processes (default: one a core)")
    parser.add_argument("--count", type=int, default=200, help="sheet: samples to draw (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/folds"), help="folder (%(default)s)")
    chosen = parser.parse_args(arguments)
    dataset = open_dataset(chosen.data)
    count = len(dataset) - chosen.hold_out
    if chosen.hold_out < 0 or not 2 <= chosen.folds <= count or not 0 <= chosen.fold < chosen.folds:
        parser.error(
            f"--folds must be from 2 to {max(2, count)} and --fold below it, got {chosen.folds}, {chosen.fold}"
        )
    runs = [chosen.out / f"fold{fold}" for fold in range(chosen.folds)]
    if chosen.verb == "train":
        others = np.flatnonzero(fold_of(count, chosen.folds) != chosen.fold).tolist()
        data: list[Dataset] = [Subset(dataset, others)]
        if chosen.also:
            data.append(hold_out(open_dataset(chosen.also[0]), int(chosen.also[1]))[0])
        recipe = replace(RECIPES[chosen.recipe], epochs=chosen.epochs, seed=chosen.fold)
        recipe = replace(recipe, batch=chosen.batch) if chosen.batch else recipe
        network = preset(chosen.preset, dataset.skeleton)
        train(network, recipe, data, [], runs[chosen.fold], resume=True, options=RunOptions(workers=chosen.workers))
        print(f"wrote {RunFolder(runs[chosen.fold]).final}")
        return 0
    path = chosen.out / CORRECTIONS_FILE
    if chosen.verb == "check":
        models = [load_model(RunFolder(run).final) for run in runs]
        limits = Limits()
        corrections = check(dataset, count, models, limits)
        write_corrections(path, dataset, corrections, {"limits": vars(limits), "folds": chosen.folds})
        for why, number in sorted(Counter(one.why for one in corrections).items()):
            print(f"{why:10} {number:6} parts")
        print(f"wrote {path}, {len({one.sample for one in corrections})} of {count} samples")
        return 0
    corrections = read_corrections(path, dataset)
    changed = sorted({one.sample for one in corrections})
    drawn = set(np.random.default_rng(0).permutation(changed)[: chosen.count].tolist())
    if not drawn:
        print("no corrections")
        return 0
    sheet(dataset, [one for one in corrections if one.sample in drawn], chosen.out / "sheet.png")
    print(f"wrote {chosen.out / 'sheet.png'}, {len(drawn)} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
