"""Training in bfloat16 against float32: python benchmarks/studies/training_precision.py --data lsp/ --hold-out 200.

Two trainings from the same start, with the same seed and the same pictures, one in each precision. They run at the same
time, each on half of the processors, so their times are not compared. It writes the losses of the last stage and the
scores on the held-out samples to training-precision.json, and both curves to a PNG beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.record import about, write

PRECISIONS = ("fp32", "bf16")


def start(precision: str, options: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start one training in a new run folder; its output goes to a file beside the folder."""
    command = [sys.executable, "-m", "cpm_fast", "train", *options, "--precision", precision, "-o", str(folder)]
    threads = str(max(1, (os.cpu_count() or 1) // len(PRECISIONS)))
    with folder.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": threads}, stdout=log, stderr=subprocess.STDOUT, text=True
        )


def trained(options: list[str], folder: Path) -> dict[str, Any]:
    """Return the losses and scores of a training in each precision.

    Raises:
        SystemExit: a training failed; the message has the end of its output.
    """
    processes = {precision: start(precision, options, folder / precision) for precision in PRECISIONS}
    for precision, process in processes.items():
        if process.wait():
            output = (folder / precision).with_suffix(".log").read_text()
            raise SystemExit(f"the training in {precision} failed:\n{output[-2000:]}")
    return {precision: curve(folder / precision / "metrics.jsonl") for precision in PRECISIONS}


def curve(metrics: Path) -> dict[str, Any]:
    """Return the last stage's losses by step, and its PCK@0.2 in percent by step and dataset."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = [row for row in rows if "losses" in row]
    return {
        "steps": [row["step"] for row in losses],
        "losses": [row["losses"][-1] for row in losses],
        "pck": [
            {"step": row["step"], "data": row["data"], "samples": row["samples"], "value": 100 * row["pck"][-1]}
            for row in rows
            if "pck" in row
        ],
    }


def difference(results: dict[str, Any]) -> float:
    """Return the mean difference of the losses over the second half, bf16 less fp32, in percent of fp32's."""
    pairs = list(zip(results["fp32"]["losses"], results["bf16"]["losses"], strict=True))
    half = pairs[len(pairs) // 2 :]
    return 100 * sum(b - a for a, b in half) / sum(a for a, _ in half)


def draw(results: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for precision, line in zip(PRECISIONS, ("-", "--"), strict=True):
        axes.plot(results[precision]["steps"], results[precision]["losses"], line, label=precision, linewidth=1.2)
    axes.set(yscale="log", xlabel="step", ylabel="loss of the last stage", title="One training in two precisions")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the files are written."""
    parser = argparse.ArgumentParser(
        description="Training in bfloat16 against float32; all other options are those of cpm-fast train.",
    )
    default = Path("training-precision.json")
    parser.add_argument("--json", type=Path, default=default, metavar="FILE", help="(%(default)s)")
    chosen, options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = trained(options, Path(folder))
    percent = difference(results)
    given = sys.argv[1:] if arguments is None else arguments
    values = {
        **about(__file__, given),
        "loss_difference_percent": percent,
        "results": results,
    }
    write(chosen.json, values)
    draw(results, chosen.json.with_suffix(".png"))
    for precision in PRECISIONS:
        scores = [f"{each['data']} {each['value']:.1f} %" for each in results[precision]["pck"][-2:]]
        print(f"{precision}: {', '.join(scores)}")
    print(f"losses of bf16 against fp32 over the second half: {percent:+.2f} %; wrote {chosen.json}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
