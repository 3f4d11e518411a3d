"""Ideas for training, compared at the same cost: each starts from the same weights, and gets the same arithmetic.

python benchmarks/studies/ideas.py --data lsp/ --hold-out 200 --data lspet/ --hold-out 500 [--start compact-lsp]
    [--steps 600]

`plain`, the modern recipe at LEARNING_RATE, comes first, and every idea changes one setting of it. An idea is compared
with plain sample by sample on the held-out samples: the mean difference of the shares of found parts, plus and minus
two standard errors. Each is trained once, so the error covers other pictures, but not other seeds. An idea that makes a
step more expensive gets fewer steps. If the command is stopped, run it again to resume. It writes ideas.md and
ideas.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.studies.claims import sample_hits  # noqa: E402
from benchmarks.studies.claims_report import FAILS, HOLDS, OPEN, more  # noqa: E402
from cpm_fast.config import NetworkConfig, widened  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, hold_out  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.model.files import load_model  # noqa: E402
from cpm_fast.model.layers import mac_count  # noqa: E402
from cpm_fast.recipes import RECIPES, AugmentationConfig, TrainingConfig  # noqa: E402
from cpm_fast.system.files import write_json, write_text  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402
from cpm_fast.training.folder import RunFolder  # noqa: E402
from cpm_fast.training.loop import train  # noqa: E402
from cpm_fast.training.options import RunOptions  # noqa: E402
from cpm_fast.weights import DEFAULT, load, weights_file  # noqa: E402

# For trained weights; the modern recipe's own rate is for new ones. It was not tuned.
LEARNING_RATE = 1e-3
LARGER_BOX = 4 / 3
BETTER = {HOLDS: "yes", FAILS: "no, worse", OPEN: "not decided"}


@dataclass(frozen=True)
class Idea:
    """One change.

    Args:
        name: in a few words. network: to train. config: of the training. repeats: how often the first dataset counts.
    """

    name: str
    network: NetworkConfig
    config: TrainingConfig
    repeats: int = 1


def ideas(network: NetworkConfig, batch: int, seed: int) -> list[Idea]:
    """Return the ideas, plain first."""
    plain = replace(RECIPES["modern"], learning_rate=LEARNING_RATE, batch=batch, seed=seed)

    def augmented(**changes: Any) -> TrainingConfig:
        return replace(plain, augmentation=replace(plain.augmentation, **changes))

    side = 8 * round(LARGER_BOX * network.input_size[0] / 8)
    return [
        Idea("plain", network, plain),
        Idea("a box a third larger", replace(network, input_size=(side, side)), plain),
        Idea("half as many channels again", widened(network, 1.5), plain),
        Idea("one more stage", replace(network, stages=network.stages + 1), plain),
        Idea("the first dataset three times", network, plain, repeats=3),
        Idea("averaged weights, 0.99", network, replace(plain, average=0.99)),
        Idea("colors, 20 %", network, augmented(brightness=0.2, contrast=0.2, saturation=0.2)),
        Idea("occlusion, 30 % of the pictures", network, augmented(occlude_probability=0.3)),
        Idea("centers off by up to 20 px", network, augmented(shift_px=20.0)),
        Idea("scale 0.85 to 1.15, 20 degrees", network, augmented(scale_min=0.85, scale_max=1.15, rotate_degrees=20.0)),
        Idea("targets of 5 px in place of 7", network, replace(plain, part_sigma=5.0)),
        Idea("unlabeled parts as zeros", network, replace(plain, loss_mode="zero")),
        Idea("robust loss, 1", network, replace(plain, robust=1.0)),
        Idea("robust loss, 0.25", network, replace(plain, robust=0.25)),
        Idea("no augmentation but mirroring", network, replace(plain, augmentation=AugmentationConfig(1.0, 1.0, 0.0))),
    ]


def carry_out(
    idea: Idea,
    steps: int,
    data: Sequence[Dataset],
    held_out: Sequence[Dataset],
    start: Path,
    folder: Path,
    workers: int | None,
) -> dict[str, Any]:
    """Train, or resume, or read the result."""
    done = folder / "result.json"
    if not done.exists():
        mixed = [data[0]] * (idea.repeats - 1) + list(data)
        per_epoch = sum(map(len, mixed)) // idea.config.batch
        config = replace(idea.config, epochs=steps / per_epoch)
        options = RunOptions(workers=workers, save_every=200, validate_every=1e6)
        started = time.perf_counter()
        train(idea.network, config, mixed, [], folder, resume=True, options=options, start=start)
        seconds = time.perf_counter() - started
        model = load_model(RunFolder(folder).final)
        write_json(
            done, {"name": idea.name, "steps": steps, "seconds": round(seconds), "hits": hits_of(model, held_out)}
        )
    return json.loads(done.read_text(encoding="utf-8"))


def hits_of(model: CPM, held_out: Sequence[Dataset]) -> dict[str, list[float]]:
    """Return the last stage's share of found parts, sample by sample."""
    return {dataset.name: sample_hits(model, dataset)[-1].round(4).tolist() for dataset in held_out}


