"""Labels that networks contradict: exchanged sides and misplaced parts, found and corrected.

python benchmarks/studies/label_check.py check --data lspet/ --hold-out 500 --network base-lsp [--network ...]
    [--out runs/labels]
python benchmarks/studies/label_check.py sheet --data lspet/ [--count 20] [--seed 0] [--out runs/labels]
python benchmarks/studies/label_check.py train --data lspet/ --hold-out 500 --fold 0 [--folds 4] [--also lsp/ 200]
    [--preset small] [--recipe long] [--epochs 30] [--out runs/labels]

`check` runs networks on every sample, in two scales and mirrored, and compares the mean beliefs at the labels
(label_evidence.py). The pairs of a limb, such as hips, knees and ankles, are judged together:

- if the beliefs after an exchange of the sides are higher by far, the labels are exchanged ("exchanged"), but for a
  pair that speaks against it; if they are a little higher, the labels are left out ("doubtful");
- a label in a low belief, far from a high peak, is moved there if the peak is very high ("moved"), else left out
  ("left out").

The networks may have learned from these very labels, so what they contradict is wrong all the more often; but they
contradict fewer than others would. `train` trains the network of one fold on the samples of all others, and `check`
without --network judges each fold by its own. If `train` is stopped, run it again to resume.

Held-out samples are not changed, unless `check --held-out` judges them instead: look at these corrections before they
serve in a validation, for they favor the networks that made them. `check` writes corrections.json, which --data
corrected:corrections.json:lspet/ applies, and prints the count of each kind. `sheet` draws corrected samples before and
after, for inspection: right limbs red, left limbs blue, changed parts with a ring.
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

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.studies.label_evidence import Evidence, evidence  # noqa: E402
from cpm_fast.config import PRESETS, preset  # noqa: E402
from cpm_fast.data.corrected import Corrected, Correction, read_corrections, write_corrections  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, Sample, Subset, hold_out  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.model.files import load_model  # noqa: E402
from cpm_fast.recipes import RECIPES  # noqa: E402
from cpm_fast.roi import transform  # noqa: E402
from cpm_fast.sides import LEFT, RIGHT, side_of  # noqa: E402
from cpm_fast.skeleton import Skeleton  # noqa: E402
from cpm_fast.training.folder import RunFolder  # noqa: E402
from cpm_fast.training.loop import train  # noqa: E402
from cpm_fast.training.options import RunOptions  # noqa: E402
from cpm_fast.weights import weights_file  # noqa: E402

CORRECTIONS_FILE = "corrections.json"
SHEET_SIDE_PX, SHEET_COLUMNS = 300, 2
COLORS_BGR, RING_BGR = {LEFT: (255, 160, 0), RIGHT: (60, 60, 255)}, (255, 255, 255)


@dataclass(frozen=True)
class Limits:
    """The limits beyond which a label counts as wrong.

    Args:
        exchange: least gain of belief, summed over the parts of a limb's pairs, to exchange their sides. Of 186 limbs
            that were looked at blind, 73 % were exchanged from this gain on, and 43 % below.
        doubt: least gain to leave their labels out.
        against: a pair that loses more than this has no part in it.
        off: a label this many torsos away from the peak may be wrong.
        low: it is wrong if its belief is below this.
        sure: and the peak is at least this high. very_sure: least height to move the label there.
    """

    exchange: float = 2.2
    doubt: float = 0.8
    against: float = 0.15
    off: float = 0.5
    low: float = 0.15
    sure: float = 0.5
    very_sure: float = 0.7


def fold_of(count: int, folds: int) -> np.ndarray:
    """Return the fold of every sample, [count]: neighbors are in different folds."""
    return np.arange(count) % folds


def limb_pairs(skeleton: Skeleton) -> list[list[tuple[int, int]]]:
    """Return pairs of mirrored parts, those together that limbs join: hips, knees and ankles; shoulders to wrists."""
    pairs = [(part, other) for part, other in enumerate(skeleton.mirror) if part < other]
    joined: list[list[tuple[int, int]]] = []
    for pair in pairs:
        touching = [one for one in joined if any(_have_limb(pair, other, skeleton) for other in one)]
        joined = [one for one in joined if one not in touching]
        joined.append([*(other for one in touching for other in one), pair])
    return joined


def _have_limb(pair: tuple[int, int], other: tuple[int, int], skeleton: Skeleton) -> bool:
    return any({a, b} & set(pair) and {a, b} & set(other) for a, b in skeleton.limb_indices)


def judged(found: Evidence, skeleton: Skeleton, limits: Limits) -> list[Correction]:
    """Return corrections of samples, in their order."""
    known, changed = found.known, np.zeros(found.known.shape, bool)
    corrections: list[Correction] = []

    def correct(row: int, part: int, point: np.ndarray | None, why: str) -> None:
        to = None if point is None or not np.isfinite(point).all() else (float(point[0]), float(point[1]))
        corrections.append(Correction(found.indices[row], skeleton.names[part], to, why))
        changed[row, part] = True

    for pairs in limb_pairs(skeleton):
        parts = np.array(pairs)  # [pairs, 2]
        gains = ((found.other - found.own)[:, parts] * known[:, parts].all(axis=2, keepdims=True)).sum(axis=2)
        for_exchange = gains >= -limits.against  # [M, pairs]
        gain = (gains * for_exchange).sum(axis=1)
        for row in np.flatnonzero(gain >= limits.doubt).tolist():
            for (a, b), agrees, own_gain in zip(pairs, for_exchange[row], gains[row], strict=True):
                for part, other in ((a, b), (b, a)) if agrees else ():
                    if gain[row] >= limits.exchange and known[row, [a, b]].any():
                        correct(row, part, found.labels[row, other], "exchanged")
                    elif gain[row] < limits.exchange and known[row, part] and own_gain > 0:
                        correct(row, part, None, "doubtful")
    far = known & ~changed & (found.off(skeleton) > limits.off) & (found.own < limits.low)
    far &= found.heights >= limits.sure
    for row, part in np.argwhere(far).tolist():
        very_sure = found.heights[row, part] >= limits.very_sure
        correct(row, part, found.points[row, part] if very_sure else None, "moved" if very_sure else "left out")
    return sorted(corrections, key=lambda one: (one.sample, one.part))


def check(
    dataset: Dataset, judges: Sequence[tuple[Sequence[int], Sequence[CPM]]], limits: Limits, precision: str = "auto"
) -> list[Correction]:
    """Return corrections of a dataset; each entry of `judges` is samples and the networks that judge them."""
    corrections: list[Correction] = []
    for indices, models in judges:
        corrections += judged(evidence(models, dataset, indices, precision), dataset.skeleton, limits)
    return sorted(corrections, key=lambda one: (one.sample, one.part))


def sheet(dataset: Dataset, corrections: Sequence[Correction], path: Path) -> None:
    """Draw corrected samples, each before and after."""
    after = Corrected(dataset, corrections)
    tiles = []
    for index, changes in after.by_sample.items():
        changed = [dataset.skeleton.index(one.part) for one in changes]
        tiles.append(np.hstack([_tile(one[index], dataset.skeleton, changed) for one in (dataset, after)]))
        cv2.putText(tiles[-1], str(index), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
    blank = np.zeros_like(tiles[0])
    rows = [tiles[i : i + SHEET_COLUMNS] for i in range(0, len(tiles), SHEET_COLUMNS)]
    whole = np.vstack([np.hstack([*row, *[blank] * (SHEET_COLUMNS - len(row))]) for row in rows])
    if not cv2.imwrite(str(path), whole):
        raise OSError(f"{path}: could not be written")


def _tile(sample: Sample, skeleton: Skeleton, changed: Sequence[int]) -> np.ndarray:
    matrix = sample.region(1.25).matrix((SHEET_SIDE_PX, SHEET_SIDE_PX))
    tile = cv2.warpAffine(sample.image, matrix, (SHEET_SIDE_PX, SHEET_SIDE_PX))
    places = transform(matrix, np.nan_to_num(sample.parts_image))
    points = [tuple(int(value) for value in np.rint(place)) for place in places]
    for a, b in skeleton.limb_indices:
        sides = {(side_of(skeleton.names[end]) or ("", ""))[0] for end in (a, b)}
        color = COLORS_BGR.get(sides.pop()) if len(sides) == 1 else None
        if color and sample.labeled[[a, b]].all():
            cv2.line(tile, points[a], points[b], color, 2, cv2.LINE_AA)
    for part in changed:
        if sample.labeled[part]:
            cv2.circle(tile, points[part], 5, RING_BGR, 1, cv2.LINE_AA)
    return tile


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
    parser.add_argument(
        "--network",
        action="append",
        metavar="FILE",
        help="check: weights; may be repeated (default: those of the folds)",
    )
    parser.add_argument(
        "--held-out", action="store_true", help="check: only the held-out samples, by networks that have not seen them"
    )
    parser.add_argument("--precision", default="auto", help="check: of the networks, such as bf16 (%(default)s)")
    parser.add_argument("--count", type=int, default=20, help="sheet: samples to draw (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="sheet: of their choice (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/labels"), help="folder (%(default)s)")
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
        limits, given = Limits(), chosen.network or []
        judges: list[tuple[Sequence[int], Sequence[CPM]]]
        if chosen.held_out and not given:
            parser.error("--held-out must go with --network: the folds are of the other samples")
        indices = range(count, len(dataset)) if chosen.held_out else range(count)
        if given:
            judges = [(indices, [load_model(weights_file(one)) for one in given])]
        else:
            folds = fold_of(count, chosen.folds)
            judges = [
                (np.flatnonzero(folds == fold).tolist(), [load_model(RunFolder(run).final)])
                for fold, run in enumerate(runs)
            ]
        corrections = check(dataset, judges, limits, chosen.precision)
        about = {
            "limits": vars(limits),
            "precision": chosen.precision,
            "networks": [Path(one).stem for one in given] or f"of {chosen.folds} folds",
        }
        chosen.out.mkdir(parents=True, exist_ok=True)
        write_corrections(path, dataset, corrections, about)
        for why, number in sorted(Counter(one.why for one in corrections).items()):
            print(f"{why:10} {number:6} parts")
        print(f"wrote {path}, {len({one.sample for one in corrections})} of {len(indices)} samples")
        return 0
    corrections = read_corrections(path, dataset)
    changed = sorted({one.sample for one in corrections})
    drawn = set(np.random.default_rng(chosen.seed).permutation(changed)[: chosen.count].tolist())
    if not drawn:
        print("no corrections")
        return 0
    sheet(dataset, [one for one in corrections if one.sample in drawn], chosen.out / "sheet.png")
    print(f"wrote {chosen.out / 'sheet.png'}, {len(drawn)} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
