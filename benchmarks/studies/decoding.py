"""Scores of sharper decoding: the last stage's belief maps of a network, decoded in different ways.

python benchmarks/studies/decoding.py --data lsp/ --last 200 [--data lspet/ --last 500] [--model compact-lsp] [--flip]

The scores are PCK at a twentieth, a tenth and a fifth of the torso, and the area under the curve up to a fifth. It
writes decoding.md and decoding.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from cpm_fast.config import STRIDE, NetworkConfig
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, Subset
from cpm_fast.engine import Engine
from cpm_fast.inference.parts import Cut, Sighting, SubjectCrops, find_parts
from cpm_fast.inference.settings import Settings
from cpm_fast.metrics import CURVE_THRESHOLDS, area_below, scores
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import scale_crops
from cpm_fast.model.decode import belief_to_parts, unmirror
from cpm_fast.ops.peaks import peaks
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import write_json, write_text
from cpm_fast.system.versions import versions
from cpm_fast.weights import DEFAULT, load

THRESHOLDS = (0.05, 0.1, 0.2)
# Constants of `sides_apart`: cells that count as the same place, and the least height of a second peak, as a share of
# the first.
SAME_PLACE, SECOND_PEAK = 1.5, 0.3
SMALLEST_BELIEF = 1e-6

Decoder = Callable[[torch.Tensor, Skeleton], torch.Tensor]


def whole_cells(maps: torch.Tensor, _: Skeleton) -> torch.Tensor:
    """Return the highest cell. All decoders take maps [M, P, h, w] and return cells (x, y) [M, P, 2]."""
    return peaks(maps, False)[0]


def quarter_step(maps: torch.Tensor, _: Skeleton) -> torch.Tensor:
    """Move the highest cell by a quarter towards the higher neighbor (Newell et al. 2016)."""
    cells = peaks(maps, False)[0]
    around = neighbors(maps, cells)
    return (
        cells
        + 0.25 * torch.stack([around[..., 1, 2] - around[..., 1, 0], around[..., 2, 1] - around[..., 0, 1]], -1).sign()
    )


def parabola(maps: torch.Tensor, _: Skeleton) -> torch.Tensor:
    """Return the vertex of the parabola through the cell and its neighbors, on each axis."""
    return peaks(maps, True)[0]


def log_expansion(maps: torch.Tensor, _: Skeleton) -> torch.Tensor:
    """Return the peaks of the logarithm's second-order expansion at the highest cells (DARK, Zhang et al. 2020)."""
    cells = peaks(maps, False)[0]
    around = neighbors(maps.clamp_min(SMALLEST_BELIEF).log(), cells)
    left, right, up, down = around[..., 1, 0], around[..., 1, 2], around[..., 0, 1], around[..., 2, 1]
    slope = torch.stack([right - left, down - up], -1) / 2
    xx, yy = (after - 2 * around[..., 1, 1] + before for before, after in ((left, right), (up, down)))
    xy = (around[..., 2, 2] - around[..., 2, 0] - around[..., 0, 2] + around[..., 0, 0]) / 4
    determinant = xx * yy - xy**2
    peaked = (determinant > SMALLEST_BELIEF) & (xx < 0)
    step = torch.stack([yy * slope[..., 0] - xy * slope[..., 1], xx * slope[..., 1] - xy * slope[..., 0]], -1)
    return cells - (step / determinant.where(peaked, 1)[..., None]).clamp(-1, 1) * peaked[..., None]


def blurred_log_expansion(maps: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Return the same on maps blurred by a Gaussian of one cell, as in DARK."""
    x = torch.arange(-4.0, 5.0)
    window = torch.exp(-(x**2) / 2)
    window = (window[:, None] * window / window.sum() ** 2)[None, None]
    blurred = F.conv2d(maps.flatten(0, 1)[:, None], window, padding=4)
    return log_expansion(blurred.view_as(maps), skeleton)


def centroid(maps: torch.Tensor, _: Skeleton) -> torch.Tensor:
    """Return the center of mass of the highest cell and the eight around it."""
    cells = peaks(maps, False)[0]
    mass = neighbors(maps, cells).clamp_min(SMALLEST_BELIEF)
    at = torch.tensor([-1.0, 0.0, 1.0])
    offset = torch.stack([(mass * at).sum((-1, -2)), (mass * at[:, None]).sum((-1, -2))], -1)
    return cells + offset / mass.sum((-1, -2))[..., None]


def sides_apart(maps: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Return the parabola; if left and right of a pair are in the same place, one moves to its second peak."""
    cells, heights = peaks(maps, True)
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in maps.shape[2:]), indexing="ij")
    away = torch.hypot(x - cells[..., 0, None, None], y - cells[..., 1, None, None])
    others, lower = peaks(maps.masked_fill(away <= SAME_PLACE + 1, -1.0), True)
    for names in skeleton.pairs:
        a, b = (skeleton.names.index(name) for name in names)
        same = (cells[:, a] - cells[:, b]).norm(dim=-1) < SAME_PLACE
        a_moves = lower[:, a] + heights[:, b] >= heights[:, a] + lower[:, b]
        for part, moves in ((a, a_moves), (b, ~a_moves)):
            moves = same & moves & (lower[:, part] > SECOND_PEAK * heights[:, part])
            cells[moves, part] = others[moves, part]
    return cells


