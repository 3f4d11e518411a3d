"""Verdicts on the paper's claims, a table and a picture, from the results of claims.py.

Two networks are compared sample by sample: the difference of their shares of found parts, its mean and standard error.
A difference counts if it is at least two standard errors; below that the claim is not decided. Each network is trained
once, so the error covers other figures, but not other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.system.files import atomic_write
from cpm_fast.training.diagnostics import LOG10_EDGES, typical_magnitude

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
STANDARD_ERRORS = 2.0
# Without intermediate supervision, the first layer's gradient over the last's must be smaller by this factor.
VANISHED = 2.0
EARLY_SHARE = 0.2
FIRST_LAYER, LAST_STAGE = "trunk1_block1_conv1", "stage{}_beliefs"
# Figure 4 saturates at 250 of 304 px; half of the gain below that must be more than the gain beyond it.
SATURATION_SHARE = 250 / 304
Run = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper, whether it holds here, and on what grounds."""

    claim: str
    verdict: str
    grounds: str


def scores(run: Run) -> np.ndarray:
    """Return PCK@0.2 of every stage, the mean of the samples' shares: [T]."""
    return np.array(run["hits"]).mean(axis=1)


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard error of a - b over samples."""
    apart = np.array(a) - np.array(b)
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))


def more(a: Sequence[float], b: Sequence[float]) -> tuple[str, str]:
    """Return whether a is more than b, and the difference in words."""
    mean, error = difference(a, b)
    bound = STANDARD_ERRORS * error
    verdict = HOLDS if mean > bound else FAILS if mean < -bound else OPEN
    return verdict, f"{100 * mean:+.1f} ± {100 * bound:.1f} points"


def verdicts(found: dict[str, list[Run]], box: int) -> list[Verdict]:
    """Return the verdicts that the groups that were run allow."""
    given: list[Verdict] = []
    if "schemes" in found:
        given += scheme_verdicts(found["schemes"])
    if "stages" in found:
        given += stage_verdicts(found["stages"][0])
    if "field" in found:
        given += field_verdicts(found["field"], box)
    return given


def scheme_verdicts(runs: list[Run]) -> list[Verdict]:
    by_name = {run["name"]: run for run in runs}
    joint = by_name["joint"]
    given = []
    for name, words in (
        ("stagewise", "stage-wise training"),
        ("stagewise_then_joint", "stage-wise, then joint"),
        ("final_only", "joint training without intermediate supervision"),
    ):
        verdict, apart = more(joint["hits"][-1], by_name[name]["hits"][-1])
        given.append(
            Verdict(
                f"Figure 6b: joint training with intermediate supervision beats {words}", verdict, f"last stage {apart}"
            )
        )
    with_losses, without = (depth_ratio(by_name[name]) for name in ("joint", "final_only"))
    shrunk = with_losses / without
    verdict = HOLDS if shrunk > VANISHED else FAILS if shrunk < 1 / VANISHED else OPEN
    given.append(
        Verdict(
            "Figure 5: without intermediate supervision gradients vanish towards the input",
            verdict,
            f"median gradient of the first layer over the last stage's beliefs, early: {with_losses:.2g} with, "
            f"{without:.2g} without (a factor of {VANISHED:g} counts)",
        )
    )
    return given


def depth_ratio(run: Run) -> float:
    """Return the first layer's median gradient over that of the last beliefs, geometric mean of the first steps."""
    last = LAST_STAGE.format(len(run["hits"]))
    early = run["gradients"][: max(1, round(EARLY_SHARE * len(run["gradients"])))]
    ratios = [
        np.log(typical_magnitude(np.array(row["layers"][FIRST_LAYER])))
        - np.log(typical_magnitude(np.array(row["layers"][last])))
        for row in early
    ]
    return float(np.exp(np.mean(ratios)))


def stage_verdicts(run: Run) -> list[Verdict]:
    hits = run["hits"]
    rises = [more(later, earlier) for earlier, later in pairwise(hits[:5])]
    found = {verdict for verdict, _ in rises}
    verdict = FAILS if FAILS in found else HOLDS if found == {HOLDS} else OPEN
    grounds = ", ".join(f"{t} to {t + 1}: {apart}" for t, (_, apart) in enumerate(rises, 1))
    mean, _ = difference(hits[5], hits[4])
    before, _ = difference(hits[4], hits[0])
    flat = HOLDS if mean < before / 4 else FAILS
    return [
        Verdict("Figure 6c: accuracy rises with every stage up to the fifth", verdict, grounds),
        Verdict(
            "Figure 6c: the sixth stage adds little (less than the mean of the four steps before)",
            flat,
            f"5 to 6: {more(hits[5], hits[4])[1]}",
        ),
    ]


