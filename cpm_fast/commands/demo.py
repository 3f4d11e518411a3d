"""`cpm-fast demo`: the bundled network on drawn figures, whose truth is known."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.evaluation import evaluate
from cpm_fast.inference import infer
from cpm_fast.model.crops import warp
from cpm_fast.results.drawing import write_picture
from cpm_fast.roi import Roi
from cpm_fast.system.output_folder import reserved
from cpm_fast.weights import DRAWN, load

# Figures that no training run draws: training takes seeds from 0 up.
DEMO_SEED = 987_654_321
SHOWN, COLUMNS, TILE_PX = 8, 4, 300
SHOWN_STAGES = 2
# A lower score means that the installation, not the network, is at fault.
FINE_PCK = 0.5


def run_demo(folder: Path, figures: int) -> bool:
    """Locate drawn figures, write pictures, and print PCK per stage; return whether the poses are right.

    Args:
        folder: for pictures and results.
        figures: number of figures to score, at least 1.
    """
    strips = [f"stages{number}.png" for number in range(min(SHOWN_STAGES, figures))]
    with reserved(folder, ["poses.png", *strips, "results.json", "results.csv"]):
        return _run(folder, figures, strips)


def _run(folder: Path, figures: int, strips: list[str]) -> bool:
    started = time.perf_counter()
    model = load(DRAWN, device="auto")
    data = DrawnFigures(figures, DEMO_SEED)
    shown = [data[i] for i in range(min(SHOWN, figures))]
    rois = [sample.region(model.config.margin) for sample in shown]
    results = infer([sample.image for sample in shown], model=model, rois=rois, belief_maps=True)
    tiles = [
        warp(result.plot(), _tile(roi).matrix((TILE_PX, TILE_PX)), (TILE_PX, TILE_PX), 128)
        for result, roi in zip(results, rois, strict=True)
    ]
    while len(tiles) % COLUMNS:
        tiles.append(np.full_like(tiles[0], 128))
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    write_picture(np.concatenate(rows), folder / "poses.png")
    for strip, result in zip(strips, results, strict=False):
        result.plot_stages(folder / strip)
    results.save(folder / "results.json")
    results.save(folder / "results.csv")
    score = evaluate(model, data)
    print(score.table())
    names = ["poses.png", *strips, "results.json", "results.csv"]
    print(f"wrote {', '.join(str(folder / name) for name in names)} in {time.perf_counter() - started:.1f} s")
    return score.stages[-1].mean >= FINE_PCK


def _tile(roi: Roi) -> Roi:
    """Cut the picture to a little less than the network's region, so that the figures are larger."""
    return roi.zoomed(1.1)
