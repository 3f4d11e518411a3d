"""Optimizers and schedules: the release's effective rates, steps and update, and ours."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.config import Conv, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import RECIPES
from cpm_fast.training.optimization import MOMENTUM, make_optimizer, rate_factor, set_rate

FEW = {
    "input_size": (32, 32),
    "stages": 3,
    "trunk": ((Conv(3, 2),),) * 3,
    "features": (Conv(1, 2),),
    "first": (Conv(3, 2), Conv(1, 2)),
    "refine": (Conv(3, 2), Conv(1, 2)),
}
RELEASED_FORM = replace(preset("cpm6"), **FEW)
COMPACT_FORM = replace(preset("compact"), **FEW, tail=())
PAPER, MODERN = RECIPES["paper"], RECIPES["modern"]
MPII_SAMPLES, MPII_BATCH, MPII_STEPS = 25_925, 16, 136_106


def settings_of(model: CPM, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Return learning rate and weight decay of every parameter by name; each is in one group."""
    found = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[names.pop(id(parameter))] = group["lr"], group["weight_decay"]
    assert not names, f"not optimized: {list(names.values())}"
    return found


def test_the_release_has_four_rates():
    model = CPM(RELEASED_FORM)
    for name, (rate, decay) in settings_of(model, make_optimizer(model, PAPER)).items():
        layer, kind = name.split(".")[1:]
        first = layer.startswith(("trunk1", "stage1"))
        assert first or layer.startswith(("trunk2", "stage2", "stage3")), name
        wanted = {("weight", True): 4e-4, ("bias", True): 8e-4, ("weight", False): 8e-5, ("bias", False): 1.6e-4}
        assert rate == pytest.approx(wanted[kind, first], rel=1e-12), name
        assert decay == (5e-4 if kind == "weight" else 0.0), name


def test_a_shared_trunk_learns_at_the_later_stages_rate():
    model = CPM(replace(RELEASED_FORM, shared_trunk=True))
    rates = {name: rate for name, (rate, _) in settings_of(model, make_optimizer(model, PAPER)).items()}
    assert rates["convs.trunk1_block1_conv1.weight"] == pytest.approx(8e-5)
    assert rates["convs.stage1_features1.weight"] == pytest.approx(4e-4)


def test_ours_has_one_rate_and_decays_convolutions_only():
    model = CPM(COMPACT_FORM)
    optimizer = make_optimizer(model, MODERN)
    assert isinstance(optimizer, torch.optim.AdamW)
    for name, (rate, decay) in settings_of(model, optimizer).items():
        assert rate == MODERN.learning_rate
        assert decay == (MODERN.weight_decay if name.endswith("weight") and "norm" not in name else 0.0), name


def test_set_rate_keeps_the_shares():
    model = CPM(RELEASED_FORM)
    optimizer = make_optimizer(model, PAPER)
    before = settings_of(model, optimizer)
    set_rate(optimizer, PAPER.learning_rate * 0.333)
    for name, (rate, decay) in settings_of(model, optimizer).items():
        assert rate == pytest.approx(0.333 * before[name][0], rel=1e-12) and decay == before[name][1]


def test_step_schedule_of_the_release():
    """The rate falls to a third every 136,106 steps, which are 84 epochs of MPII at batch 16."""
    per_epoch = MPII_SAMPLES / MPII_BATCH

    def factor(step: int) -> float:
        return rate_factor(PAPER, step, 600_000, per_epoch)

    for drop in (1, 2, 3):
        first = drop * MPII_STEPS
        assert factor(first - 1) == pytest.approx(0.333 ** (drop - 1), rel=1e-12)
        assert factor(first) == pytest.approx(0.333**drop, rel=1e-12)
    assert factor(0) == 1.0


def test_step_schedule_of_few_samples_has_a_step_at_least():
    tiny = replace(PAPER, step_epochs=0.01)
    assert [rate_factor(tiny, step, 10, 1.0) for step in range(3)] == pytest.approx([1, 0.333, 0.333**2])


def test_cosine_by_hand():
    """100 steps, 5 of them warm-up: 1/5, 2/5, ... 1, then half a cosine down to almost 0."""
    factors = [rate_factor(MODERN, step, 100, 10) for step in range(100)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0
    assert rate_factor(replace(MODERN, warmup=0.0), 0, 100, 10) == 1.0
    middle = [rate_factor(replace(MODERN, warmup=0.2), 20 + 40, 100, 10)]
    assert middle == pytest.approx([0.5])
    assert 0 < factors[-1] < 0.001


@given(st.integers(1, 5000), st.floats(0, 0.9))
def test_cosine_rises_then_falls_and_stays_positive(steps, warmup):
    config = replace(MODERN, warmup=warmup)
    factors = np.array([rate_factor(config, step, steps, 1) for step in range(steps)])
    top = int(factors.argmax())
    assert factors.max() <= 1.0 and factors.min() > 0
    assert (np.diff(factors[: top + 1]) > 0).all() and (np.diff(factors[top:]) <= 1e-12).all()


def test_sgd_is_caffes_update():
    """Caffe: v = 0.9 v + rate (gradient + decay w), w -= v. The two forms agree while the rate stays."""
    torch.manual_seed(0)
    model = CPM(RELEASED_FORM)
    optimizer = make_optimizer(model, PAPER)
    settings = settings_of(model, optimizer)
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    speed = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for _ in range(3):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            rate, decay = settings[name]
            speed[name] = MOMENTUM * speed[name] + rate * (parameter.grad.double() + decay * weights[name])
            weights[name] = weights[name] - speed[name]
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), weights[name], rtol=1e-5, atol=1e-8)


def test_first_adam_step_by_hand():
    """The weight shrinks by rate x decay; then, by bias correction, the first step is -rate x sign of the gradient."""
    torch.manual_seed(0)
    model = CPM(COMPACT_FORM)
    config = replace(MODERN, weight_decay=0.1)
    optimizer = make_optimizer(model, config)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        decay = config.weight_decay if parameter.ndim == 4 else 0.0
        wanted = before[name] * (1 - config.learning_rate * decay) - config.learning_rate * parameter.grad.sign()
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=1e-6)


def test_stages_and_trunks_may_have_factors():
    model = CPM(RELEASED_FORM)
    config = replace(MODERN, stage_factors=(0.5, 2.0), trunk_factor=0.1)
    for name, (rate, _) in settings_of(model, make_optimizer(model, config)).items():
        layer = name.split(".")[1].split("_")[0]
        share = {"trunk1": 0.1, "trunk2": 0.1, "stage1": 0.5, "stage2": 2.0, "stage3": 1.0}[layer]
        assert rate == pytest.approx(MODERN.learning_rate * share), name
    with pytest.raises(ValueError, match="stage_factors must be positive"):
        replace(MODERN, stage_factors=(1.0, 0.0))
