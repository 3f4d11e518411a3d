"""Networks ranked at equal cost: ten of the same predicted milliseconds, trained for the same time.

python benchmarks/studies/candidates.py --list
python benchmarks/studies/candidates.py --data lsp/ --hold-out 200 --data lspet/ --hold-out 500 --minutes 45
    [--only "five stages" ...] [--recipe long] [--out runs/candidates]

Every candidate costs as much as the first, within TOLERANCE of the milliseconds per image that the cost model predicts
for two AVX-512 cores. Some steps of each are timed first; then it gets as many as fit into the minutes, with its whole
schedule. Candidates are ranked by PCK@0.2 of the last stage on the samples held out of the first --data, with a
bootstrap interval over these. If the command is stopped, run it again to resume. It writes result.json in the folder of
each candidate, then candidates.md and candidates.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.harness.record import about  # noqa: E402
from benchmarks.studies.claims import sample_hits  # noqa: E402
from cpm_fast.config import Conv, NetworkConfig, preset  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, hold_out  # noqa: E402
from cpm_fast.evaluation.interval import bootstrap_interval  # noqa: E402
from cpm_fast.model.files import load_model  # noqa: E402
from cpm_fast.model.groups import layer_groups  # noqa: E402
from cpm_fast.model.layers import mac_count, network_layers, parameter_count  # noqa: E402
from cpm_fast.ops.plans.cpu import ConvShape, CpuPlan  # noqa: E402
from cpm_fast.recipes import RECIPES, TrainingConfig  # noqa: E402
from cpm_fast.skeleton import Skeleton  # noqa: E402
from cpm_fast.system.files import write_json, write_text  # noqa: E402
from cpm_fast.training.folder import RunFolder  # noqa: E402
from cpm_fast.training.loop import train  # noqa: E402
from cpm_fast.training.options import RunOptions  # noqa: E402

TOLERANCE = 0.1
# Steps that are timed, after some warm-up steps.
WARM_STEPS, TIMED_STEPS = 4, 16
RESULT_FILE = "result.json"


def candidates(skeleton: Skeleton) -> dict[str, NetworkConfig]:
    """Return networks that cost as much as the first; each spends the milliseconds in another place."""
    first = replace(
        preset("compact", skeleton),
        stages=5,
        input_size=(256, 256),
        trunk=((Conv(3, 32),), (Conv(3, 48),), _doubled(5, 64)),
        tail=(Conv(5, 96), *_blocks(5, 96, 2, 2)),
        features=(Conv(1, 48),),
        first=(Conv(7, 64), Conv(1, 160)),
        refine=(Conv(7, 48), *_blocks(7, 48, 1, 2), Conv(1, 96)),
        center_sigma=14.5,
    )
    plain = replace(
        first, trunk=_without(first.trunk), tail=_without((first.tail,))[0], refine=_without((first.refine,))[0]
    )
    return {
        "five stages": first,
        "no residual blocks": plain,
        "wider 3x3 tail": replace(first, tail=(Conv(3, 136), *_blocks(3, 136, 2, 2))),
        "7x7 tail, one stage more": replace(first, stages=6, tail=(Conv(7, 64), *_blocks(7, 64, 2, 2))),
        "11x11 stages": replace(
            first, features=(Conv(1, 32),), refine=(Conv(11, 32), *_blocks(11, 32, 1, 2), Conv(1, 96))
        ),
        "more, narrower stages": replace(
            first, stages=8, features=(Conv(1, 32),), refine=(Conv(7, 32), *_blocks(7, 32, 1, 2), Conv(1, 64))
        ),
        "fewer, wider stages": replace(
            first, stages=3, features=(Conv(1, 64),), refine=(Conv(7, 64), *_blocks(7, 64, 1, 2), Conv(1, 128))
        ),
        "deeper stages": replace(first, stages=4, refine=(Conv(5, 48), *_blocks(5, 48, 2, 2), Conv(1, 96))),
        "320 px, narrower": replace(
            first,
            input_size=(320, 320),
            center_sigma=18.0,
            stages=4,
            trunk=((Conv(3, 16),), (Conv(3, 32),), _doubled(5, 64)),
            tail=(Conv(5, 80), *_blocks(5, 80, 2, 2)),
        ),
        "192 px, wider": replace(
            first,
            input_size=(192, 192),
            center_sigma=11.0,
            trunk=((Conv(3, 48),), (Conv(3, 64),), _doubled(5, 96)),
            tail=(Conv(3, 192), *_blocks(3, 192, 2, 2)),
            features=(Conv(1, 64),),
            first=(Conv(7, 96), Conv(1, 192)),
            refine=(Conv(5, 64), *_blocks(5, 64, 1, 2), Conv(1, 128)),
        ),
    }


def _blocks(kernel: int, channels: int, count: int, depth: int) -> tuple[Conv, ...]:
    """Return this many residual blocks of this many convolutions."""
    return (*(Conv(kernel, channels) for _ in range(depth - 1)), Conv(kernel, channels, add=depth)) * count


def _doubled(kernel: int, channels: int) -> tuple[Conv, ...]:
    return Conv(kernel, channels), Conv(kernel, channels, add=1)


def _without(blocks: Sequence[tuple[Conv, ...]]) -> tuple[tuple[Conv, ...], ...]:
    return tuple(tuple(replace(conv, add=0) for conv in block) for block in blocks)


def predicted_milliseconds(config: NetworkConfig, images: int = 1) -> float:
    """Return milliseconds of the convolutions for this many images, by the cost model for two threads with AVX-512."""
    plan, total = CpuPlan(), 0.0
    for group in layer_groups(network_layers(config)):
        if group.kind == "conv":
            first = group.first
            shape = ConvShape(images, first.in_channels, group.channels, first.kernel, first.size)
            total += plan.milliseconds(shape, plan.tile(shape))
    return total


def seconds_per_step(
    network: NetworkConfig, config: TrainingConfig, data: Sequence[Dataset], workers: int | None
) -> float:
    """Return the seconds per step from two short runs of the real loop, whose difference excludes the start."""

    def run(steps: int) -> float:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            options = RunOptions(workers=workers, save_every=1 << 20, validate_every=1e6, stop_after=steps, quiet=True)
            train(network, config, data, [], Path(folder) / "run", options=options)
        return time.perf_counter() - started

    short = run(WARM_STEPS)
    return max(1e-3, (run(WARM_STEPS + TIMED_STEPS) - short) / TIMED_STEPS)


def carry_out(
    name: str,
    network: NetworkConfig,
    recipe: TrainingConfig,
    minutes: float,
    data: Sequence[Dataset],
    held_out: Sequence[Dataset],
    folder: Path,
    workers: int | None,
) -> dict[str, Any]:
    """Train, resume, or read the results."""
    done, planned = folder / RESULT_FILE, folder.with_name(folder.name + ".plan.json")
    if done.exists():
        return _read(done)
    if not planned.exists():
        seconds = seconds_per_step(network, recipe, data, workers)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_json(planned, {"seconds_per_step": seconds, "steps": max(1, round(60 * minutes / seconds))})
    plan = _read(planned)
    per_epoch = max(1, sum(map(len, data)) // recipe.batch)
    config = replace(recipe, epochs=plan["steps"] / per_epoch)
    options = RunOptions(workers=workers, save_every=200, validate_every=1e6, quiet=True)
    train(network, config, data, [], folder, resume=True, options=options)
    model = load_model(RunFolder(folder).final)
    scores = {}
    for dataset in held_out:
        hits = sample_hits(model, dataset)[-1]
        scores[dataset.name] = {
            "pck": float(hits.mean()),
            "interval": list(bootstrap_interval(hits)),
            "samples": len(hits),
        }
    write_json(
        done,
        {
            "name": name,
            **plan,
            "predicted_ms": round(predicted_milliseconds(network), 2),
            "parameters": parameter_count(network),
            "gmac": round(mac_count(network) / 1e9, 3),
            "scores": scores,
            "network": network.to_dict(),
        },
    )
    return _read(done)


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def listing(known: dict[str, NetworkConfig]) -> str:
    """Return one row per candidate: cost and size."""
    lines = ["| candidate | predicted ms | GMAC | MB in 16 bits |", "|---|---|---|---|"]
    for name, network in known.items():
        lines.append(
            f"| {name} | {predicted_milliseconds(network):.2f} | {mac_count(network) / 1e9:.2f} | "
            f"{2e-6 * parameter_count(network):.2f} |"
        )
    return "\n".join(lines) + "\n"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the candidates, best first, by the first dataset's score."""
    names = list(rows[0]["scores"])
    lines = [
        f"| candidate | predicted ms | MB | ms a step | steps | {' | '.join(names)} |",
        "|---" * (len(names) + 5) + "|",
    ]
    for row in ranked(rows):
        found = [row["scores"][name] for name in names]
        shares = [(one["pck"], *one["interval"]) for one in found]
        scores = " | ".join("{:.1f} ({:.1f}, {:.1f})".format(*(100 * share for share in each)) for each in shares)
        lines.append(
            f"| {row['name']} | {row['predicted_ms']:.1f} | {2e-6 * row['parameters']:.1f} | "
            f"{1e3 * row['seconds_per_step']:.0f} | {row['steps']} | {scores} |"
        )
    return "\n".join(lines) + "\n"


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first = next(iter(rows[0]["scores"]))
    return sorted(rows, key=lambda row: -row["scores"][first]["pck"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when all were tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the candidates and what they cost, and stop")
    parser.add_argument("--data", action="append", default=[], help="as for cpm-fast train")
    parser.add_argument("--hold-out", action="append", type=int, default=[], metavar="N", help="one for each --data")
    parser.add_argument("--minutes", type=float, default=45.0, help="of training for each (%(default)s)")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="long", help="(%(default)s)")
    parser.add_argument("--batch", type=int, help="samples a step (default: the recipe's)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="candidates by name (default: all)")
    parser.add_argument("--workers", type=int, help="loader processes (default: one a core)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/candidates"), help="folder to write (%(default)s)")
    chosen = parser.parse_args(arguments)
    opened = [open_dataset(spec) for spec in chosen.data]
    known = candidates(opened[0].skeleton if opened else preset("compact").skeleton)
    if chosen.list:
        print(listing(known))
        return 0
    if not opened or len(chosen.hold_out) != len(opened) or min(chosen.hold_out) < 1 or not chosen.minutes > 0:
        parser.error("--data is needed, --hold-out once for each, both it and --minutes positive")
    if unknown := set(chosen.only or ()) - set(known):
        parser.error(f"--only must be of {list(known)}, got {sorted(unknown)}")
    recipe = replace(RECIPES[chosen.recipe], seed=chosen.seed)
    recipe = replace(recipe, batch=chosen.batch) if chosen.batch else recipe
    parts = [hold_out(dataset, count) for dataset, count in zip(opened, chosen.hold_out, strict=True)]
    data, held_out = [training for training, _ in parts], [validation for _, validation in parts]
    rows = []
    for name in chosen.only or known:
        print(f"{name}, {chosen.minutes:g} minutes", flush=True)
        folder = chosen.out / "-".join(name.replace(",", "").split())
        rows.append(carry_out(name, known[name], recipe, chosen.minutes, data, held_out, folder, chosen.workers))
    text = table(rows)
    print(text)
    write_text(chosen.out / "candidates.md", text)
    given = sys.argv[1:] if arguments is None else arguments
    write_json(
        chosen.out / "candidates.json",
        {
            **about(__file__, given),
            "recipe": recipe.to_dict(),
            "candidates": ranked(rows),
        },
    )
    print(f"wrote {chosen.out / 'candidates.md'} and candidates.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
