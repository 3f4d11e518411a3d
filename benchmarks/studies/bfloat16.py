"""bfloat16 on this CPU against float32: python benchmarks/studies/bfloat16.py [--data lsp/ --last 200].

Errors: belief maps of trained networks on drawn figures against float64, of the engine in both precisions and of
PyTorch's convolutions in bfloat16. Time: calls of both engines in turns. Accuracy: PCK@0.2 on the last samples of
--data, if that is given. It writes bfloat16.json.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import hold_out
from cpm_fast.evaluation.network import evaluate
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import network_input, scale_crops
from cpm_fast.ops import backend
from cpm_fast.weights import load

PRECISIONS = ("fp32", "bf16")
PICTURES = 8
WARM_UP = 3


def drawn_crops(model: CPM, count: int) -> torch.Tensor:
    """Return crops of drawn figures: [count, 3, H, W]."""
    figures = DrawnFigures(count)
    samples = [figures[index] for index in range(count)]
    cuts = [scale_crops(each.image, each.region(model.config.margin), model.config)[0] for each in samples]
    return network_input(np.stack(cuts), model.config, torch.device("cpu"))


def errors(model: CPM) -> dict[str, list[float]]:
    """Return ||found - exact|| / ||exact|| of every stage."""
    crops = drawn_crops(model, PICTURES)
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(crops.double())
        found = {precision: cpm_fast.Engine(model, precision=precision)(crops) for precision in PRECISIONS}
        with backend.use_backend("reference"), torch.autocast("cpu", torch.bfloat16):
            found["bf16 by PyTorch's autocast"] = model(crops)
    return {
        name: [
            float(torch.linalg.norm(each.double() - wanted) / torch.linalg.norm(wanted))
            for each, wanted in zip(stages, exact, strict=True)
        ]
        for name, stages in found.items()
    }


def times(model: CPM, batch: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds of a call in both precisions, and the median of the rounds' ratios."""
    crops = drawn_crops(model, batch)
    engines = {precision: cpm_fast.Engine(model, precision=precision, frozen=True) for precision in PRECISIONS}
    taken: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in tqdm(range(WARM_UP + rounds), desc=f"batch {batch}", unit="round", leave=False):
        for precision, engine in engines.items():
            begin = time.perf_counter()
            engine(crops)
            taken[precision].append(1e3 * (time.perf_counter() - begin))
    kept = {precision: values[WARM_UP:] for precision, values in taken.items()}
    ratios = [a / b for a, b in zip(kept["fp32"], kept["bf16"], strict=True)]
    return {
        "batch": batch,
        "ms": {precision: float(np.median(values)) for precision, values in kept.items()},
        "fp32_over_bf16": float(np.median(ratios)),
    }


def accuracy(model: CPM, data: str, last: int) -> dict[str, float]:
    """Return PCK@0.2 of the last stage, percent."""
    dataset = hold_out(open_dataset(data), last)[1]
    scores = {precision: evaluate(model, dataset, precision=precision).stages[-1].mean for precision in PRECISIONS}
    return {precision: 100 * score for precision, score in scores.items()}


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the file is written."""
    parser = argparse.ArgumentParser(description="bfloat16 on this CPU against float32.")
    parser.add_argument("--weights", nargs="+", default=["compact-lsp", "wide-lsp"], help="networks (%(default)s)")
    parser.add_argument("--data", help="a dataset, as for cpm-fast eval")
    parser.add_argument("--last", type=int, default=200, help="score its last samples (%(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="calls in each precision (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("bfloat16.json"), metavar="FILE", help="(%(default)s)")
    chosen = parser.parse_args(arguments)
    if missing := backend.native_missing("cpu"):
        parser.error(missing)
    results = []
    for name in chosen.weights:
        model = load(name, device="cpu").eval()
        row: dict[str, Any] = {"weights": name, "errors": errors(model)}
        row["times"] = [times(model, 1, chosen.rounds), times(model, 8, max(1, chosen.rounds // 6))]
        if chosen.data is not None:
            row["pck"] = accuracy(model, chosen.data, chosen.last)
        results.append(row)
        print(f"{name}: error of the last stage, {', '.join(f'{k} {v[-1]:.1e}' for k, v in row['errors'].items())}")
        for each in row["times"]:
            print(f"  batch {each['batch']}: {each['ms']} ms, fp32 / bf16 {each['fp32_over_bf16']:.2f}")
        if "pck" in row:
            print(f"  PCK@0.2 {row['pck']}")
    given = sys.argv[1:] if arguments is None else arguments
    record = {
        **about(__file__, given),
        "simd": backend.native().simd(),
        "results": results,
    }
    write(chosen.json, record)
    print(f"wrote {chosen.json}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
