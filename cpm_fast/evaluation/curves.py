"""Curves of scores over the threshold, as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from cpm_fast.evaluation.rule import PIXEL, Rule
from cpm_fast.system.files import text_of_name

DPI = 110
# More curves than this can't be told apart by their colors.
MOST_CURVES = 20


def score_curves(rule: Rule, lines: Mapping[str, np.ndarray], title: str) -> bytes:
    """Write a PNG file with a line per label: fractions at the thresholds of the rule's curve."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = colormaps["tab20" if len(lines) > 10 else "tab10"]
    thresholds = rule.curve
    for number, (label, heights) in enumerate(lines.items()):
        axes.plot(thresholds, 100 * heights, label=chart_text(label), color=colors(number % MOST_CURVES), linewidth=1.6)
    axes.axvline(rule.threshold or 0.0, color="0.6", linewidth=0.8, linestyle="--")
    unit = "image pixels" if rule.reference == PIXEL else f"of {rule.over}"
    axes.set(xlabel=f"threshold, {unit}", ylabel="found (%)", title=chart_text(title))
    axes.set(xlim=(0, thresholds[-1]), ylim=(0, 100))
    axes.grid(alpha=0.3)
    if len(lines) <= MOST_CURVES:
        axes.legend(loc="best", fontsize="small", ncols=1 if len(lines) <= 8 else 2)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def chart_text(text: str) -> str:
    """Escape a text for Matplotlib, which reads text between dollars as mathematics, and refuses what is not UTF-8.

    Matplotlib leaves lines whose names begin with an underscore out of a legend; a space before it keeps them.
    """
    escaped = text_of_name(text).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
