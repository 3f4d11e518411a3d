"""`cpm-fast train`: from options, or from a run's config, to a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset, Subset, hold_out
from cpm_fast.model.layers import mac_count, parameter_count
from cpm_fast.recipes import RECIPES, TrainingConfig
from cpm_fast.training.folder import FINAL_FILE
from cpm_fast.training.journal import CONFIG_FILE
from cpm_fast.training.loop import train
from cpm_fast.training.options import RunOptions
from cpm_fast.training.ranks import main_process

HELD_OUT_SHARE, HELD_OUT_MOST = 0.05, 500


@dataclass(frozen=True)
class _Run:
    """What a run's config.json says of it.

    Args:
        network, config: what is trained, and how.
        data: words or paths of the datasets.
        hold_out: how many of each are for validation; None: the usual share.
        options: how it is carried out, where it is to go on in the same way.
    """

    network: NetworkConfig
    config: TrainingConfig
    data: list[str]
    hold_out: list[int] | None
    options: dict[str, Any] = field(default_factory=dict)


def train_command(options: argparse.Namespace) -> bool:
    """Start a run, or go on with one; True when it came to its end."""
    folder: Path = options.resume or options.output or Path("runs") / options.preset
    run = _read_config(folder) if options.resume else _new_run(options)
    datasets = [open_dataset(spec) for spec in run.data]
    counts = _hold_out_counts(datasets, run.hold_out)
    parts = [hold_out(dataset, count) for dataset, count in zip(datasets, counts, strict=True)]
    if main_process():
        _describe(run.network, datasets, parts, folder)
    given = {"save_every": options.save_every, "validate_every": options.validate_every}
    train(
        run.network,
        run.config,
        [training for training, _ in parts],
        [validation for _, validation in parts if len(validation)],
        folder,
        resume=bool(options.resume),
        options=RunOptions(workers=options.workers, device=options.device, **_changed(run.options, given)),
        about={"data": run.data, "hold_out": counts},
    )
    if main_process():
        print(f"wrote {folder / FINAL_FILE}")
    return True


def _describe(
    network: NetworkConfig, datasets: list[Dataset], parts: list[tuple[Subset, Subset]], folder: Path
) -> None:
    print(f"network   {network.stages} stages, {network.parts} parts, box {network.input_size}, "
          f"{parameter_count(network):,} parameters, {mac_count(network) / 1e9:.2f} GMAC an image")  # fmt: skip
    for dataset, (training, validation) in zip(datasets, parts, strict=True):
        print(f"data      {dataset.name}: {len(training)} to train on, {len(validation)} held out")
    print(f"run       {folder}", flush=True)


def _changed(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Values with those that were given on the command line in their place."""
    return {**values, **{name: value for name, value in given.items() if value is not None}}


def _new_run(options: argparse.Namespace) -> _Run:
    specs = options.data or ["synthetic"]
    config = _training_config(options)
    return _Run(preset(options.preset, open_dataset(specs[0]).skeleton), config, specs, options.hold_out)


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


def _read_config(folder: Path) -> _Run:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --resume takes the folder of a run")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept = values.get("options", {})
        RunOptions(**kept)
        return _Run(
            NetworkConfig.from_dict(values["network"]),
            TrainingConfig.from_dict(values["training"]),
            [str(spec) for spec in values["data"]],
            [int(count) for count in values["hold_out"]],
            kept,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the config of a run: {error}") from None
