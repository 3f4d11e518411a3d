"""A picture of measured cases: one panel per case, one bar per contestant, whose length is the median time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from cpm_fast.system.files import atomic_write

COLUMNS = 2
OURS, THEIRS, ABSENT = "#c8553d", "#8a9ba8", "#b0b0b0"
PANEL_INCHES, BAR_INCHES, HEAD_INCHES = 6.5, 0.26, 0.75


def draw(path: Path, record: dict[str, Any]) -> None:
    """Write a PNG. Whiskers go from the 10th to the 90th percentile; the reason stands in place of a missing time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = record["results"]
    columns = min(COLUMNS, len(results))
    panels = [results[first : first + columns] for first in range(0, len(results), columns)]
    heights = [max(len(result["rows"]) for result in row) * BAR_INCHES + HEAD_INCHES for row in panels]
    figure = Figure(figsize=(PANEL_INCHES * columns, sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    hardware = record["hardware"]
    place = hardware["gpu"] if any(result["device"] == "cuda" for result in results) else hardware["cpu"]
    figure.suptitle(f"{', '.join(record['suites'])}: {place}, {record['threads']} threads, {record['date'][:10]}")
    axes = figure.subplots(len(panels), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, line in zip(panels, axes, strict=True):
        for axis in line[len(row) :]:
            axis.set_visible(False)
        for result, axis in zip(row, line, strict=False):
            panel(axis, result)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    with atomic_write(path) as file:
        file.write(image.getvalue())


def panel(axis: Any, result: dict[str, Any]) -> None:
    rows = result["rows"]
    longest = max((row["p90_s"] for row in rows if "median_s" in row), default=1e-3)
    unit, factor = ("s", 1) if longest >= 1 else ("ms", 1e3)
    for place, row in enumerate(rows):
        if "median_s" not in row:
            why = row.get("skipped") or row.get("failed") or f"WRONG, error {row['error']:.0e}"
            axis.text(0, place, f" {why[:75]}", va="center", fontsize=7, color=ABSENT if "skipped" in row else OURS)
            continue
        median, low, high = (row[key] * factor for key in ("median_s", "p10_s", "p90_s"))
        color = OURS if place == 0 else THEIRS
        whiskers = [[max(0, median - low)], [max(0, high - median)]]
        axis.barh(place, median, color=color, xerr=whiskers, error_kw={"linewidth": 0.8, "capsize": 2})
        ratio = f"  {row['ratio']:.2f}x" if "ratio" in row and place else ""
        rate = f"  {row['images_per_s']:.3g} images/s" if "images_per_s" in row else ""
        axis.text(high, place, f" {median:.3g} {unit}{rate}{ratio}", va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    # Space for the figures after the longest bar.
    axis.set_xlim(0, longest * factor * 1.6)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(f"{result['case']}, {result['precision']} on {result['device']} [{unit}]", fontsize=8, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
