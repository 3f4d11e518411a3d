"""`cpm-fast train`: from options, or from a run's config, to a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, hold_out
from cpm_fast.model.layers import mac_count, parameter_count
from cpm_fast.recipes import RECIPES, TrainingConfig
from cpm_fast.training.journal import CONFIG_FILE
from cpm_fast.training.loop import FINAL_FILE, RunOptions, train

HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500


def train_command(options: argparse.Namespace) -> bool:
    """Start a run, or go on with one; True when it came to its end."""
    run: Path = options.resume or options.output or Path("runs") / options.preset
    if options.resume:
        network, config, specs, counts = _read_config(run)
    else:
        specs = options.data or ["synthetic"]
        counts = options.hold_out
        network, config = None, _training_config(options)
    datasets = [open_dataset(spec) for spec in specs]
    if network is None:
        network = preset(options.preset, datasets[0].skeleton)
    counts = _hold_out_counts(datasets, counts)
    parts = [hold_out(dataset, count) for dataset, count in zip(datasets, counts, strict=True)]
    print(f"network   {network.stages} stages, {network.parts} parts, box {network.input_size}, "
          f"{parameter_count(network):,} parameters, {mac_count(network) / 1e9:.2f} GMAC an image")  # fmt: skip
    for dataset, (training, validation) in zip(datasets, parts, strict=True):
        print(f"data      {dataset.name}: {len(training)} to train on, {len(validation)} held out")
    print(f"run       {run}", flush=True)
    train(
        network,
        config,
        [training for training, _ in parts],
        [validation for _, validation in parts if len(validation)],
        run,
        resume=bool(options.resume),
        options=RunOptions(options.workers, options.device, options.save_every, options.validate_every),
        about={"data": specs, "hold_out": counts},
    )
    print(f"wrote {run / FINAL_FILE}")
    return True


def _training_config(options: argparse.Namespace) -> TrainingConfig:
    if options.recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {sorted(RECIPES)}, got {options.recipe!r}")
    given = {
        "epochs": options.epochs, "batch": options.batch, "learning_rate": options.learning_rate,
        "loss_mode": options.loss, "precision": options.precision, "seed": options.seed,
    }  # fmt: skip
    recipe = RECIPES[options.recipe]
    low, high = options.scale or (None, None)
    changes = {"scale_min": low, "scale_max": high, "rotate_degrees": options.rotate}
    augmentation = replace(recipe.augmentation, **{name: value for name, value in changes.items() if value is not None})
    return replace(
        recipe, augmentation=augmentation, **{name: value for name, value in given.items() if value is not None}
    )


def _hold_out_counts(datasets: list[Dataset], counts: list[int] | None) -> list[int]:
    if counts is None:
        return [min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(dataset))) for dataset in datasets]
    if len(counts) != len(datasets):
        raise ValueError(f"--hold-out must be given once for each --data ({len(datasets)}), got {len(counts)}")
    return counts


def _read_config(run: Path) -> tuple[NetworkConfig, TrainingConfig, list[str], list[int]]:
    path = run / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --resume takes the folder of a run")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return (
            NetworkConfig.from_dict(values["network"]),
            TrainingConfig.from_dict(values["training"]),
            [str(spec) for spec in values["data"]],
            [int(count) for count in values["hold_out"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the config of a run: {error}") from None
