"""Checkpoints: all of a run's state in one .safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import fill
from cpm_fast.model.tensor_file import network_config, read_tensors, write_tensors
from cpm_fast.system.files import VALUE_ERRORS, parse_json
from cpm_fast.system.words import in_short

MODEL, OPTIMIZER, AVERAGE = "model.", "optimizer.", "average."


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Args:
        step: steps done.
        best_score, best_step: the best validation score and its step.
        unlogged: losses of each stage in the steps since the last line of metrics.
        validated: the last step that was validated.
    """

    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    unlogged: tuple[tuple[float, ...], ...] = ()
    validated: int = 0


def save_checkpoint(
    path: Path, model: CPM, optimizer: torch.optim.Optimizer, progress: Progress, average: CPM | None = None
) -> None:
    """Write weights, optimizer state, progress and averaged weights; a kill leaves the old file or the new one."""
    state = optimizer.state_dict()
    tensors = {MODEL + name: tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {AVERAGE + name: tensor for name, tensor in average.state_dict().items()}
    plain: dict[str, dict[str, Any]] = {}
    for number, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{OPTIMIZER}{number}.{key}"] = value
            else:
                plain.setdefault(str(number), {})[key] = value
    metadata = {
        "network": json.dumps(model.config.to_dict()),
        "checkpoint": json.dumps(vars(progress)),
        "optimizer": json.dumps({"kind": type(optimizer).__name__, "groups": state["param_groups"], "state": plain}),
    }
    write_tensors(path, tensors, metadata)


def load_checkpoint(path: Path, model: CPM, optimizer: torch.optim.Optimizer, average: CPM | None = None) -> Progress:
    """Put a checkpoint's state into a network, its optimizer and its average.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or one of another network or recipe; the message names the file.
    """
    tensors, metadata = read_tensors(path, "checkpoint")
    if network_config(path, metadata) != model.config:
        raise ValueError(f"{path}: the checkpoint is of another network than the run's config")
    for network, prefix in ((model, MODEL), (average, AVERAGE)):
        if network is not None:
            found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            fill(network, found, str(path))
    try:
        described = parse_json(metadata["optimizer"])
        if described.get("kind", type(optimizer).__name__) != type(optimizer).__name__:
            raise ValueError(f"its optimizer is {described['kind']}, the run's {type(optimizer).__name__}")
        state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in described["state"].items()}
        for name, tensor in tensors.items():
            if name.startswith(OPTIMIZER):
                number, key = name.removeprefix(OPTIMIZER).split(".", 1)
                state.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": described["groups"]})
        progress = Progress(**parse_json(metadata["checkpoint"]))
        return replace(progress, unlogged=tuple(tuple(losses) for losses in progress.unlogged))
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: the checkpoint does not fit the run's recipe: {in_short(error)}") from None
