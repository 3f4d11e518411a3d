"""Histograms of gradients: every number counts once, in its bin, and a resumed run restores them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.training.diagnostics import LOG10_EDGES, gradient_histograms, typical_magnitude
from cpm_fast.training.loop import train
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.options import RunOptions
from support.runs import COMPACT, CONFIGS, DATA, QUIET


def test_magnitudes_by_hand():
    model = CPM(COMPACT)
    weight = model.conv("stage1_beliefs").weight
    weight.grad = torch.full_like(weight, -1.1e-3)
    weight.grad.view(-1)[:2] = torch.tensor([0.0, 1e9])
    counts = np.array(gradient_histograms(model)["stage1_beliefs"])
    assert counts.sum() == weight.numel() and counts[0] == counts[-1] == 1
    (place,) = np.flatnonzero(counts == weight.numel() - 2)
    assert LOG10_EDGES[place] == -3.0
    assert typical_magnitude(counts) == pytest.approx(10**-2.875)
    assert list(gradient_histograms(model)) == ["stage1_beliefs"]


def test_a_resumed_run_has_the_same_histograms(tmp_path):
    options = replace(QUIET, gradients_every=2)
    train(*CONFIGS["modern"], DATA, [], tmp_path / "whole", options=options)
    for stop in (5, None):
        train(*CONFIGS["modern"], DATA, [], tmp_path / "run", resume=True, options=replace(options, stop_after=stop))
    whole, again = (list(MetricsLog(tmp_path / run / "gradients.jsonl").rows()) for run in ("whole", "run"))
    assert [row["step"] for row in whole] == [2, 4, 6, 8, 10] and whole == again
    assert set(whole[0]["layers"]) == {layer.name for layer in CPM(COMPACT).layers if layer.kind == "conv"}


def test_a_negative_number_of_steps():
    with pytest.raises(ValueError, match="gradients_every must be 0 or more"):
        RunOptions(gradients_every=-1)
