"""An update of the weights from one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from cpm_fast.data.loader import Batch
from cpm_fast.data.scenes.loader import SceneBatch
from cpm_fast.model.cpm import CPM, gaussian_center_map
from cpm_fast.model.crops import network_input
from cpm_fast.recipes import TrainingConfig
from cpm_fast.system.ranks import Ranks
from cpm_fast.system.torch_settings import tf32
from cpm_fast.training.targets.finding import FinderTargets
from cpm_fast.training.targets.loss import Targets, missed_part

ALONE = Ranks()


def update(
    model: CPM,
    optimizer: torch.optim.Optimizer,
    batch: Batch | SceneBatch,
    targets: Targets | FinderTargets,
    config: TrainingConfig,
    *,
    forward: torch.nn.Module | None = None,
    ranks: Ranks = ALONE,
    samples: int | None = None,
    supervised: Sequence[int] | None = None,
) -> torch.Tensor:
    """Run forward, backward and the optimizer's step at its current rate.

    The batch goes through in `config.accumulate` pieces whose gradients add up. With precision "bf16" the network runs
    under autocast; weights, normalization, losses and optimizer stay fp32.

    Args:
        model: in any mode, left in training mode.
        batch, targets: this process's share of the batch, on the model's device.
        forward: the module that runs the model, if not the model itself.
        ranks: the processes that share the batch.
        samples: in the batch of all processes; this one's if not given.
        supervised: stages whose losses count, from 1; all if not given.

    Returns:
        The loss of every stage before the step, over the batch of all processes, [T]; 0 for stages that did not run.
    """
    forward = model if forward is None else forward
    forward.train()
    device = batch.crops.device
    chosen = list(range(model.config.stages)) if supervised is None else [stage - 1 for stage in supervised]
    pieces = min(config.accumulate, len(batch.crops))
    robust = config.robust * missed_part(config.part_sigma)
    total = torch.zeros(model.config.stages, device=device)
    optimizer.zero_grad(set_to_none=True)
    split = list(zip(_pieces(batch, pieces), _pieces(targets, pieces), strict=True))
    for number, (piece, wanted) in enumerate(split, 1):
        with tf32(config.precision != "fp32", device), _alone(forward, number < pieces):
            crops = network_input(piece.crops, model.config).to(next(model.parameters()).dtype)
            center_map = gaussian_center_map(piece.center_box, model.config.input_size, model.config.center_sigma)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                beliefs = forward(crops, center_map)
            losses = wanted.losses(beliefs, len(batch.crops) if samples is None else samples, robust)
            # DistributedDataParallel takes the mean over the processes; the loss is over the samples of all of them.
            (losses[chosen].sum() * ranks.world).backward()
        total = total.to(losses.dtype)
        total[: len(losses)] += losses.detach()
    if config.clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    return ranks.sum(total)


def _pieces(rows: Any, count: int) -> list[Any]:
    """Return the samples of a batch, or their targets, in pieces of nearly equal size."""
    if count == 1:
        return [rows]
    tensors: dict[str, Any] = {
        field.name: torch.tensor_split(value, count)
        for field in fields(rows)
        if isinstance(value := getattr(rows, field.name), torch.Tensor)
    }
    return [replace(rows, **{name: parts[i] for name, parts in tensors.items()}) for i in range(count)]


def _alone(forward: torch.nn.Module, alone: bool) -> AbstractContextManager[None]:
    """Keep gradients in this process: the last piece sends those of all pieces to the others."""
    return forward.no_sync() if alone and isinstance(forward, DistributedDataParallel) else nullcontext()
