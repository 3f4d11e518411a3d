"""Train the fast path and the reference from one seed on the same batches, and measure how far they diverge.

python benchmarks/checks/parity.py [--preset compact] [--steps 40] [--batch 4] [--device auto] [--precision fp32 ...]

The standard is the reference in float64 on the same batches: rounding alone makes any two fp32 runs diverge, and more
with every step. The fast path is as good as the reference if it is about as far from float64 as the reference is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import Batch, TrainingItems, training_batches
from cpm_fast.model.cpm import CPM
from cpm_fast.ops.backend import use_backend
from cpm_fast.recipes import RECIPES, TrainingConfig
from cpm_fast.system.files import atomic_write
from cpm_fast.system.versions import versions
from cpm_fast.training.optimization import make_optimizer, rate_factor, set_rate
from cpm_fast.training.targets.loss import make_targets
from cpm_fast.training.update import update
from cpm_fast.weights import find_device

# The fast path may be this much further from float64 than the reference is: two roundings of different order.
FURTHER = 3.0
# Below this (relative weight difference) fp32 runs count as equal for any ratio.
NEGLIGIBLE = 1e-6
# SGD, as released: Adam divides by the gradient's own size, which makes the noise in a gradient that should be 0, such
# as that of a bias before a normalization, as large as any other step. Gradients are clipped, because untrained
# networks would diverge.
RECIPE = replace(RECIPES["paper"], learning_rate=2e-3, stage1_factor=1.0, bias_factor=1.0, clip_norm=5.0)


@dataclass(frozen=True)
class Run:
    """The result of one training: the loss of every step and stage [K, T], and the final weights."""

    losses: list[list[float]]
    weights: torch.Tensor


def train(
    network: NetworkConfig,
    config: TrainingConfig,
    batches: Sequence[Batch],
    device: torch.device,
    backend: str,
    dtype: torch.dtype = torch.float32,
) -> Run:
    """Train for len(batches) steps with one backend; of a float64 training, only the network is in float64."""
    torch.manual_seed(config.seed)
    model = CPM(network).to(device, dtype)
    optimizer = make_optimizer(model, config)
    losses = []
    with use_backend(backend):
        for step, batch in enumerate(tqdm(batches, desc=f"{backend} {dtype}", unit="step", leave=False)):
            torch.manual_seed(config.seed * 1_000_003 + step)
            batch = batch.to(device)
            targets = make_targets(batch, network, config.part_sigma, config.loss_mode)
            set_rate(optimizer, config.learning_rate * rate_factor(config, step, len(batches), len(batches)))
            losses.append(update(model, optimizer, batch, targets, config).tolist())
    weights = torch.cat([weight.detach().double().cpu().flatten() for weight in model.parameters()])
    return Run(losses, weights)


def compare(
    network: NetworkConfig, config: TrainingConfig, batches: Sequence[Batch], device: torch.device, exact: Run
) -> dict[str, Any]:
    """Compare both backends, in the config's precision, with `exact`, the reference in float64."""
    runs = {name: train(network, config, batches, device, name) for name in ("reference", "fast")}

    def apart(a: Run, b: Run) -> float:
        return float((a.weights - b.weights).norm() / b.weights.norm())

    fast, reference = apart(runs["fast"], exact), apart(runs["reference"], exact)
    return {
        "precision": config.precision,
        "weights_fast_to_reference": apart(runs["fast"], runs["reference"]),
        "weights_fast_to_float64": fast,
        "weights_reference_to_float64": reference,
        "equal_to_rounding": fast <= max(FURTHER * reference, NEGLIGIBLE),
        "losses": {name: run.losses for name, run in runs.items()},
    }


def make_batches(network: NetworkConfig, config: TrainingConfig, steps: int) -> list[Batch]:
    items = TrainingItems([DrawnFigures(steps * config.batch)], network, config.augmentation, config.seed)
    return list(training_batches(items, config.batch, config.seed, 0, steps, 0))


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the loss curves over each other, and their distance, with one row per precision."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (left, right) in zip(rows, figure.subplots(len(rows), 2, squeeze=False), strict=True):
        totals = {name: [sum(stages) for stages in losses] for name, losses in row["losses"].items()}
        for (name, total), style in zip(totals.items(), ("-", "--"), strict=True):
            left.plot(range(1, len(total) + 1), total, style, label=name)
        gaps = [abs(f - r) / abs(r) for f, r in zip(totals["fast"], totals["reference"], strict=True)]
        right.semilogy(range(1, len(gaps) + 1), [max(gap, 1e-9) for gap in gaps])
        left.set(xlabel="step", ylabel="loss, all stages", title=row["precision"])
        right.set(xlabel="step", ylabel="relative difference of the loss (1e-9: none)")
        left.legend()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the fast path is as close to float64 as the reference, 1 if it is not, 2 for bad use."""
    parser = argparse.ArgumentParser(description="Training on the fast path and on the reference, side by side.")
    parser.add_argument("--preset", default="compact", help="the network (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="of training (%(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="drawn figures a step (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "tf32", "bf16"), help="default: all of the device")
    parser.add_argument("--out", type=Path, default=Path("runs/parity"), help="folder of JSON and PNG (%(default)s)")
    chosen = parser.parse_args(arguments)
    for name in ("steps", "batch"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(chosen, name)}")
    try:
        # Dropout is off, because every device draws its random numbers in another order.
        device, network = find_device(chosen.device), replace(preset(chosen.preset), dropout=0.0, init_std=None)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    precisions = chosen.precision or (["fp32", "tf32", "bf16"] if device.type == "cuda" else ["fp32"])
    config = replace(RECIPE, batch=chosen.batch)
    batches = make_batches(network, config, chosen.steps)
    exact = train(network, config, batches, device, "reference", torch.float64)
    rows = []
    for precision in precisions:
        rows.append(compare(network, replace(config, precision=precision), batches, device, exact))
        row = rows[-1]
        print(
            f"{precision}: weights after {chosen.steps} steps, relative to float64: "
            f"fast {row['weights_fast_to_float64']:.1e}, reference {row['weights_reference_to_float64']:.1e}; "
            f"one to the other {row['weights_fast_to_reference']:.1e}"
        )
    chosen.out.mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:] if arguments is None else arguments
    record = {
        "command": " ".join(["python benchmarks/checks/parity.py", *given]),
        "preset": chosen.preset,
        "steps": chosen.steps,
        "batch": chosen.batch,
        "device": str(device),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "versions": versions(),
        "float64": exact.losses,
        "results": rows,
    }
    with atomic_write(chosen.out / "parity.json") as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())
    draw(rows, chosen.out / "parity.png")
    print(f"wrote {chosen.out / 'parity.json'}, {chosen.out / 'parity.png'}")
    return 0 if all(row["equal_to_rounding"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
