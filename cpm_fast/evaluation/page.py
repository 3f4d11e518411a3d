"""A self-contained HTML page about an evaluation, with its pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from cpm_fast.data.sample import Dataset
from cpm_fast.evaluation.outcome import OBSERVED, PROTOCOLS, Evaluation
from cpm_fast.evaluation.pictures import (
    part_curves,
    read_again,
    strip,
    truth_and_prediction,
    wrong_parts,
)
from cpm_fast.evaluation.rule import OBSERVER
from cpm_fast.model.cpm import CPM

WORST = 12
# Samples whose stages are shown, as shares of the way from the worst to the best.
STRIP_PLACES = (0.0, 0.5, 1.0)
SHOWN_PARTS = 4
JPEG_QUALITY = 88
# Colors of cells, from none found to all found.
COLD, WARM = (250, 225, 222), (214, 240, 220)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1e222a; background: #fff; max-width: 1080px; margin: 2em auto;
       padding: 0 1.2em }
h1 { font-size: 1.5em; margin-bottom: 0.1em } h2 { font-size: 1.15em; margin: 2em 0 0.6em }
.lead { color: #59606c; margin-top: 0 }
.figures { display: flex; flex-wrap: wrap; gap: 1em; margin: 1.4em 0 }
.figures div { background: #f4f6f9; border-radius: 8px; padding: 0.7em 1.2em; min-width: 7em }
.figures b { display: block; font-size: 1.7em; line-height: 1.2 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 0.22em 0.7em; text-align: right; border-bottom: 1px solid #e4e7ec } th { font-weight: 600 }
th:first-child, td:first-child { text-align: left }
.wide { overflow-x: auto }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1em }
figure { margin: 0 } figure img { width: 100%; border-radius: 4px } figcaption { font-size: 0.85em; color: #59606c }
.curves { display: flex; flex-wrap: wrap; gap: 1em } .curves img { max-width: 520px; width: 100% }
ul { padding-left: 1.2em; color: #59606c }
"""


