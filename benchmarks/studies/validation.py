"""Validation of weights on pictures used only to choose recipes: PCK with whole pictures and annotated regions, OKS.

python benchmarks/studies/validation.py --model wide-lsp --lsp lsp/ --lspet lspet/ --coco person_keypoints.json
    [--pyramid 0.7 0.8 0.9 1.0 1.1 1.2 1.3] [--flip] [--out runs/validation]

- the last 200 of LSP's training pictures, PCK@0.2 of the torso: the whole picture as region, and the annotated region;
- of the missed elbows, wrists, knees and ankles there (annotated regions), the share that lies within 0.2 torso of the
  true place of the same part of the other side;
- the last 500 of LSP-extended, annotated regions; samples without a torso are left out and counted;
- mean object key point similarity of the people in COCO's form with six or more labeled body joints, their boxes given.

Every figure has a 95 % bootstrap interval over samples. It writes validation.json, with the command, date, versions and
the hash of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.harness.record import about  # noqa: E402
from benchmarks.studies.robustness import Disturbed, whole_picture  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, hold_out  # noqa: E402
from cpm_fast.evaluation import evaluate  # noqa: E402
from cpm_fast.evaluation.interval import bootstrap_interval  # noqa: E402
from cpm_fast.evaluation.network import predict  # noqa: E402
from cpm_fast.evaluation.outcome import Evaluation  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.weights import DEFAULT, load, weights_file  # noqa: E402

LAST_LSP, LAST_LSPET = 200, 500
THRESHOLD = 0.2
SWAPPED_PARTS = ("elbow", "wrist", "knee", "ankle")
# COCO's sigmas of body joints (cocoeval), and the number of these joints that a person must have labeled.
SIGMAS = {"shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089}
LEAST_JOINTS = 6

Figure = dict[str, Any]


def figure(values: np.ndarray, weights: np.ndarray | None = None, **more: Any) -> Figure:
    """Return a mean over samples with its interval, for JSON."""
    if not len(values):
        return {"value": None, "interval": None, "samples": 0, **more}
    low, high = bootstrap_interval(values, weights)
    mean = float(np.average(values, weights=weights))
    return {"value": round(mean, 4), "interval": [round(low, 4), round(high, 4)], "samples": len(values), **more}


def pck(found: Evaluation) -> Figure:
    """Return PCK@0.2 of the last stage: the share of labeled parts that are right, as in `evaluate`."""
    known = np.isfinite(found.truth).all(axis=-1)
    counted = np.isfinite(found.reference_length) & known.any(axis=1)
    right = (found.errors[-1] <= THRESHOLD * found.reference_length[:, None]) & known
    labeled = known[counted].sum(axis=1)
    by_part = {
        name: round(float(right[counted, i].sum() / max(1, known[counted, i].sum())), 4)
        for i, name in enumerate(found.names)
    }
    return figure(right[counted].sum(axis=1) / labeled, labeled, left_out=int((~counted).sum()), per_part=by_part)


def swapped(found: Evaluation) -> Figure:
    """Return the share of the missed limb parts that lie on the same part of the other side."""
    errors, shares, misses = found.errors[-1], [], []
    mirror = np.array(found.skeleton.mirror)
    chosen = [i for i, name in enumerate(found.names) if name.endswith(SWAPPED_PARTS) and mirror[i] != i]
    reach = THRESHOLD * found.reference_length[:, None]
    other = np.linalg.norm(found.predictions[-1] - found.truth[:, mirror], axis=-1)
    known = np.isfinite(found.truth).all(axis=-1) & np.isfinite(found.reference_length)[:, None]
    missed = known & known[:, mirror] & ~(errors <= reach)
    on_other = missed & (other <= reach)
    for row_missed, row_other in zip(missed[:, chosen], on_other[:, chosen], strict=True):
        if row_missed.any():
            misses.append(int(row_missed.sum()))
            shares.append(row_other.sum() / row_missed.sum())
    weights = np.array(misses, float)
    return figure(np.array(shares), weights if len(weights) else None, missed=sum(misses))


def similarity(predicted: np.ndarray, truth: np.ndarray, area: float, sigmas: np.ndarray) -> float:
    """Return the mean object key point similarity over labeled joints (cocodataset.org).

    Args:
        predicted, truth: [K, 2] image pixels; NaN in truth where not labeled, in predicted where nothing is.
        area: of the person, square image pixels.
        sigmas: [K].
    """
    labeled = np.isfinite(truth).all(axis=1)
    squares = np.where(np.isfinite(predicted).all(axis=1), ((predicted - truth) ** 2).sum(axis=1), np.inf)[labeled]
    return float(np.exp(-squares / (2 * area * (2 * sigmas[labeled]) ** 2)).mean())


def everyday(model: CPM, dataset: Dataset, **how: Any) -> Figure:
    """Return the mean similarity of the last stage, over people with enough labeled joints."""
    found = predict(model, dataset, progress=False, **how)
    names = dataset.skeleton.names
    joints = [i for i, name in enumerate(names) if name.rpartition("_")[2] in SIGMAS]
    sigmas = np.array([SIGMAS[names[i].rpartition("_")[2]] for i in joints])
    values = [
        similarity(predicted[joints], truth[joints], area, sigmas)
        for predicted, truth, area in zip(found.predicted[-1], found.truth, found.areas, strict=True)
        if np.isfinite(truth[joints]).all(axis=1).sum() >= LEAST_JOINTS and np.isfinite(area) and area > 0
    ]
    over = float(np.mean(np.array(values) > 0.5)) if values else None
    return figure(np.array(values), over_half=over)


def validated(
    model: CPM, lsp: Dataset | None, lspet: Dataset | None, coco: Dataset | None, **how: Any
) -> dict[str, Figure]:
    """Return all figures of the given datasets; `how` is pyramid and flip."""
    figures: dict[str, Figure] = {}
    if lsp is not None:
        figures["lsp, whole pictures, PCK@0.2"] = pck(
            evaluate(model, Disturbed(lsp, whole_picture), progress=False, **how)
        )
        found = evaluate(model, lsp, progress=False, **how)
        figures["lsp, annotated regions, PCK@0.2"] = pck(found)
        figures["lsp, missed limb parts on the other side"] = swapped(found)
    if lspet is not None:
        figures["lspet, annotated regions, PCK@0.2"] = pck(evaluate(model, lspet, progress=False, **how))
    if coco is not None:
        figures["coco, true boxes, mean OKS"] = everyday(model, coco, **how)
    return figures


def _last(spec: str | None, count: int) -> Dataset | None:
    if spec is None:
        return None
    dataset = open_dataset(spec)
    return hold_out(dataset, count)[1] if count < len(dataset) else dataset


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when there are figures."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=DEFAULT, help="weights: a file or a bundled name (%(default)s)")
    parser.add_argument("--lsp", help="folder of LSP")
    parser.add_argument("--lspet", help="folder of LSP-extended")
    parser.add_argument("--coco", help="annotations in COCO's form")
    parser.add_argument("--pyramid", nargs="+", type=float, default=[1.0], help="scales (%(default)s)")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--out", type=Path, default=Path("runs/validation"), help="folder to write (%(default)s)")
    chosen = parser.parse_args(given)
    if not (chosen.lsp or chosen.lspet or chosen.coco):
        parser.error("one of --lsp, --lspet and --coco must be given")
    path = weights_file(chosen.model)
    started = time.perf_counter()
    figures = validated(
        load(chosen.model, device="cpu"),
        _last(chosen.lsp, LAST_LSP),
        _last(chosen.lspet, LAST_LSPET),
        None if chosen.coco is None else open_dataset(chosen.coco),
        pyramid=tuple(chosen.pyramid),
        flip=chosen.flip,
    )
    for name, values in figures.items():
        if values["value"] is not None:
            low, high = values["interval"]
            shown = f"{100 * values['value']:5.1f}  ({100 * low:.1f} to {100 * high:.1f})"
            print(f"{name:44} {shown}, {values['samples']} samples")
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_json(
        chosen.out / "validation.json",
        {
            **about(__file__, given),
            "weights": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "pyramid": chosen.pyramid,
            "flip": chosen.flip,
            "seconds": round(time.perf_counter() - started, 1),
            "figures": figures,
        },
    )
    print(f"wrote {chosen.out / 'validation.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