def field_verdicts(runs: list[Run], box: int) -> list[Verdict]:
    runs = sorted(runs, key=lambda run: run["fields"][-1])
    edge = SATURATION_SHARE * box
    middle = min(runs, key=lambda run: abs(run["fields"][-1] - edge))
    rises, gain = more(middle["hits"][-1], runs[0]["hits"][-1])
    below, _ = difference(middle["hits"][-1], runs[0]["hits"][-1])
    beyond, _ = difference(runs[-1]["hits"][-1], middle["hits"][-1])
    names = [run["name"] for run in (runs[0], middle, runs[-1])]
    return [
        Verdict("Figure 4: accuracy rises with the receptive field", rises, f"{names[0]} to {names[1]}: {gain}"),
        Verdict(
            f"Figure 4: it saturates at about {edge:.0f} px (250 of the paper's 304, scaled to this box)",
            HOLDS if beyond < below / 2 else FAILS,
            f"{names[1]} to {names[2]}: {more(runs[-1]['hits'][-1], middle['hits'][-1])[1]}",
        ),
    ]


def table(found: dict[str, list[Run]], given: Sequence[Verdict]) -> str:
    """Return Markdown: the verdicts, then PCK of every run and stage."""
    lines = ["| claim | here | grounds |", "|---|---|---|"]
    lines += [f"| {one.claim} | {one.verdict} | {one.grounds} |" for one in given]
    lines += [
        "",
        "| group | run | steps | parameters | field px | PCK@0.2 of the stages, % |",
        "|---|---|---|---|---|---|",
    ]
    for group, runs in found.items():
        for run in runs:
            pck = ", ".join(f"{100 * value:.1f}" for value in scores(run))
            lines.append(
                f"| {group} | {run['name']} | {run['steps']} | {run['parameters']:,} | {run['fields'][-1]} | {pck} |"
            )
    return "\n".join(lines) + "\n"


def draw(found: dict[str, list[Run]], path: Path) -> None:
    """Draw figures 6b, 5, 6c and 4 from these runs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1, 1.3])
    top, bottom = halves
    panels = {"schemes": _draw_schemes, "stages": _draw_stages, "field": _draw_field}
    drawn = [group for group in panels if found.get(group)]
    for axes, group in zip(top.subplots(1, len(drawn), squeeze=False)[0] if drawn else (), drawn, strict=True):
        panels[group](axes, found[group])
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    _draw_gradients(bottom, {run["name"]: run for run in found.get("schemes", [])})
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _draw_schemes(axes: Any, runs: list[Run]) -> None:
    for run in runs:
        steps = [step for step, _ in run["curve"]]
        axes.plot(steps, [100 * pck[-1] for _, pck in run["curve"]], marker=".", label=run["name"])
    axes.set(title="Figure 6b: training schemes", xlabel="step", ylabel="PCK@0.2 of the last stage (%)")


def _draw_stages(axes: Any, runs: list[Run]) -> None:
    for run in runs:
        axes.plot(range(1, len(run["hits"]) + 1), 100 * scores(run), marker="o", label=run["name"])
    axes.set(title="Figure 6c: stages of one network", xlabel="stage", ylabel="PCK@0.2 (%)")


def _draw_field(axes: Any, runs: list[Run]) -> None:
    runs = sorted(runs, key=lambda run: run["fields"][-1])
    for stage in range(2):
        heights = [100 * scores(run)[stage] for run in runs]
        axes.plot([run["fields"][-1] for run in runs], heights, marker="o", label=f"stage {stage + 1}")
    axes.set(title="Figure 4: receptive field of stage 2", xlabel="pixels of the box", ylabel="PCK@0.2 (%)")


def _draw_gradients(figure: Any, runs: dict[str, Run]) -> None:
    """Draw histograms of three layers, input to output, in three thirds of the training, with and without losses."""
    if not {"joint", "final_only"} <= runs.keys():
        return
    last = LAST_STAGE.format(len(runs["joint"]["hits"]))
    layers = (FIRST_LAYER, LAST_STAGE.format(1), last)
    figure.suptitle("Figure 5: gradient magnitudes, from the input (above) to the output (below)", fontsize="medium")
    grid = figure.subplots(len(layers), 3, sharex=True)
    middles = (LOG10_EDGES[1:] + LOG10_EDGES[:-1]) / 2
    for name, label in (("joint", "with intermediate supervision"), ("final_only", "without")):
        thirds = np.array_split(np.arange(len(runs[name]["gradients"])), 3)
        for row, layer in enumerate(layers):
            for column, third in enumerate(thirds):
                counts = sum(
                    (np.array(runs[name]["gradients"][i]["layers"][layer]) for i in third), np.zeros(len(middles))
                )
                axes = grid[row, column]
                axes.plot(middles, counts / max(counts.sum(), 1), label=label)
                axes.set_title(f"{layer}, third {column + 1} of the steps", fontsize="small")
    grid[0, 0].legend(fontsize="small")
    for axes in grid[-1]:
        axes.set_xlabel("log10 of the magnitude")
