"""A running average of the weights, which is often better than the weights themselves."""

from __future__ import annotations

from copy import deepcopy

import torch

from cpm_fast.model.cpm import CPM


class WeightAverage:
    """Weights and normalization statistics, averaged over the steps with exponential forgetting.

    Args:
        model: whose weights; the average starts with them.
        decay: what stays of the average at a step. The first steps forget faster: (1 + n) / (10 + n) after n of them.
    """

    def __init__(self, model: CPM, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: CPM, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for kept, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)
