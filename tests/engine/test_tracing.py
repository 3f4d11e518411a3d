"""Engines under tracing, compiling, transforms, deterministic mode and graph capture: right, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from cpm_fast import Engine
from cpm_fast.engine import changes
from cpm_fast.ops import backend
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from support.normed_network import BOUND, crops, error, network


def test_a_compiled_function_calls_the_engine_and_prepares_nothing() -> None:
    model, x = network(), crops()
    with torch.no_grad():
        wanted = model(x)
    engine = Engine(model)
    compiled = torch.compile(lambda x: engine(2 * x / 2)[-1] + 1, backend="eager")
    for _ in range(2):
        assert error([compiled(x) - 1], wanted[-1:]) < BOUND
        assert error(Engine(model)(x), wanted) < BOUND
    with pytest.raises(Exception, match="Engine|disable|skip"):
        torch.compile(lambda x: engine(x)[-1], backend="eager", fullgraph=True)(x)


@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="no native code")
def test_a_compiled_function_may_pack_weights() -> None:
    x, weight, bias = torch.randn(1, 3, 8, 8), torch.randn(16, 3, 3, 3), torch.randn(16)
    packed = torch.compile(pack_weight, backend="aot_eager", fullgraph=True)(weight)
    assert torch.equal(packed, pack_weight(weight))
    found = torch.compile(lambda x, w: direct_conv(x, pack_weight(w), bias, True), backend="aot_eager", fullgraph=True)(
        x, weight
    )
    assert torch.equal(found, direct_conv(x, pack_weight(weight), bias, True))


def test_tracing_and_transforms_are_refused_by_name() -> None:
    model, x = network(), crops(2)
    engine = Engine(model)
    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def under_fake() -> object:
        with fake:
            return engine(fake.from_tensor(x))

    for call in (
        lambda: torch.func.vmap(lambda x: engine(x[None])[-1])(x),
        lambda: torch.func.grad(lambda x: engine(x)[-1].sum())(x),
        lambda: torch.func.jvp(lambda x: engine(x)[-1], (x,), (x,)),
        lambda: torch.jit.trace(lambda x: engine(x)[-1], (x,)),
        lambda: make_fx(lambda x: engine(x)[-1])(x),
        lambda: make_fx(lambda x: engine(x)[-1], tracing_mode="fake")(x),
        under_fake,
    ):
        with pytest.raises(RuntimeError, match="Engine can't be called under"):
            call()
    with pytest.raises(RuntimeError, match="crops must be a tensor with memory of its own"):
        engine(fake.from_tensor(x))
    with torch.no_grad():
        assert error(engine(x), model(x)) < BOUND


def test_a_functional_call_of_the_model_leaves_the_engine_alone() -> None:
    model, x = network(), crops()
    engine, other = Engine(model), {name: 2 * value for name, value in network().named_parameters()}
    before = engine(x)
    torch.func.functional_call(model, other, (x,))
    assert all(map(torch.equal, engine(x), before))


def test_deterministic_mode_changes_nothing() -> None:
    model, x = network(), crops()
    wanted = Engine(model)(x)
    torch.use_deterministic_algorithms(True)
    try:
        assert all(map(torch.equal, Engine(network())(x), wanted))
    finally:
        torch.use_deterministic_algorithms(False)


def test_nothing_is_prepared_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="can't be captured in a CUDA graph before its weights are prepared"):
        changes.check_not_capturing(torch.device("cuda"), "its weights are prepared")
    changes.check_not_capturing(torch.device("cpu"), "its weights are prepared")
