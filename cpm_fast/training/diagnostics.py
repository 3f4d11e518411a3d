"""Checks on a training under way: finite losses and weights, and the size of gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cpm_fast.model.cpm import CPM

GRADIENTS_FILE = "gradients.jsonl"
# Quarters of a decade; smaller values, 0 included, count in the first bin, larger ones in the last.
LOG10_EDGES = np.arange(-14, 4.125, 0.25)


def what_is_not_finite(losses: Sequence[torch.Tensor], step: int, model: CPM) -> str | None:
    """Return a sentence about the first loss or weight that is not finite; None if all are.

    Args:
        losses: of every stage [T], of the last steps up to and with `step`.
        step: counted from 1.
        model: its weights and statistics are checked if the losses are finite.
    """
    for at, of_stages in enumerate(losses, step - len(losses) + 1):
        if not bool(of_stages.isfinite().all()):
            return f"the losses of the stages are {of_stages.tolist()} at step {at}"
    if all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        return None
    return f"weights are not finite after step {step}"


def gradient_histograms(model: CPM) -> dict[str, list[int]]:
    """Count the magnitudes of each convolution's weight gradient in bins (Wei et al. 2016, Figure 5).

    Gradients are those that the optimizer receives, that is after clipping.
    """
    found = {}
    for layer in model.layers:
        if layer.kind != "conv" or (gradient := model.conv(layer.name).weight.grad) is None:
            continue
        magnitude = gradient.detach().abs().flatten().double().cpu().numpy()
        smallest, largest = 10.0 ** LOG10_EDGES[0], 10.0 ** LOG10_EDGES[-1]
        counts, _ = np.histogram(np.log10(np.clip(magnitude, smallest, largest)), LOG10_EDGES)
        found[layer.name] = counts.tolist()
    return found


def typical_magnitude(counts: np.ndarray) -> float:
    """Return the median magnitude of a histogram, to the width of its bins: the middle of the bin that holds it."""
    place = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(10 ** ((LOG10_EDGES[place] + LOG10_EDGES[place + 1]) / 2))