def report_page(found: Evaluation, dataset: Dataset, model: CPM | None = None, extra: Sequence[str] = ()) -> bytes:
    """Return the page as the bytes of an HTML file.

    Args:
        found: the findings to report.
        dataset: of the samples; those that are shown are read again.
        model: the network, for strips of its stages; None for predictions from elsewhere.
        extra: paragraphs of text that follow the tables, for instance average precision.
    """
    last = found.stages[-1]
    title = f"{found.rule.title} of {found.dataset}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(found.source)}</p>',
        _figures(found),
        "<h2>Stages</h2>",
        _stage_table(found),
        *(f"<pre>{escape(text)}</pre>" for text in extra),
        "<h2>Curves</h2>",
        f'<div class="curves">{_png(found.curve_picture(), "curves of the stages")}'
        f"{_png(part_curves(found), 'curves of the parts')}</div>",
        "<h2>Parts</h2>",
        _part_table(found),
        *_worst(found, dataset),
        *(_strips(found, dataset, model) if model is not None else ()),
        "<h2>How it was counted</h2>",
        _notes(found),
    ]
    if not last.samples:
        body.insert(2, "<p>No sample has a reference length: nothing could be scored.</p>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"
    # Paths are shown in it, and may be no text.
    return page.encode(errors="backslashreplace")


def _figures(found: Evaluation) -> str:
    last = found.stages[-1]
    distances = found.errors[-1][np.isfinite(found.errors[-1])]
    median = f"{np.median(distances):.1f} px" if len(distances) else "-"
    values = [
        (_percent_text(last.mean), found.rule.title),
        (_percent_text(found.areas[-1]), "area below the curve"),
        (median, "median error"),
        (str(last.samples), "samples"),
        (str(int(last.counts.sum())), "labeled parts"),
    ]
    cells = "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for value, name in values)
    return f'<div class="figures">{cells}</div>'


def _stage_table(found: Evaluation) -> str:
    groups = list(found.groups())
    rows = []
    for stage, (score, area) in enumerate(zip(found.stages, found.areas, strict=True)):
        distances = found.errors[stage][np.isfinite(found.errors[stage])]
        mean = f"{distances.mean():.1f}" if len(distances) else "-"
        shares = [score.mean, area, *found.group_means(score)]
        rows.append([f"stage {stage + 1}", *map(_cell, shares), f"<td>{mean}</td>"])
    return _table(["", "mean", "AUC", *groups, "mean error px"], rows)


def _part_table(found: Evaluation) -> str:
    rows = []
    last = found.stages[-1]
    for part, name in enumerate(found.names):
        distances = found.errors[-1][:, part]
        distances = distances[np.isfinite(distances)]
        numbers = [f"{distances.mean():.1f}", f"{np.median(distances):.1f}"] if len(distances) else ["-", "-"]
        shares = [_cell(score.per_part[part]) for score in found.stages]
        counted = [f"<td>{number}</td>" for number in (*numbers, last.counts[part])]
        rows.append([name.replace("_", " "), *shares, *counted])
    stages = [f"stage {stage}" for stage in range(1, len(found.stages) + 1)]
    return _table(["part", *stages, "mean error px", "median px", "labeled"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; each row has a name and cells that are HTML already."""
    top = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in head)
    lines = [f"<tr><td>{escape(row[0])}</td>{''.join(row[1:])}</tr>" for row in rows]
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def _cell(share: float) -> str:
    if math.isnan(share):
        return "<td>-</td>"
    color = ",".join(str(round(cold + (warm - cold) * share)) for cold, warm in zip(COLD, WARM, strict=True))
    return f'<td style="background:rgb({color})">{100 * share:.1f}</td>'


def _worst(found: Evaluation, dataset: Dataset) -> list[str]:
    figures = []
    for number in found.worst(WORST):
        sample = read_again(found, dataset, number)
        if sample is None:
            continue
        wrong = wrong_parts(found, number)
        counted = int(np.isfinite(found.truth[number]).all(axis=1).sum())
        named = ", ".join(found.names[part].replace("_", " ") for part in wrong[:SHOWN_PARTS])
        more = f" and {len(wrong) - SHOWN_PARTS} more" if len(wrong) > SHOWN_PARTS else ""
        text = f"{found.samples[number]}: {counted - len(wrong)} of {counted} found" + (
            f"; farthest off: {named}{more}" if wrong else ""
        )
        figures.append(_figure(_jpeg(truth_and_prediction(found, number, sample)), text))
    if not figures:
        return []
    note = "Truth on the left, the last stage on the right; red lines lead to where a wrong part should be."
    return ["<h2>Worst samples</h2>", f"<p>{note}</p>", f'<div class="grid">{"".join(figures)}</div>']


def _strips(found: Evaluation, dataset: Dataset, model: CPM) -> list[str]:
    ranked = found.worst(len(found.samples))
    chosen = dict.fromkeys(ranked[round(place * (len(ranked) - 1))] for place in STRIP_PLACES) if ranked else {}
    figures = []
    for number in chosen:
        sample = read_again(found, dataset, number)
        if sample is not None:
            place = f"{ranked.index(number) + 1} of {len(ranked)} from the worst"
            figures.append(_figure(_jpeg(strip(found, number, sample, model)), f"{found.samples[number]}, {place}"))
    if not figures:
        return []
    note = "The belief of each stage, at one scale: all parts, then the part that is farthest off where one is wrong."
    return ["<h2>Stages at work</h2>", f"<p>{note}</p>", *figures]


def _notes(found: Evaluation) -> str:
    last = found.stages[-1]
    notes = [
        f"A part is found where its error is at most {found.rule.threshold:g} times {found.reference}; the comparison "
        "is not strict, and means are over all labeled parts.",
        PROTOCOLS[found.protocol] + (f"; pyramid {', '.join(map(str, found.pyramid))}" if found.pyramid else ""),
        f"AUC: the area below the curve from 0 to {found.rule.curve[-1]:g}, trapezoid rule, over its range.",
    ]
    left_out = [name for name, counts in zip(found.names, found.rule.in_mean(found.names), strict=True) if not counts]
    if left_out:
        notes.append(f"Without a share in the mean: {', '.join(left_out)}.")
    if found.rule.centric == OBSERVER:
        notes.append(OBSERVED)
    if last.left_out:
        notes.append(f"Left out: {last.left_out} of {len(found.samples)} samples without {found.rule.lacking}.")
    if found.unreadable:
        notes.append(f"Unreadable: {found.unreadable} of {len(found.samples) + found.unreadable} samples.")
    if found.unscored:
        notes.append(f"Not scored, as there is no prediction of them: {', '.join(found.unscored)}.")
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _figure(image: str, caption: str) -> str:
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _png(data: bytes, what: str) -> str:
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def _jpeg(picture: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'


def _percent_text(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
