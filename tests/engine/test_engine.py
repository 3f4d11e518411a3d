"""The engine gives the model's results, for any change of the model, the inputs and the process."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from cpm_fast import CPM, Engine
from cpm_fast.config import Conv
from cpm_fast.engine.prepared import tiles_within, total_spectra_bytes
from cpm_fast.model.groups import layer_groups
from cpm_fast.ops import backend
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import CudaPlan
from support.small_network import BOUND, LARGE, SMALL, crops, error, needs_native, network, scaled

NETWORKS = {
    "as released, small": SMALL,
    "one trunk, batch norm": dataclasses.replace(SMALL, shared_trunk=True, norm="batch", pool_kernel=2),
    "two trunks, batch norm": dataclasses.replace(SMALL, norm="batch"),
    "one stage": dataclasses.replace(SMALL, stages=1),
    "no center map, no background": dataclasses.replace(
        SMALL, center_map=False, background=False, concat=("beliefs", "features")
    ),
    "two convolutions a block": dataclasses.replace(
        SMALL, trunk=((Conv(3, 6), Conv(3, 6)), (Conv(5, 5),), (Conv(3, 8),))
    ),
    "residual blocks": dataclasses.replace(
        SMALL,
        trunk=((Conv(3, 6), Conv(3, 6, add=1)), (Conv(5, 16), Conv(3, 16), Conv(7, 16, add=2)), (Conv(3, 8),)),
        tail=(Conv(3, 16), Conv(5, 16, add=1)),
        features=(Conv(1, 16), Conv(3, 16, add=1)),
        first=(Conv(3, 16), Conv(1, 16, add=1)),
        refine=(Conv(7, 16), Conv(7, 16), Conv(7, 16, add=2), Conv(1, 16, add=2), Conv(1, 8)),
        norm="batch",
    ),
    "residual blocks, one trunk, not normalized": dataclasses.replace(
        SMALL,
        shared_trunk=True,
        pool_kernel=2,
        refine=(Conv(11, 16), Conv(11, 16, add=1), Conv(11, 16, add=2)),
    ),
}


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("centered", [True, False], ids=["middle", "center map"])
def test_gives_what_the_model_gives(config, device, centered):
    model = network(config, device)
    engine, oracle = Engine(model), copy.deepcopy(model).double()
    for count in (1, 2, 2, 2, 0, 3):  # on CUDA the second call of a shape is captured, and the third is replayed
        x = crops(config, count, device)
        center = None if centered else torch.rand(count, 1, *config.input_size, device=device)
        with torch.no_grad():
            wanted = oracle(x.double(), None if center is None else center.double())
        found = engine(x, center)
        assert all(maps.dtype == torch.float32 and not maps.requires_grad for maps in found)
        if count:
            assert error(found, wanted) < BOUND
        else:
            assert [maps.shape for maps in found] == [maps.shape for maps in wanted]


@pytest.mark.parametrize("config", [NETWORKS["as released, small"], NETWORKS["one stage"]], ids=["stages", "one stage"])
def test_the_last_stage_alone_is_that_of_all(config, device):
    engine, x = Engine(network(config, device)), crops(config, 2, device)
    center = torch.rand(2, 1, *config.input_size, device=device)
    # Calls with and without a center map take turns on the same buffers.
    for given in (None, center, None, center):
        wanted = engine(x, given)[-1]
        (found,) = engine(x, given, last=True)
        assert torch.equal(found, wanted) and found.data_ptr() != wanted.data_ptr()


def test_other_sizes_than_the_configured_one():
    model = network(SMALL)
    x = torch.randn(1, 3, 40, 72)
    with torch.no_grad():
        assert error(Engine(model)(x), model(x)) < BOUND


def test_a_model_in_training_mode_is_evaluated_and_stays_in_it():
    model = network(NETWORKS["one trunk, batch norm"])
    x = crops(SMALL)
    with torch.no_grad():
        wanted = model(x)
    model.train()
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    assert error(Engine(model)(x), wanted) < BOUND
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())


CHANGES = {
    "under no_grad": lambda model: scaled(model, "stage1_conv1"),
    "a new parameter": lambda model: _replaced(model, "stage3_beliefs"),
    "a loaded state": lambda model: model.load_state_dict(
        {name: value * 1.1 if value.is_floating_point() else value for name, value in model.state_dict().items()}
    ),
    "an optimizer's step": lambda model: _optimized(model),
    "running statistics": lambda model: model.train()(crops(SMALL, 4)) and model.eval() and None,
}


def _replaced(model: CPM, name: str) -> None:
    conv = model.conv(name)
    conv.weight = torch.nn.Parameter(torch.randn_like(conv.weight))


def _optimized(model: CPM) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(maps.square().mean() for maps in model(crops(SMALL))).backward()
    optimizer.step()


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_noticed(change):
    model = network(NETWORKS["one trunk, batch norm"])
    engine, x = Engine(model), crops(SMALL)
    before = engine(x)
    CHANGES[change](model)
    with torch.no_grad():
        wanted = model(x)
    assert error(engine(x), wanted) < BOUND
    assert error(before, wanted) > 1e-3


def test_no_later_call_writes_to_what_was_given(device):
    engine = Engine(network(SMALL, device))
    x = crops(SMALL, 2, device)
    given = [engine(x) for _ in range(3)]
    kept = [[maps.clone() for maps in stages] for stages in given]
    for _ in range(3):
        engine(torch.randn_like(x))
    for stages, copies in zip(given, kept, strict=True):
        assert all(torch.equal(maps, copied) for maps, copied in zip(stages, copies, strict=True))


def test_results_do_not_depend_on_the_batch(device):
    engine = Engine(network(SMALL, device))
    x = crops(SMALL, 5, device)
    together = engine(x)
    apart = [torch.cat(maps) for maps in zip(*(engine(one) for one in x.split(1)), strict=True)]
    assert error(together, apart) < BOUND


def test_within_inference_mode_and_after_it():
    model = network(SMALL)
    x = crops(SMALL)
    with torch.inference_mode():
        engine = Engine(model)
        within = engine(x * 1)
    assert all(torch.equal(a, b) for a, b in zip(engine(x), within, strict=True))
    assert not any(maps.is_inference() for maps in within)


def test_a_model_with_its_own_forward_is_called():
    class Twice(CPM):
        def forward(self, crops, center_map=None):
            assert not self.training
            return [2 * maps for maps in super().forward(crops, center_map)]

    model = Twice(SMALL).train()
    x = crops(SMALL)
    plain = CPM(SMALL)
    plain.load_state_dict(model.state_dict())
    assert error(Engine(model)(x), [2 * maps for maps in Engine(plain)(x)]) < BOUND
    assert model.training


def test_steps_cover_every_layer_once_and_join_what_reads_the_same():
    layers = CPM.preset("cpm6").layers
    steps = layer_groups(layers)
    names = [layer.name for step in steps for layer in step.layers]
    assert sorted(names) == sorted(layer.name for layer in layers if layer.kind != "dropout")
    joined = {step.name: (step.first.in_channels, step.channels) for step in steps if len(step.layers) > 1}
    assert joined == {
        "trunk1_block1_conv1+trunk2_block1_conv1": (3, 256),
        "trunk1_block1_pool+trunk2_block1_pool": (128, 256),
        "+".join(f"stage{stage}_features1" for stage in range(2, 7)): (128, 160),
    }
    assert sum(step.macs for step in steps) == sum(layer.macs for layer in layers)


@needs_native
def test_programs_reuse_memory_and_pool_while_they_convolve():
    config = dataclasses.replace(NETWORKS["one trunk, batch norm"], input_size=(64, 64))
    engine = Engine(network(config))
    engine(crops(config, 1))
    prepared = engine._fresh()
    (plan,) = prepared.plans.values()
    (program,) = plan.idle
    assert not any(step.first.kind == "pool" for step in program.groups)
    assert "fused" in engine.describe() and "pool" not in engine.describe().split("algorithm")[1].replace("_pool", "")
    placed = [each for each in program.maps.values() if each.whole is None]
    apart = sum(each.tensor.numel() for each in placed)
    assert program.memory.numel() < apart
    for one in placed:
        for other in placed:
            if one is not other and one.begin <= other.end and other.begin <= one.end:
                first, second = sorted((one.tensor, other.tensor), key=torch.Tensor.data_ptr)
                assert first.data_ptr() + first.nbytes <= second.data_ptr()


@needs_native
@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (3, 0), (3, 1)])
def test_a_filtered_convolution_takes_only_pools_of_two_along(kernel, padding):
    trunk = ((Conv(3, 16),), (Conv(3, 32), Conv(3, 32)), (Conv(3, 32),))
    config = dataclasses.replace(SMALL, trunk=trunk, pool_kernel=kernel, pool_padding=padding, input_size=(64, 64))
    model = network(config)
    engine, x = Engine(model), crops(config, 2)
    with torch.no_grad():
        wanted = model(x)
    assert error(engine(x), wanted) < BOUND
    choices = engine._fresh().choices(2, config.input_size)
    filtered = [name for name, (form, _) in choices.items() if form == "winograd"]
    assert any("block2_conv2" in name for name in filtered)
    pools = [form for name, (form, _) in choices.items() if "block2_pool" in name]
    assert pools and all(form == ("fused" if kernel == 2 else "pool") for form in pools)


def test_on_the_reference_backend_all_is_direct():
    with backend.use_backend("reference"):
        engine = Engine(network(LARGE))
        assert "spectral" not in engine.describe() and "winograd" not in engine.describe()
        engine(crops(LARGE, 1))


def test_describe_names_every_step():
    engine = Engine(network(SMALL))
    plan, timed = engine.describe(), engine.describe(batch=2, measure=True)
    for step in engine.groups:
        assert step.name[:40] in plan and step.name[:40] in timed
    assert "fp32 on cpu" in plan and "for 2 of (64, 48)" in timed


REJECTED = [
    (ValueError, "precision must be one of", {"precision": "fp64"}),
    (ValueError, "memory must be a whole number of bytes, 0 or more, got -1", {"memory": -1}),
    (RuntimeError, "precision tf32 is for cuda, got device cpu", {"precision": "tf32"}),
    (ValueError, "device must be auto, cpu or cuda, .* got 'tpu'", {"device": "tpu"}),
]


@pytest.mark.parametrize(("kind", "message", "options"), REJECTED, ids=[message for _, message, _ in REJECTED])
def test_rejects_options(kind, message, options):
    with pytest.raises(kind, match=message):
        Engine(CPM(SMALL), **options)


def test_rejects_inputs():
    engine = Engine(CPM(SMALL))
    with pytest.raises(TypeError, match="model must be a CPM, got str"):
        Engine("compact-lsp")
    with pytest.raises(ValueError, match=r"crops must be \[N, 3, H, W\]"):
        engine(torch.zeros(1, 3, 60, 64))
    with pytest.raises(TypeError, match="crops must be floating point"):
        engine(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="center_map must be"):
        engine(torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 8, 8))
    with pytest.raises(RuntimeError, match="crops must be on cpu, where the engine is, got meta"):
        engine(torch.zeros(1, 3, 64, 64, device="meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 5e-6), ("tf32", 5e-3), ("bf16", 5e-2)])
def test_precision_on_cuda(precision, bound):
    model = network(SMALL, "cuda")
    engine, oracle = Engine(model, precision=precision), copy.deepcopy(model).double()
    for _ in range(3):
        x = crops(SMALL, 2, "cuda")
        with torch.no_grad():
            wanted = oracle(x.double())
        assert error(engine(x), wanted) < bound


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_on_another_stream_with_changing_inputs_and_weights():
    model = network(SMALL, "cuda")
    engine, stream = Engine(model), torch.cuda.Stream()
    for turn in range(6):
        x = crops(SMALL, 2, "cuda")
        if turn == 4:
            scaled(model, "stage1_conv1")
        with torch.no_grad():
            wanted = model(x)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = engine(x)
        stream.synchronize()
        assert error(found, wanted) < BOUND


@pytest.mark.parametrize("precision", ["bf16", "tf32x3"])
def test_the_plan_of_cuda_keeps_to_its_memory(precision):
    """Without a GPU: the tiles that an engine would take there, by their predicted times."""
    planner = CudaPlan(precision)
    shapes = {f"refine{i}": ConvShape(8, 128, 128, 11, (46, 46)) for i in range(3)}
    shapes["image"] = ConvShape(8, 3, 128, 9, (368, 368))
    most = total_spectra_bytes(shapes, tiles_within(shapes, 2**40, planner), planner)
    for memory in (0, most // 20, most // 2, most):
        tiles = tiles_within(shapes, memory, planner)
        assert "image" not in tiles and total_spectra_bytes(shapes, tiles, planner) <= memory
        assert len(tiles) == {0: 0, most: 3}.get(memory, len(tiles))
