"""Batch normalization folded into weights: an equal network without it."""

from __future__ import annotations

from dataclasses import replace

import torch

from cpm_fast.model.cpm import CPM


@torch.no_grad()
def folded(model: CPM) -> CPM:
    """Fold the running statistics into the weights and biases of a copy, on the CPU and in evaluation mode."""
    plain = CPM(replace(model.config, norm="none")).eval()
    for layer in model.layers:
        if layer.kind == "conv":
            weight, bias = model.conv(layer.name).folded()
            plain.conv(layer.name).weight.copy_(weight)
            plain.conv(layer.name).bias.copy_(bias)
    return plain
