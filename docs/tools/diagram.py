"""Boxes, arrows and labels on a matplotlib canvas, written as a reproducible SVG file."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, PALE_INK = "#263238", "#607d8b"
BLUE, ORANGE, GREEN, GRAY = "#bbdefb", "#ffe0b2", "#c8e6c9", "#eceff1"
TEXT_PT = 10


class Diagram:
    """A white canvas with one unit per centimeter and the origin at the lower left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / 2.54, height / 2.54))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(
        self, x: float, y: float, width: float, height: float, text: str, color: str = GRAY, size: float = 0
    ) -> None:
        """Draw a rounded box whose lower left corner is at (x, y), with its text in the middle."""
        shape = "round,pad=0,rounding_size=0.15"
        patch = FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=color, edgecolor=INK, linewidth=0.9)
        self.axes.add_patch(patch)
        self.text(x + width / 2, y + height / 2, text, size=size)

    def text(self, x: float, y: float, text: str, *, size: float = 0, color: str = INK, align: str = "center") -> None:
        """Write a text about the point (x, y), or to the right of it with align "left"."""
        self.axes.text(x, y, text, ha=align, va="center", fontsize=size or TEXT_PT, color=color, linespacing=1.35)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], corner: str = "arc3,rad=0") -> None:
        """Draw an arrow; corner is matplotlib's connection style."""
        self.axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                color=PALE_INK,
                connectionstyle=corner,
                shrinkA=0,
                shrinkB=1,
                linewidth=1.1,
            )
        )

    def line(self, *points: tuple[float, float]) -> None:
        """Draw a line through points, without a head."""
        self.axes.plot(*zip(*points, strict=True), color=PALE_INK, linewidth=1.1, solid_capstyle="round")

    def write(self, path: Path) -> Path:
        """Write the drawing as SVG, the same bytes every time, with text as paths so that it needs no font."""
        with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "cpm_fast"}):
            FigureCanvasSVG(self.figure).print_svg(str(path), metadata={"Date": None, "Creator": None})
        return path
