"""What a run writes for people: metrics.jsonl, curves.png, batch0.png, and config.json with versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import Batch
from cpm_fast.evaluation.curves import plain
from cpm_fast.results.drawing import belief_overlay, write_picture
from cpm_fast.system.files import atomic_write, parse_json
from cpm_fast.training.loss import Targets

CONFIG_FILE, METRICS_FILE, CURVES_FILE, BATCH_FILE = "config.json", "metrics.jsonl", "curves.png", "batch0.png"
START_FILE = "start.txt"
MOSAIC_COLUMNS, MOSAIC_ROWS = 6, 3
PACKAGES = ("cpm_fast", "torch", "numpy", "opencv-python", "safetensors")


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_json(path: Path, values: Any) -> None:
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


class Metrics:
    """metrics.jsonl: one JSON object a line, each with its step; a torn last line (a kill) is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int, validated: int | None = None) -> None:
        """Keep what was written up to a step, and scores up to the step validated: a resumed run writes the rest."""
        last_scores = step if validated is None else validated
        kept = [row for row in self.rows() if row["step"] <= (last_scores if "pck" in row else step)]
        with atomic_write(self.path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in kept).encode())

    def write(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                return
            if not isinstance(row, dict) or "step" not in row:
                return
            yield row


def draw_curves(metrics: Metrics, path: Path) -> None:
    """Loss and validation PCK of every stage over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(metrics.rows())
    losses = [row for row in rows if "losses" in row]
    scores = [row for row in rows if "pck" in row]
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for stage in range(len(losses[0]["losses"]) if losses else 0):
        values = [np.nan if row["losses"][stage] is None else row["losses"][stage] for row in losses]
        left.plot([row["step"] for row in losses], values, label=f"stage {stage + 1}")
    for name in dict.fromkeys(row["data"] for row in scores):
        of_name = [row for row in scores if row["data"] == name]
        for stage in range(len(of_name[0]["pck"])):
            points = [100 * row["pck"][stage] for row in of_name]
            right.plot([row["step"] for row in of_name], points, marker=".", label=f"stage {stage + 1}, {plain(name)}")
    left.set(xlabel="step", ylabel="loss a sample (Eq. 4)", title="training", yscale="log")
    right.set(xlabel="step", ylabel="PCK@0.2 (%)", title="validation")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)


def draw_batch(batch: Batch, targets: Targets, network: NetworkConfig, path: Path) -> None:
    """The first batch as the network gets it: crops above the subject's targets, the center marked."""
    tiles = []
    for crop, target, center in zip(batch.crops, targets.subject, batch.center_box, strict=False):
        picture = crop.cpu().numpy()
        heat = target[: network.parts].amax(dim=0).cpu().numpy()
        overlaid = belief_overlay(picture, heat, network.cell_offset)
        x, y = (round(float(value)) for value in center)
        cv2.drawMarker(overlaid, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 12, 1, cv2.LINE_AA)
        tiles.append(np.concatenate([picture, overlaid]))
        if len(tiles) == MOSAIC_COLUMNS * MOSAIC_ROWS:
            break
    while len(tiles) % MOSAIC_COLUMNS:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.concatenate(tiles[i : i + MOSAIC_COLUMNS], axis=1) for i in range(0, len(tiles), MOSAIC_COLUMNS)]
    write_picture(np.concatenate(rows), path)
