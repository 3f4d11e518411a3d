"""Repeat the comparisons of Wei et al. 2016 at compact scale on drawn figures, and report which claims hold here.

python benchmarks/studies/claims.py [--minutes 5] [--out runs/claims] [--only schemes stages field] [--data lspet/]
    [--seed 0]

Groups: `schemes` (Figure 6b, and 5 from its gradients), `stages` (Figure 6c) and `field` (Figure 4). Networks are small
and boxes 152 px, half of Figure 4's 304. All networks of a group train for the same number of steps on the same
samples; the slowest of them takes `--minutes`. With `--data` they train on those pictures in place of drawn figures. If
the command is stopped, run it again to resume. It writes claims.md, claims.json and claims.png. claims_report.py
explains the verdicts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.studies import claims_report  # noqa: E402
from cpm_fast.config import Conv, NetworkConfig, preset  # noqa: E402
from cpm_fast.data.drawn.synthetic import DrawnFigures  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.data.sample import Dataset, hold_out  # noqa: E402
from cpm_fast.evaluation import evaluate  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.model.files import load_model  # noqa: E402
from cpm_fast.model.layers import parameter_count, receptive_field  # noqa: E402
from cpm_fast.recipes import RECIPES, SCHEMES, TrainingConfig  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402
from cpm_fast.training.diagnostics import GRADIENTS_FILE  # noqa: E402
from cpm_fast.training.folder import RunFolder  # noqa: E402
from cpm_fast.training.loop import train  # noqa: E402
from cpm_fast.training.metrics_log import METRICS_FILE, MetricsLog  # noqa: E402
from cpm_fast.training.options import RunOptions  # noqa: E402
from cpm_fast.training.run import LOG_EVERY_STEPS  # noqa: E402

BOX = replace(preset("compact"), input_size=(152, 152), center_sigma=9.0)
# Figure 5 is about networks without normalization, which would hide the vanishing of gradients; two trunks, as
# released.
PLAIN = replace(BOX, norm="none", shared_trunk=False)
STAGES = 6
# Kernels of trunk tail, stage 1 and stage 2, from 22 to 310 px at stage 2.
FIELD_KERNELS = ((1, 1, 1), (1, 3, 1), (1, 5, 3), (3, 5, 3), (3, 7, 5), (3, 7, 9))
FIELD_PARAMETERS = 300_000
# Without normalization our rate of 4e-3 diverges; this rate was tuned on nothing else.
PLAIN_RATE = 1e-3
PROBE_STEPS = 2 * LOG_EVERY_STEPS
HISTOGRAMS, VALIDATIONS = 30, 5


@dataclass(frozen=True)
class Experiment:
    """One network and how it is trained."""

    name: str
    network: NetworkConfig
    config: TrainingConfig


def experiments(batch: int, seed: int) -> dict[str, list[Experiment]]:
    """Return the experiments of every group."""
    recipe = replace(RECIPES["modern"], batch=batch, seed=seed)
    plain = replace(recipe, learning_rate=PLAIN_RATE)
    fields = [field_network(*kernels) for kernels in FIELD_KERNELS]
    return {
        "schemes": [Experiment(scheme, PLAIN, replace(plain, scheme=scheme)) for scheme in SCHEMES],  # type: ignore[arg-type]
        "stages": [Experiment(f"{STAGES} stages", replace(BOX, stages=STAGES), recipe)],
        "field": [Experiment(f"{receptive_field(network, 2)} px", network, recipe) for network in fields],
    }


def field_network(tail: int, first: int, refine: int) -> NetworkConfig:
    """Return two stages with these kernels, as wide as the common number of parameters allows."""

    def network(channels: int) -> NetworkConfig:
        return replace(
            BOX,
            stages=2,
            tail=(Conv(tail, channels),) * 3,
            first=(Conv(first, channels), Conv(1, 128)),
            refine=(Conv(refine, channels),) * 3 + (Conv(1, 64),),
        )

    return min(
        (network(channels) for channels in range(8, 320)),
        key=lambda found: abs(parameter_count(found) - FIELD_PARAMETERS),
    )


def steps_of(group: list[Experiment], data: Dataset, seconds: float, workers: int | None) -> int:
    """Return the steps that the slowest of a group does in a time, from a short probe of each network."""
    slowest = np.inf
    # Joint training, the first of a network's schemes, has the slowest steps.
    for experiment in {experiment.network: experiment for experiment in reversed(group)}.values():
        with tempfile.TemporaryDirectory() as scratch:
            options = RunOptions(workers=workers, stop_after=PROBE_STEPS, quiet=True, validate_every=1e6)
            train(
                experiment.network, replace(experiment.config, epochs=1e3), [data], [], Path(scratch), options=options
            )
            # The first rows include the start of the loaders.
            rate = list(MetricsLog(Path(scratch) / METRICS_FILE).rows())[-1]["samples_per_second"]
        slowest = min(slowest, rate / experiment.config.batch)
    return max(1, int(slowest * seconds))


def carry_out(
    experiment: Experiment, steps: int, data: Dataset, held_out: Dataset, folder: Path, workers: int | None
) -> dict[str, Any]:
    """Train, resume, or read the results; hits are per stage and sample, so that networks are compared in pairs."""
    done = folder / "result.json"
    if not done.exists():
        per_epoch = max(1, len(data) // experiment.config.batch)
        config = replace(experiment.config, epochs=steps / per_epoch)
        options = RunOptions(
            workers=workers,
            save_every=200,
            validate_every=config.epochs / VALIDATIONS,
            gradients_every=max(1, steps // HISTOGRAMS),
        )
        train(experiment.network, config, [data], [held_out], folder, resume=True, options=options)
        model = load_model(RunFolder(folder).final)
        write_json(
            done,
            {
                "name": experiment.name,
                "steps": steps,
                "parameters": parameter_count(experiment.network),
                "fields": [receptive_field(experiment.network, t) for t in range(1, experiment.network.stages + 1)],
                "hits": sample_hits(model, held_out).round(4).tolist(),
                "curve": [
                    [row["step"], row["pck"]] for row in MetricsLog(folder / METRICS_FILE).rows() if "pck" in row
                ],
                "gradients": list(MetricsLog(folder / GRADIENTS_FILE).rows()),
            },
        )
    return json.loads(done.read_text(encoding="utf-8"))


def sample_hits(model: CPM, dataset: Dataset) -> np.ndarray:
    """Return the share of the labeled parts of every sample that are found at PCK@0.2: [T, M]."""
    found = evaluate(model, dataset, progress=False)
    errors = np.linalg.norm(found.predictions - found.truth, axis=-1)  # [T, M, P]
    known = np.isfinite(found.truth).all(axis=-1)
    counted = np.isfinite(found.reference_length) & known.any(axis=1)
    hits = (errors <= 0.2 * found.reference_length[:, None]) & known
    return hits[:, counted].sum(axis=2) / known[counted].sum(axis=1)


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all runs were done, for any verdicts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of training a run, at most (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"), help="folder to write (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=("schemes", "stages", "field"), help="groups (default: all)")
    parser.add_argument("--samples", type=int, default=20_000, help="drawn figures to train on (%(default)s)")
    parser.add_argument("--held-out", type=int, default=500, help="others to score on (%(default)s)")
    parser.add_argument(
        "--data",
        help="as for cpm-fast train, in place of drawn figures; its last --held-out samples are those to score on",
    )
    parser.add_argument("--batch", type=int, default=16, help="samples per step (%(default)s)")
    parser.add_argument("--steps", type=int, help="of every run, instead of --minutes")
    parser.add_argument("--workers", type=int, help="loader processes (default: one per core)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if not chosen.minutes > 0 or min(chosen.samples, chosen.held_out, chosen.batch) < 1:
        parser.error("--minutes, --samples, --held-out and --batch must be positive")
    chosen.out.mkdir(parents=True, exist_ok=True)
    plan_file = chosen.out / "plan.json"
    asked = {
        "minutes": chosen.minutes,
        "steps": chosen.steps,
        "samples": chosen.samples,
        "batch": chosen.batch,
        "held_out": chosen.held_out,
        "seed": chosen.seed,
        "data": chosen.data,
    }
    plan = json.loads(plan_file.read_text()) if plan_file.exists() else {"asked": asked, "steps": {}}
    if plan["asked"] != asked:
        parser.error(f"{plan_file} is of {plan['asked']}; name another --out, or remove it")
    data: Dataset = DrawnFigures(chosen.samples, chosen.seed)
    held_out: Dataset = DrawnFigures(chosen.held_out, chosen.seed + 1)
    if chosen.data:
        data, held_out = hold_out(open_dataset(chosen.data), chosen.held_out)
    found: dict[str, list[dict[str, Any]]] = {}
    for group, members in experiments(chosen.batch, chosen.seed).items():
        if chosen.only and group not in chosen.only:
            continue
        if group not in plan["steps"]:
            plan["steps"][group] = chosen.steps or steps_of(members, data, 60 * chosen.minutes, chosen.workers)
            write_json(plan_file, plan)
        steps = plan["steps"][group]
        found[group] = []
        for member in members:
            print(f"{group}: {member.name}, {steps} steps", flush=True)
            folder = chosen.out / group / member.name.replace(" ", "-")
            found[group].append(carry_out(member, steps, data, held_out, folder, chosen.workers))
    verdicts = claims_report.verdicts(found, BOX.input_size[0])
    text = claims_report.table(found, verdicts)
    print(text)
    (chosen.out / "claims.md").write_text(text, encoding="utf-8")
    # The runs' own files keep the hits of every sample and the histograms.
    short = {
        group: [
            {name: value for name, value in run.items() if name not in ("hits", "gradients")}
            | {"pck": claims_report.scores(run).tolist()}
            for run in runs
        ]
        for group, runs in found.items()
    }
    write_json(
        chosen.out / "claims.json",
        {**plan, "verdicts": [vars(verdict) for verdict in verdicts], "runs": short, "versions": versions()},
    )
    claims_report.draw(found, chosen.out / "claims.png")
    print(f"wrote {chosen.out / 'claims.md'}, claims.json and claims.png beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
