"""One update of the weights from one batch."""

from __future__ import annotations

import torch

from cpm_fast.crops import network_input
from cpm_fast.data.loader import Batch
from cpm_fast.execution import tf32
from cpm_fast.model.cpm import CPM, gaussian_center_map
from cpm_fast.recipes import TrainingConfig
from cpm_fast.training.loss import Targets, stage_losses


def update(
    model: CPM, optimizer: torch.optim.Optimizer, batch: Batch, targets: Targets, config: TrainingConfig
) -> torch.Tensor:
    """Forward, backward and the optimizer's step at the rate it has.

    With precision "bf16" the network runs under autocast; weights, normalization, losses and optimizer stay fp32.

    Args:
        model: in any mode, left in training mode.
        batch, targets: on the model's device.

    Returns:
        The loss of every stage before the step, [T].
    """
    model.train()
    device = batch.crops.device
    with tf32(config.precision != "fp32", device):
        crops = network_input(batch.crops, model.config).to(next(model.parameters()).dtype)
        center_map = gaussian_center_map(batch.center_box, model.config.input_size, model.config.center_sigma)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            beliefs = model(crops, center_map)
        losses = stage_losses(beliefs, targets)
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
    if config.clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    return losses.detach()
