"""The pictures of a run: curves over its steps, and the first batch as the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import Batch
from cpm_fast.data.scenes.loader import SceneBatch
from cpm_fast.evaluation.curves import chart_text
from cpm_fast.results.drawing import belief_overlay, write_picture
from cpm_fast.system.files import atomic_write
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.targets.finding import FinderTargets
from cpm_fast.training.targets.loss import Targets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES_FILE, BATCH_FILE = "curves.png", "batch0.png"
MOSAIC_COLUMNS, MOSAIC_ROWS = 6, 3


def curve_figure() -> tuple[Figure, Axes, Axes]:
    """Return an empty figure with axes for the training loss, left, and for validation scores, right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, score = figure.subplots(1, 2)
    loss.set(xlabel="step", ylabel="loss per sample (Eq. 4)", title="training", yscale="log")
    score.set(xlabel="step", ylabel="PCK@0.2 (%)", title="validation")
    return figure, loss, score


def write_curves(figure: Figure, path: Path) -> None:
    """Add grid and legend to the axes, and write the figure as a PNG."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)


def draw_curves(metrics: MetricsLog, path: Path) -> None:
    """Draw loss and validation PCK of every stage over the steps."""
    rows = list(metrics.rows())
    losses = [row for row in rows if "losses" in row]
    scores = [row for row in rows if "pck" in row]
    figure, left, right = curve_figure()
    for stage in range(len(losses[0]["losses"]) if losses else 0):
        values = [np.nan if row["losses"][stage] is None else row["losses"][stage] for row in losses]
        left.plot([row["step"] for row in losses], values, label=f"stage {stage + 1}")
    for name in dict.fromkeys(row["data"] for row in scores):
        of_name = [row for row in scores if row["data"] == name]
        for stage in range(len(of_name[0]["pck"])):
            points = [100 * row["pck"][stage] for row in of_name]
            right.plot(
                [row["step"] for row in of_name],
                points,
                marker=".",
                label=f"stage {stage + 1}, {chart_text(name)}",
            )
    found = [row for row in rows if "recall" in row]
    for name in dict.fromkeys(row["data"] for row in found):
        of_name = [row for row in found if row["data"] == name]
        right.set(ylabel="% and regions")
        right.plot(
            [row["step"] for row in of_name],
            [100 * row["recall"] for row in of_name],
            marker=".",
            label=f"recall (%), {chart_text(name)}",
        )
        right.plot(
            [row["step"] for row in of_name],
            [row["false_per_picture"] for row in of_name],
            marker=".",
            label=f"false per picture, {chart_text(name)}",
        )
    write_curves(figure, path)


def draw_batch(batch: Batch | SceneBatch, targets: Targets | FinderTargets, network: NetworkConfig, path: Path) -> None:
    """Draw the first batch as the network's input: crops above the subject's targets, the center marked."""
    tiles = []
    for crop, target, center in zip(batch.crops, targets.shown, batch.center_box, strict=False):
        picture = crop.cpu().numpy()
        overlaid = belief_overlay(picture, target.cpu().numpy(), network.cell_offset)
        if network.center_map:
            x, y = (round(float(value)) for value in center)
            cv2.drawMarker(overlaid, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 12, 1, cv2.LINE_AA)
        tiles.append(np.concatenate([picture, overlaid]))
        if len(tiles) == MOSAIC_COLUMNS * MOSAIC_ROWS:
            break
    while len(tiles) % MOSAIC_COLUMNS:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.concatenate(tiles[i : i + MOSAIC_COLUMNS], axis=1) for i in range(0, len(tiles), MOSAIC_COLUMNS)]
    write_picture(np.concatenate(rows), path)