def table(found: Sequence[dict[str, Any]], start: dict[str, Any]) -> str:
    """Return one row per idea: scores of the last stage, the difference to plain over all samples, and the verdict."""
    names = list(start["hits"])
    lines = [f"| idea | steps | {' | '.join(names)} | against plain | better? |", "|---" * (len(names) + 4) + "|"]
    plain = found[0]
    for row in [start, *found]:
        scores = " | ".join(f"{100 * np.mean(row['hits'][name]):.1f}" for name in names)
        verdict = apart = ""
        if row is not plain and row is not start:
            found_more, apart = more(_all(row), _all(plain))
            verdict = BETTER[found_more]
        lines.append(f"| {row['name']} | {row['steps']} | {scores} | {apart} | {verdict} |")
    return "\n".join(lines) + "\n"


def _all(row: dict[str, Any]) -> list[float]:
    return [hit for hits in row["hits"].values() for hit in hits]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when all were tried, for any results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", action="append", required=True, help="as for cpm-fast train")
    parser.add_argument("--hold-out", action="append", type=int, required=True, metavar="N", help="one a --data")
    parser.add_argument("--start", default=DEFAULT, help="weights: a file or a bundled name (%(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="of the network as it is (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="samples per step (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="IDEA", help="ideas by name, beside plain (default: all)")
    parser.add_argument("--workers", type=int, help="loader processes (default: one per core)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ideas"), help="folder to write (%(default)s)")
    chosen = parser.parse_args(arguments)
    if len(chosen.hold_out) != len(chosen.data) or min(chosen.steps, chosen.batch, *chosen.hold_out) < 1:
        parser.error("--hold-out must be given once for each --data; it, --steps and --batch must be positive")
    model, start = load(chosen.start, device="cpu"), weights_file(chosen.start)
    known = ideas(model.config, chosen.batch, chosen.seed)
    if unknown := set(chosen.only or ()) - {idea.name for idea in known}:
        parser.error(f"--only must be of {[idea.name for idea in known]}, got {sorted(unknown)}")
    parts = [hold_out(open_dataset(spec), count) for spec, count in zip(chosen.data, chosen.hold_out, strict=True)]
    data, held_out = [training for training, _ in parts], [validation for _, validation in parts]
    before = {"name": f"{chosen.start} as it is", "steps": 0, "seconds": 0, "hits": hits_of(model, held_out)}
    found = []
    for idea in known:
        if chosen.only and idea.name not in ("plain", *chosen.only):
            continue
        steps = max(1, round(chosen.steps * mac_count(model.config) / mac_count(idea.network)))
        print(f"{idea.name}, {steps} steps", flush=True)
        folder = chosen.out / "-".join(idea.name.replace("%", "percent").replace(",", "").split())
        found.append(carry_out(idea, steps, data, held_out, start, folder, chosen.workers))
    text = table(found, before)
    print(text)
    write_text(chosen.out / "ideas.md", text)
    rows = [
        {name: row[name] for name in ("name", "steps", "seconds")}
        | {"pck": {name: float(np.mean(hits)) for name, hits in row["hits"].items()}}
        for row in (before, *found)
    ]
    write_json(
        chosen.out / "ideas.json",
        {
            "command": "python benchmarks/studies/ideas.py " + " ".join(sys.argv[1:]),
            "versions": versions(),
            "table": text.splitlines(),
            "ideas": rows,
        },
    )
    print(f"wrote {chosen.out / 'ideas.md'} and ideas.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
