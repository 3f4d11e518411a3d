"""`cpm-fast compare`: the differing settings, the scores and the curves of several runs, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpm_fast.evaluation.curves import chart_text
from cpm_fast.system.files import VALUE_ERRORS, parse_json
from cpm_fast.system.output_folder import reserved
from cpm_fast.system.words import in_short
from cpm_fast.training.folder import CONFIG_FILE
from cpm_fast.training.metrics_log import METRICS_FILE, MetricsLog
from cpm_fast.training.pictures import curve_figure, write_curves

ABSENT, PICTURE = "-", "compare.png"
# Fields of a validation's line: PCK of every stage of a pose network, and the recall of a finder.
MEASURES = {"pck": "PCK@0.2", "recall": "recall"}
LONGEST_CELL = 48


@dataclass(frozen=True)
class _RunRecord:
    """The content of a run's folder.

    Args:
        name: of the folder, or its path where names are equal.
        config: the content of config.json, flat: "training.epochs" -> value.
        losses: (step, loss of the last stage).
        scores: dataset and measure -> (step, fraction of the last stage), of the validations.
    """

    name: str
    config: dict[str, Any]
    losses: list[tuple[int, float]]
    scores: dict[tuple[str, str], list[tuple[int, float]]]


def compare_command(options: argparse.Namespace) -> bool:
    """Run the verb; return whether every run could be read."""
    folders = [Path(folder) for folder in options.runs]
    if len(folders) < 2:
        raise ValueError(f"compare must be given two runs or more, got {len(folders)}")
    runs = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    print(_table(["setting", *(run.name for run in runs)], _differences(runs) or [["(no difference)"]]))
    print()
    print(_table(["result", *(run.name for run in runs)], _results(runs)))
    output = Path(options.output)
    with reserved(output, [PICTURE]):
        _draw(runs, output / PICTURE)
    print(f"wrote {output / PICTURE}")
    return True


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, or their paths where names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _read(folder: Path, name: str) -> _RunRecord:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; compare takes folders of runs")
    try:
        config = dict(_flattened(parse_json(path.read_text(encoding="utf-8"))))
        rows = list(MetricsLog(folder / METRICS_FILE).rows())
        losses = [_point(row, "losses") for row in rows if "losses" in row and None not in row["losses"]]
        scores: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for row in rows:
            for field, measure in MEASURES.items():
                if field in row:
                    scores.setdefault((str(row["data"]), measure), []).append(_point(row, field))
    except VALUE_ERRORS as error:
        raise ValueError(f"{folder}: not the folder of a run: {in_short(error)}") from None
    return _RunRecord(name, config, losses, scores)


def _point(row: Mapping[str, Any], field: str) -> tuple[int, float]:
    """Return a line's step, and the value of its field, of the last stage where it has several."""
    value = row[field]
    return int(row["step"]), float(value[-1] if isinstance(value, list) else value)


def _flattened(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{start}{name}.")
        else:
            yield start + name, value


def _differences(runs: Sequence[_RunRecord]) -> list[list[str]]:
    keys = dict.fromkeys(key for run in runs for key in run.config)
    rows = [[key, *(str(run.config.get(key, ABSENT)) for run in runs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _results(runs: Sequence[_RunRecord]) -> list[list[str]]:
    rows = [["steps", *(str(run.losses[-1][0]) if run.losses else ABSENT for run in runs)]]
    rows.append(["last loss", *(f"{run.losses[-1][1]:.3f}" if run.losses else ABSENT for run in runs)])
    for data, measure in dict.fromkeys(key for run in runs for key in run.scores):
        last, best = [f"{data}: last {measure}"], [f"{data}: best {measure}, step"]
        for run in runs:
            points = run.scores.get((data, measure))
            last.append(f"{100 * points[-1][1]:.1f} %" if points else ABSENT)
            top = max(points, key=lambda point: point[1]) if points else None
            best.append(f"{100 * top[1]:.1f} %, {top[0]}" if top else ABSENT)
        rows += [last, best]
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[_short(cell) for cell in row] for row in (head, *rows)]
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 3] + "..."


def _draw(runs: Sequence[_RunRecord], path: Path) -> None:
    """Draw the last stage's loss, and its score of every validation set, over the steps."""
    figure, left, right = curve_figure()
    for number, run in enumerate(runs):
        color = f"C{number}"
        left.plot(*_columns(run.losses), color=color, label=chart_text(f"run {run.name}"))
        for (data, _), points in run.scores.items():
            steps, fractions = _columns(points)
            label = chart_text(f"run {run.name}, {data}")
            right.plot(steps, [100 * fraction for fraction in fractions], color=color, marker=".", label=label)
    measures = dict.fromkeys(measure for run in runs for _, measure in run.scores)
    left.set(ylabel="loss per sample, last stage")
    right.set(ylabel=f"{' or '.join(measures) or MEASURES['pck']} (%), last stage")
    write_curves(figure, path)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]
