"""The four schemes: their steps, losses, and trained weights."""

from dataclasses import replace

import pytest
import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.training.forward import Forward
from cpm_fast.training.loop import train
from cpm_fast.training.phases import Phase, frozen_layers, phase_at, run_phases
from support.runs import COMPACT, CONFIGS, DATA, QUIET, RELEASED, losses, weights

CONFIG = CONFIGS["modern"][1]


def phases(scheme: str, stages: int = 3, steps: int = 12) -> list[tuple]:
    found = run_phases(replace(CONFIG, scheme=scheme), stages, steps)
    return [(phase.first, phase.last, phase.stages, phase.supervised, phase.learning) for phase in found]


def test_the_phases_of_every_scheme():
    assert phases("joint") == [(0, 12, 3, (1, 2, 3), None)]
    assert phases("final_only") == [(0, 12, 3, (3,), None)]
    assert phases("stagewise") == [(0, 4, 1, (1,), 1), (4, 8, 2, (2,), 2), (8, 12, 3, (3,), 3)]
    assert phases("stagewise_then_joint") == [
        (0, 2, 1, (1,), 1),
        (2, 4, 2, (2,), 2),
        (4, 6, 3, (3,), 3),
        (6, 12, 3, (1, 2, 3), None),
    ]


@pytest.mark.parametrize("scheme", ["joint", "stagewise", "stagewise_then_joint", "final_only"])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_every_step_has_one_phase(scheme, steps):
    found = run_phases(replace(CONFIG, scheme=scheme), 3, steps)
    assert found[0].first == 0 and found[-1].last == steps
    for step in range(steps + 1):
        phase = phase_at(found, step)
        assert phase.first <= step < phase.last or (step == steps and phase == found[-1])


@pytest.mark.parametrize(
    ("network", "trunks"),
    [(COMPACT, {1: {"trunk1"}, 2: set()}), (RELEASED, {1: {"trunk1"}, 2: {"trunk2"}})],
    ids=["one trunk", "two trunks"],
)
def test_a_stage_learns_with_the_trunk_that_it_brings(network, trunks):
    layers = CPM(network).layers
    for stage in (1, 2):
        frozen = frozen_layers(layers, Phase(0, 1, stage, (stage,), stage))
        learning = {layer.name.split("_")[0] for layer in layers if layer.kind == "conv" and layer.name not in frozen}
        assert learning == {f"stage{stage}"} | trunks[stage]


@pytest.mark.parametrize("name", ["modern", "paper"])
def test_stage_by_stage_only_the_stage_in_turn_changes(tmp_path, name):
    """11 steps: stage 1 learns until step 6, stage 2 from there on; frozen weights and statistics stay as they are."""
    network, config = CONFIGS[name]
    config = replace(config, scheme="stagewise")
    kept = {}
    for stop in (6, None):
        model = train(network, config, DATA, [], tmp_path, resume=True, options=replace(QUIET, stop_after=stop))
        kept[stop] = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    torch.manual_seed(config.seed)
    start = CPM(network).state_dict()
    for key, tensor in kept[6].items():
        second = ".stage2_" in key or ".trunk2_" in key
        if second:
            assert torch.equal(tensor, start[key]), key
        else:
            assert torch.equal(tensor, kept[None][key]), key
    changed = [key for key, tensor in kept[None].items() if not torch.equal(tensor, kept[6][key])]
    assert "convs.stage2_beliefs.weight" in changed
    assert [loss[1] == 0 for step, loss in losses(tmp_path)] == [True, True, False, False]


@pytest.mark.parametrize("scheme", ["stagewise", "stagewise_then_joint", "final_only"])
def test_every_scheme_resumes_bit_for_bit(tmp_path, scheme):
    network, config = CONFIGS["modern"]
    config = replace(config, scheme=scheme)
    train(network, config, DATA, [], tmp_path / "whole", options=QUIET)
    for stop in (3, 6, 8, None):
        train(network, config, DATA, [], tmp_path / "run", resume=True, options=replace(QUIET, stop_after=stop))
    for key, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[key]), key


def test_the_last_loss_alone_reaches_the_first_layer():
    forward = Forward(CPM(RELEASED), Phase(0, 1, 2, (2,)))
    forward.train()(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64))[1].sum().backward()
    assert forward.model.conv("trunk1_block1_conv1").weight.grad.abs().sum() > 0


def test_a_scheme_that_is_none():
    with pytest.raises(ValueError, match="scheme must be one of"):
        replace(CONFIG, scheme="random")
