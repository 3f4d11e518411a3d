"""How large gradients are, layer by layer over a training (Wei et al. 2016, Figure 5)."""

from __future__ import annotations

import numpy as np

from cpm_fast.model.cpm import CPM

GRADIENTS_FILE = "gradients.jsonl"
# Quarters of a decade; what is smaller, 0 included, counts in the first bin, what is larger in the last.
LOG10_EDGES = np.arange(-14, 4.125, 0.25)


def gradient_histograms(model: CPM) -> dict[str, list[int]]:
    """For every convolution that has one, how many numbers of its weight's gradient have a magnitude in each bin.

    Gradients are taken as the optimizer got them, that is after clipping.
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
    """The median magnitude of a histogram, to the width of its bins: the middle of the bin that holds it."""
    place = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(10 ** ((LOG10_EDGES[place] + LOG10_EDGES[place + 1]) / 2))
