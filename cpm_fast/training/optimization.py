"""Optimizers and learning-rate schedules of the recipes, and the moving average of the weights."""

from __future__ import annotations

import math
from copy import deepcopy

import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import TrainingConfig

MOMENTUM = 0.9


def make_optimizer(model: CPM, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; groups carry `factor`, their share of the learning rate.

    Stage 1 and its own trunk have `stage1_factor`, biases (and normalization) `bias_factor` on top and no weight
    decay: with the paper's recipe 4e-4 and 8e-4 in stage 1, 8e-5 and 1.6e-4 after it; `stage_factors` and
    `trunk_factor` come on top. PyTorch keeps the learning
    rate outside the momentum buffer, Caffe inside; they differ only in the steps after the rate drops.
    """
    stage_of = {layer.name: layer.stage for layer in model.layers}
    of_stage = dict(enumerate(config.stage_factors, 1))
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        layer = name.split(".")[1]
        own_trunk = layer.startswith("trunk1") and not model.config.shared_trunk
        factor = config.stage1_factor if stage_of[layer] == 1 or own_trunk else 1.0
        factor *= of_stage.get(stage_of[layer], 1.0) if stage_of[layer] else config.trunk_factor
        is_weight = parameter.ndim == 4
        key = (factor if is_weight else factor * config.bias_factor, config.weight_decay if is_weight else 0.0)
        groups.setdefault(key, []).append(parameter)
    described = [
        {"params": parameters, "factor": factor, "weight_decay": decay, "lr": config.learning_rate * factor}
        for (factor, decay), parameters in groups.items()
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(described, lr=config.learning_rate)
    return torch.optim.SGD(described, lr=config.learning_rate, momentum=MOMENTUM)


def rate_factor(config: TrainingConfig, step: int, steps: int, per_epoch: float) -> float:
    """Return the share of the learning rate at a step, counted from 0, of `steps` in all.

    `per_epoch` is samples / batch, unrounded: 84 epochs of 25,925 samples at batch 16 are the release's 136,106 steps.
    """
    if config.schedule == "step":
        return config.step_factor ** (step // max(1, math.floor(config.step_epochs * per_epoch)))
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


class WeightAverage:
    """The exponential moving average of weights and normalization statistics over the steps.

    Args:
        model: of the weights; the average starts with them.
        decay: weight of the old average at a step. The first steps have a lower one: (1 + n) / (10 + n) after n steps.
    """

    def __init__(self, model: CPM, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: CPM, step: int) -> None:
        """Add the weights after a step, counted from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for kept, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)
