"""An engine gives the model's present result, or refuses: changed weights, hooks, odd layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from cpm_fast import CPM, Engine
from cpm_fast.engine import changes
from cpm_fast.engine import engine as engine_module
from cpm_fast.engine.checksum import checksum
from cpm_fast.model.cpm import ContextConv
from cpm_fast.system.torch_settings import evaluating
from support.normed_network import BOUND, crops, error, network


def first_conv(model: CPM) -> nn.Module:
    return next(iter(model.convs.values()))


def scale_inference(model: CPM) -> None:
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.mul_(0.5)


def step(make: Callable) -> Callable[[CPM], None]:
    def change(model: CPM) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        make(model.parameters()).step()

    return change


def set_eps(model: CPM) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.0


def mask_of(conv: nn.Module) -> torch.Tensor:
    return (torch.rand_like(conv.weight) < 0.5).float()


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


class DoubledConv(ContextConv):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class DoubledFold(ContextConv):
    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = super().folded()
        return 2 * weight, 2 * bias


CHANGES: dict[str, Callable[[CPM], object]] = {
    "data.mul_": lambda model: [parameter.data.mul_(0.5) for parameter in model.parameters()],
    "data.copy_": lambda model: [parameter.data.copy_(torch.randn_like(parameter)) for parameter in model.parameters()],
    "one value by data": lambda model: first_conv(model).weight.data[2, 1, 0, 2].add_(0.5),
    "data assigned": lambda model: [
        setattr(parameter, "data", parameter.data * 0.5) for parameter in model.parameters()
    ],
    "detach": lambda model: [parameter.detach().mul_(0.5) for parameter in model.parameters()],
    "numpy": lambda model: [parameter.detach().numpy().__imul__(0.5) for parameter in model.parameters()],
    "moved": lambda model: [setattr(each, "data", each.data.clone().mul_(0.5)) for each in model.parameters()],
    "turned in place": lambda model: setattr(
        first_conv(model).weight, "data", first_conv(model).weight.data.transpose(2, 3)
    ),
    "two values swapped": lambda model: _swap(first_conv(model).weight.data[0, 0, 0]),
    "signs": lambda model: [parameter.data.neg_() for parameter in model.parameters()],
    "inference mode": scale_inference,
    "Adam fused": step(lambda parameters: torch.optim.Adam(parameters, 0.1, fused=True)),
    "AdamW fused": step(lambda parameters: torch.optim.AdamW(parameters, 0.1, fused=True)),
    "SGD fused": step(lambda parameters: torch.optim.SGD(parameters, 0.1, fused=True)),
    "Adagrad fused": step(lambda parameters: torch.optim.Adagrad(parameters, 0.1, fused=True)),
    "eps": set_eps,
    "running statistics by data": lambda model: [buffer.data.mul_(2) for buffer in model.buffers()],
    "hook on the model": lambda model: model.register_forward_hook(lambda *_: [2 * each for each in _[2]]),
    "hook on a layer": lambda model: first_conv(model).register_forward_hook(lambda *_: 2 * _[2]),
    "hook before a layer": lambda model: first_conv(model).register_forward_pre_hook(lambda *_: (2 * _[1][0],)),
    "hook on a normalization": lambda model: first_conv(model).norm.register_forward_pre_hook(
        lambda *_: (2 * _[1][0],)
    ),
    "forward of the model": lambda model: setattr(model, "forward", _doubled(model.forward)),
    "forward of a layer": lambda model: setattr(first_conv(model), "forward", _doubled(first_conv(model).forward)),
    "prune": lambda model: prune.custom_from_mask(first_conv(model), "weight", mask_of(first_conv(model))),
    "parametrize": lambda model: parametrize.register_parametrization(first_conv(model), "weight", Doubled()),
    "weight normalization": lambda model: (
        nn.utils.parametrizations.weight_norm(first_conv(model)).parametrizations["weight"].original0.data.mul_(2)
    ),
    "relu": lambda model: setattr(first_conv(model), "relu", False),
    "config": lambda model: setattr(model, "config", replace(model.config, center_sigma=3.0)),
    "inputs of the model": lambda model: setattr(model, "inputs", _of_doubled(model.inputs)),
    "folded of a layer": lambda model: setattr(first_conv(model), "folded", _doubled_each(first_conv(model).folded)),
    "folded of a class": lambda model: setattr(first_conv(model), "__class__", DoubledFold),
    "another parameter": lambda model: setattr(first_conv(model), "weight", nn.Parameter(-first_conv(model).weight)),
    "another layer": lambda model: model.convs.update({next(iter(model.convs)): first_conv(network(4))}),
    "another normalization": lambda model: setattr(first_conv(model), "norm", nn.BatchNorm2d(6, eps=0.5).eval()),
    "another class": lambda model: setattr(first_conv(model), "__class__", DoubledConv),
    "all of another model": lambda model: first_conv(model).__dict__.update(first_conv(network(4)).__dict__),
    "swapped tensors": lambda model: torch.utils.swap_tensors(
        first_conv(model).weight, nn.Parameter(-first_conv(model).weight)
    ),
    "hook that is gone": lambda model: (
        first_conv(model).register_forward_hook(lambda *_: None).remove(),
        first_conv(model).weight.data.neg_(),
    ),
}


def _swap(values: torch.Tensor) -> None:
    first = values[1].clone()
    values[1] = values[2]
    values[2] = first


def _doubled(forward: Callable) -> Callable:
    def twice(*arguments: object) -> object:
        found = forward(*arguments)
        return [2 * each for each in found] if isinstance(found, list) else 2 * found

    return twice


def _doubled_each(folded: Callable) -> Callable:
    return lambda: tuple(2 * each for each in folded())


def _of_doubled(inputs: Callable) -> Callable:
    return lambda crops, center_map=None: inputs(2 * crops, center_map)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("frozen", [None, False, True], ids=["this engine", "a new one", "a new frozen one"])
def test_a_change_counts_at_the_next_call(change: Callable[[CPM], object], frozen: bool | None) -> None:
    model, x = network(), crops()
    engine = Engine(model)
    before = engine(x)
    change(model)
    with torch.no_grad():
        wanted = model(x)
    # A new engine of a model starts from what the others have prepared; its promise begins with its own first call.
    found = (engine if frozen is None else Engine(model, frozen=frozen))(x)
    assert error(found, wanted) < BOUND, error(found, wanted)
    if change is not CHANGES["hook on a normalization"]:  # in evaluation mode it is folded and not called
        assert error(found, before) > 1e-4, "the test changes nothing"


def test_a_class_that_changes_and_a_plan_that_is_shown_first() -> None:
    class Layer(ContextConv):
        forward = ContextConv.forward

    model, x = network(), crops()
    first_conv(model).__class__ = Layer
    engine = Engine(model)
    before = engine(x)
    Layer.forward = lambda layer, x: 2 * ContextConv.forward(layer, x)
    engine.describe()
    with torch.no_grad():
        assert error(engine(x), model(x)) < BOUND < error(engine(x), before)


@pytest.mark.parametrize("name", ["forward", "folded"])
def test_a_method_that_all_layers_get_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), crops()
    engine, own = Engine(model), getattr(ContextConv, name)
    before = engine(x)

    def doubled(*given: torch.Tensor) -> object:
        found = own(*given)
        return 2 * found if isinstance(found, torch.Tensor) else tuple(2 * each for each in found)

    monkeypatch.setattr(ContextConv, name, doubled)
    with torch.no_grad():
        wanted = model(x)
    for each in (engine, Engine(model)):
        assert error(each(x), wanted) < BOUND < error(wanted, before)


def test_a_setting_of_a_parametrization_counts() -> None:
    class Scaled(nn.Module):
        factor = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.factor * x

    model, x, scaled = network(), crops(), Scaled()
    parametrize.register_parametrization(first_conv(model), "weight", scaled)
    engine = Engine(model)
    before = engine(x)
    scaled.factor = 3.0
    with torch.no_grad():
        assert error(engine(x), model(x)) < BOUND < error(engine(x), before)


def test_a_call_changes_nothing_of_a_parametrization_in_training() -> None:
    model, x = network(), crops()
    nn.utils.parametrizations.spectral_norm(first_conv(model))
    with torch.no_grad():
        wanted = model(x)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert error(Engine(model)(x), wanted) < BOUND
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_overlapping_calls_leave_a_model_in_training() -> None:
    """The calls of two threads end in the order in which they began."""
    model = network().train()
    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.modules())
    second.__exit__(None, None, None)
    assert all(module.training for module in model.modules())


def test_a_hook_on_all_modules_counts() -> None:
    model, x = network(), crops()
    engine = Engine(model)
    before = engine(x)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _, found: 2 * found if isinstance(module, ContextConv) else None
    )
    try:
        assert error(engine(x), before) > BOUND
    finally:
        handle.remove()
    assert all(map(torch.equal, engine(x), before))


def test_a_frozen_engine_does_not_look_again() -> None:
    model, x = network(), crops()
    engine = Engine(model, frozen=True)
    before = engine(x)
    next(model.parameters()).data.mul_(2)
    assert all(map(torch.equal, engine(x), before))
    with torch.no_grad():
        assert error(Engine(model)(x), model(x)) < BOUND


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda weight: weight.untyped_storage().resize_(0), "it was released"),
        (lambda weight: weight.untyped_storage().resize_(weight.nbytes // 2), "it was released"),
        (lambda weight: setattr(weight, "data", torch._neg_view(weight.data)), "a negative view"),
    ],
)
def test_weights_that_lose_their_memory_are_refused(damage: Callable[[nn.Parameter], object], message: str) -> None:
    model, x = network(), crops()
    engine = Engine(model)
    for _ in range(2):
        engine(x)
    damage(first_conv(model).weight)
    with pytest.raises(RuntimeError, match=message):
        engine(x)


def test_unchanged_weights_cost_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), crops()
    engine = Engine(model)
    engine(x)
    monkeypatch.setattr(changes, "checksum", lambda _: pytest.fail("the weights were checked one by one"))
    monkeypatch.setattr(engine_module, "odd", lambda _: pytest.fail("the modules were checked one by one"))
    engine(x)
    Engine(model)(x)


def test_hooks_are_refused_where_the_model_cannot_run_itself() -> None:
    model = network()
    first_conv(model).register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="forward hooks on .* runs on its own device"):
        Engine(model, tune=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
@pytest.mark.parametrize("count", [0, 1, 7, 63, 64, 65, 20_000])
def test_a_checksum_changes_with_every_value_and_its_place(dtype: torch.dtype, count: int) -> None:
    values = torch.randint(0, 200, (count,)).to(dtype)
    seen = {checksum([values])}
    places = torch.randint(0, max(count, 1), (20,)).unique().tolist() if count else []
    for place in places:
        other = values.clone()
        other[place] += 1
        seen.add(checksum([other]))
    assert len(seen) == 1 + len(places)
    if count > 1:
        ascending = torch.arange(count).remainder(200).to(dtype)
        assert checksum([ascending]) != checksum([ascending.roll(1)])
        assert checksum([ascending]) == checksum([ascending.clone()])
        assert checksum([ascending, values]) != checksum([values, ascending])
    if count and dtype.is_floating_point:
        # Two signs change in one chain of the sum.
        signs = values.clone()
        signs[:: max(count // 2, 1)] *= -1
        assert torch.equal(signs, values) or checksum([signs]) != checksum([values])


def test_the_weights_are_no_longer_read_when_a_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), crops()
    engine = Engine(model)
    engine(x)
    started = []
    read_ahead = changes.WeightsState.read_ahead

    class Ahead:
        def __init__(self, state: changes.WeightsState) -> None:
            self.real, self.waited = read_ahead(state), False
            started.append(self)

        def result(self) -> int:
            self.waited = True
            return self.real.result()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(changes.WeightsState, "read_ahead", lambda state: Ahead(state))
        patched.setattr(changes.Structure, "same", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine(x)
    assert [each.waited for each in started] == [True]
    assert error(engine(x), model(x)) < BOUND


def test_weights_elsewhere_are_not_read_ahead() -> None:
    model = network()
    engine = Engine(model)
    engine(crops())
    state = engine._fresh().versions
    assert state.read_ahead().result() == state.sum
    weight = next(model.parameters())
    weight.data = weight.data.clone()
    assert state.read_ahead() is None
    weight.untyped_storage().resize_(0)
    assert state.read_ahead() is None
