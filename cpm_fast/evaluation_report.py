"""What an evaluation found: a table to print, numbers to keep, a curve to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.files import atomic_write
from cpm_fast.metrics import CURVE_THRESHOLDS, Score, curve

TABLE_WIDTH = 120
TORSO_REFERENCE = "|left_shoulder - right_hip| of the truth"
BOX_REFERENCE = "the longer side of the box about the labelled parts"
# What a sample lacks that has no reference length.
LACKING = {TORSO_REFERENCE: "left_shoulder or right_hip", BOX_REFERENCE: "two distinct labelled parts"}
PROTOCOLS = {
    "crop": "crop: each sample's own region; where it comes from the annotation, the truth gives center and scale",
    "lsp": "lsp: about the image's center, image height to 294.4 px of a 368 px box; the truth is not used",
    "predictions": "predictions as they were given",
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found of a dataset, stage by stage.

    Args:
        dataset: its name.
        protocol: a key of `PROTOCOLS`: where the regions came from.
        pyramid: factors on the magnification that were averaged.
        names: the P parts that were scored; those that network and dataset share.
        unscored: parts of the dataset that were not.
        stages: PCK of every stage, T of them.
        areas: area under each stage's curve, thresholds 0 to 0.2.
        reference: what the errors were measured against.
        unreadable: how many samples could not be read; they are in no array.
        samples: names of the M others.
        indices: [M] where they stand in the dataset.
        predictions: [T, M, P, 2] image pixels.
        truth: [M, P, 2] image pixels, NaN where not labelled.
        reference_length: [M] image pixels, NaN where there is none.
    """

    dataset: str
    protocol: str
    pyramid: tuple[float, ...]
    names: tuple[str, ...]
    unscored: tuple[str, ...]
    stages: tuple[Score, ...]
    areas: tuple[float, ...]
    reference: str
    unreadable: int
    samples: tuple[str, ...]
    indices: np.ndarray
    predictions: np.ndarray
    truth: np.ndarray
    reference_length: np.ndarray

    def curves(self) -> np.ndarray:
        """PCK of every stage at `metrics.CURVE_THRESHOLDS`: [T, K] fractions."""
        return np.array([curve(stage, self.truth, self.reference_length) for stage in self.predictions])

    def table(self) -> str:
        """One row a stage in percent: mean, area under the curve, every part; then what was counted, and how."""
        last = self.stages[-1]
        lines = [f"PCK@{last.threshold:g} of {self.dataset}, percent; error over {self.reference}"]
        columns = [("mean", [score.mean for score in self.stages]), ("AUC", list(self.areas))]
        columns += [(name, [score.per_part[i] for score in self.stages]) for i, name in enumerate(self.names)]
        lines += _blocks(columns)
        lines.append(
            PROTOCOLS[self.protocol] + (f"; pyramid {_numbers(self.pyramid)}" if len(self.pyramid) > 1 else "")
        )
        lines.append(f"counted: {last.samples} samples, {int(last.counts.sum())} labelled parts")
        if last.left_out:
            lines.append(f"left out: {last.left_out} of {len(self.samples)} without {LACKING[self.reference]}")
        if self.unreadable:
            lines.append(f"unreadable: {self.unreadable} of {len(self.samples) + self.unreadable}")
        if self.unscored:
            lines.append(f"not scored, the network has no such part: {', '.join(self.unscored)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Scores, curves and counts as plain numbers, fractions, None for NaN; no predictions."""
        return {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "pyramid": list(self.pyramid),
            "reference": self.reference,
            "names": list(self.names),
            "unscored": list(self.unscored),
            "samples": len(self.samples),
            "unreadable": self.unreadable,
            "curve_thresholds": list(CURVE_THRESHOLDS),
            "stages": [
                {
                    "threshold": score.threshold,
                    "mean": _plain(score.mean),
                    "area_under_curve": _plain(area),
                    "per_part": [_plain(value) for value in score.per_part],
                    "counts": score.counts.tolist(),
                    "samples": score.samples,
                    "left_out": score.left_out,
                    "curve": [_plain(value) for value in heights],
                }
                for score, area, heights in zip(self.stages, self.areas, self.curves(), strict=True)
            ],
        }

    def save_curve(self, path: str | Path) -> None:
        """Draw PCK over the threshold, one line a stage, as a PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for stage, (heights, area) in enumerate(zip(self.curves(), self.areas, strict=True), 1):
            axes.plot(CURVE_THRESHOLDS, 100 * heights, label=f"stage {stage}, AUC {100 * area:.1f}")
        axes.set(xlabel=f"threshold, of {self.reference}", ylabel="PCK (%)", title=self.dataset)
        axes.set(xlim=(0, CURVE_THRESHOLDS[-1]), ylim=(0, 100))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", fontsize="small")
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=120)


def _blocks(columns: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    """Columns of percentages under names of one or two lines, in as many blocks as the width asks for."""
    rows = [f"stage {stage}" for stage in range(1, len(columns[0][1]) + 1)]
    margin = max(len(row) for row in rows)
    cells = [_column(name, values) for name, values in columns]
    blocks: list[list[list[str]]] = []
    block: list[list[str]] = []
    used = margin
    for cell in cells:
        if block and used + len(cell[0]) > TABLE_WIDTH:
            blocks.append(block)
            block, used = [], margin
        block.append(cell)
        used += len(cell[0])
    blocks.append(block)
    labels = [" " * margin] * 2 + [row.ljust(margin) for row in rows]
    return [
        (label + "".join(cell[line] for cell in block)).rstrip()
        for block in blocks
        for line, label in enumerate(labels)
    ]


def _column(name: str, values: Sequence[float]) -> list[str]:
    """Two lines of head and one a value, all of one width."""
    first, _, second = name.replace(" ", "_").rpartition("_")
    texts = [first, second, *("-" if math.isnan(value) else f"{100 * value:.1f}" for value in values)]
    width = 1 + max(len("100.0"), *(len(text) for text in texts))
    return [text.rjust(width) for text in texts]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
