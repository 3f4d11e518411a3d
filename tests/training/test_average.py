"""The moving average of the weights: its law, its place in checkpoints, and its use as the weights of a run."""

from dataclasses import replace

import pytest
import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model, read_tensors
from cpm_fast.training.checkpoint import load_checkpoint
from cpm_fast.training.loop import train
from cpm_fast.training.optimization import WeightAverage, make_optimizer
from support.runs import COMPACT, CONFIGS, DATA, QUIET, weights

CONFIG = replace(CONFIGS["modern"][1], average=0.9)


def test_by_hand():
    model = CPM(COMPACT)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.convs["stage1_beliefs"].bias.fill_(1.0)
    average.update(model, 1)  # decays faster at first: 2 / 11 stays
    bias = average.model.convs["stage1_beliefs"].bias
    torch.testing.assert_close(bias, torch.full_like(bias, 9 / 11))
    average.update(model, 1000)  # then a half
    torch.testing.assert_close(bias, torch.full_like(bias, 10 / 11))
    assert not bias.requires_grad and not average.model.training


def test_best_and_final_are_the_average(tmp_path):
    model = train(COMPACT, CONFIG, DATA, DATA[1:], tmp_path, options=replace(QUIET, validate_every=3.0))
    tensors = read_tensors(tmp_path / "last.safetensors", "checkpoint")[0]
    final = weights(tmp_path)
    differing = 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, final[name]) and torch.equal(tensor, tensors[f"average.{name}"]), name
        differing += not torch.equal(tensor, tensors[f"model.{name}"])
    assert differing > 0
    best = load_model(tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(tensor, final[name]) for name, tensor in best.items())


def test_it_resumes_bit_for_bit(tmp_path):
    train(COMPACT, CONFIG, DATA, [], tmp_path / "whole", options=QUIET)
    for stop in (4, 5, None):
        train(COMPACT, CONFIG, DATA, [], tmp_path / "run", resume=True, options=replace(QUIET, stop_after=stop))
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name


def test_a_checkpoint_without_it_is_refused(tmp_path):
    model = train(COMPACT, replace(CONFIG, average=0.0), DATA, [], tmp_path, options=replace(QUIET, stop_after=1))
    average = WeightAverage(model, 0.9).model
    with pytest.raises(ValueError, match=r"last.safetensors: weights of another network: .* is missing"):
        load_checkpoint(tmp_path / "last.safetensors", model, make_optimizer(model, CONFIG), average)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_is_checked(decay):
    with pytest.raises(ValueError, match="average must be from 0 to below 1"):
        replace(CONFIG, average=decay)