def neighbors(maps: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Return the values around cells [M, P, 2] of maps [M, P, h, w], with the border repeated: [M, P, 3, 3]."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
    x, y = cells.long().unbind(-1)
    samples, parts = torch.meshgrid(*(torch.arange(count) for count in x.shape), indexing="ij")
    return padded[samples, parts, y, x]


DECODERS: dict[str, Decoder] = {
    "the highest cell": whole_cells,
    "a quarter step": quarter_step,
    "parabola on cells": parabola,
    "centroid of nine cells": centroid,
    "expansion of the logarithm": log_expansion,
    "the same, maps blurred": blurred_log_expansion,
    "parabola, sides apart": sides_apart,
}
# These are the package's own decoders, on maps resized to the box's pixels.
RELEASED, OURS = "bicubic, whole pixels (as released)", "bicubic, parabola (cpm_fast)"


def read_maps(model: CPM, dataset: Dataset, flip: bool) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return belief maps of the parts [M, P, h, w], truth in the box [M, P, 2] and torso [M], both in its pixels."""
    engine, config = Engine(model), model.config
    order = config.skeleton.order_from(dataset.skeleton.names)
    if min(order) < 0:
        raise ValueError(f"{dataset.name}: must have all parts of the network, got {list(dataset.skeleton.names)}")
    maps, truth = [], []
    for index in tqdm(range(len(dataset)), desc=dataset.name, unit="sample", leave=False):
        sample = dataset[index]
        roi = sample.region(config.margin)
        crops = scale_crops(sample.image, roi, config, (1.0,), flip)
        # The mirrored crop is a separate subject, so its belief maps are kept too.
        subjects = SubjectCrops([Sighting(roi)] * len(crops), [Cut(crop[None]) for crop in crops])
        ((_, found),) = find_parts(engine, Settings(belief_maps=True), [(index, subjects)])
        beliefs = torch.stack([torch.from_numpy(one.beliefs[-1]) for one in found if one.beliefs is not None])
        if flip:
            beliefs = torch.stack([beliefs[0], unmirror(beliefs[1], config.skeleton)]).mean(dim=0, keepdim=True)
        maps.append(beliefs[:, : config.parts].clone())
        parts = roi.to_box(sample.parts_image, config.input_size)
        truth.append(np.where(sample.labeled[:, None], parts, np.nan)[order])
    left, right = (config.skeleton.names.index(name) for name in ("left_shoulder", "right_hip"))
    truth_box = np.array(truth)
    return torch.cat(maps), truth_box, np.linalg.norm(truth_box[:, left] - truth_box[:, right], axis=-1)


def measured(maps: torch.Tensor, truth: np.ndarray, torso: np.ndarray, config: NetworkConfig) -> dict[str, Any]:
    """Return the scores of every decoder, percent."""
    found = {
        name: (decoder(maps, config.skeleton) * STRIDE + config.cell_offset).numpy()
        for name, decoder in DECODERS.items()
    }
    with_background = F.pad(maps, (0, 0, 0, 0, 0, int(config.background)))[:, None]
    for name, refine in ((RELEASED, False), (OURS, True)):
        found[name] = belief_to_parts(with_background, (1.0,), config, refine)[0]
    table = {}
    for name, points in found.items():
        heights = np.array([score.mean for score in scores(points, truth, torso, CURVE_THRESHOLDS)])
        row = {f"PCK@{at:g}": 100 * heights[CURVE_THRESHOLDS.index(at)] for at in THRESHOLDS}
        table[name] = {**row, "area": 100 * area_below(heights, CURVE_THRESHOLDS)}
    return table


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row per decoder, the datasets beside each other."""
    columns = [f"{dataset}, {name}" for dataset, rows in results.items() for name in rows[OURS]]
    lines = [f"| decoder | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in next(iter(results.values())):
        cells = [f"{value:.1f}" for rows in results.values() for value in rows[name].values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", action="append", required=True, help="as for cpm-fast train; may be repeated")
    parser.add_argument("--last", action="append", type=int, required=True, metavar="N", help="samples, one a --data")
    parser.add_argument("--model", default=DEFAULT, help="weights: a file or a bundled name (%(default)s)")
    parser.add_argument("--flip", action="store_true", help="of maps averaged with the mirrored picture's")
    parser.add_argument("--out", type=Path, default=Path("runs/decoding"), help="folder to write (%(default)s)")
    chosen = parser.parse_args(arguments)
    if len(chosen.last) != len(chosen.data) or min(chosen.last) < 1:
        parser.error("--last must be given once for each --data, and be positive")
    started = time.perf_counter()
    model = load(chosen.model, device="cpu")
    results = {}
    for spec, last in zip(chosen.data, chosen.last, strict=True):
        whole = open_dataset(spec)
        dataset = Subset(whole, range(max(0, len(whole) - last), len(whole)))
        results[dataset.name] = measured(*read_maps(model, dataset, chosen.flip), model.config)
    text = table(results)
    print(text)
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_text(chosen.out / "decoding.md", text)
    write_json(
        chosen.out / "decoding.json",
        {
            "command": "python benchmarks/studies/decoding.py " + " ".join(sys.argv[1:]),
            "model": chosen.model,
            "seconds": round(time.perf_counter() - started, 1),
            "versions": versions(),
            "results": results,
        },
    )
    print(f"wrote {chosen.out / 'decoding.md'} and decoding.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
