"""Prepared weights of an engine: shared, bounded in memory, and up to date with the model."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from cpm_fast import CPM, Engine
from cpm_fast.config import preset
from cpm_fast.engine import prepared
from cpm_fast.engine.engine import _prepared
from cpm_fast.engine.prepared import MOST_PLANS, tiles_within, total_spectra_bytes
from cpm_fast.model.groups import layer_groups
from cpm_fast.ops.plans.cpu import ConvShape, CpuPlan
from support.small_network import BOUND, LARGE, SMALL, crops, error, needs_native, network, scaled


def test_engines_of_a_model_share_its_weights_and_let_it_go():
    model = network(SMALL)
    first, second = Engine(model), Engine(model, threads=1)
    assert first._fresh() is second._fresh()
    alive = weakref.ref(model)
    del model, first, second
    gc.collect()
    assert alive() is None and all(other is not alive() for other in _prepared)


def spectra_in(engine: Engine) -> int:
    return sum(tensor.nbytes for tensor in engine._fresh().spectra.values())


@needs_native
def test_spectral_convolutions_are_as_exact_as_the_model():
    model = network(LARGE)
    engine, oracle, x = Engine(model), copy.deepcopy(model).double(), crops(LARGE, 3)
    with torch.no_grad():
        wanted, own = oracle(x.double()), model(x)
    assert "spectral" in engine.describe(3)
    assert error(engine(x), wanted) < max(2 * error(own, wanted), 1e-6)


@needs_native
def test_results_do_not_depend_on_memory_and_it_is_kept():
    model = network(LARGE)
    x = crops(LARGE, 2)
    wanted = Engine(model)(x)
    most = spectra_in(Engine(model))
    assert most > 0
    for memory in (0, most // 20, most // 2, most):
        engine = Engine(model, memory=memory)
        assert error(engine(x), wanted) < BOUND
        assert spectra_in(engine) <= memory
        assert ("spectral" in engine.describe(2)) == (memory >= most // 20)


@needs_native
def test_spectra_of_other_shapes_make_room():
    model = network(LARGE)
    memory = 3 * 2**20
    engine, plain = Engine(model, memory=memory), Engine(model, memory=0)
    for count, size in ((1, (128, 192)), (9, (128, 192)), (2, (96, 64)), (1, (128, 192))) * 2:
        x = torch.randn(count, 3, *size)
        assert error(engine(x), plain(x)) < BOUND
        assert spectra_in(engine) <= memory
    for count in range(1, MOST_PLANS + 4):
        engine(torch.randn(count, 3, 64, 64))
    assert len(engine._fresh().plans) <= MOST_PLANS


@needs_native
def test_spectra_follow_changed_weights():
    model = network(LARGE)
    engine, x = Engine(model), crops(LARGE, 1)
    before = engine(x)
    scaled(model, "stage2_conv1")
    with torch.no_grad():
        wanted = model(x)
    assert error(engine(x), wanted) < BOUND and error(before, wanted) > 1e-3


# A first call transforms all weights before it gives a key point, which takes as long as writing their spectra: 100 MB
# take 0.1 s (ops/plans/cpu.py), and preparing may take half a second.
MOST_SPECTRA = 500e6


@pytest.mark.parametrize("name", ["cpm6", "flic", "compact"])
@pytest.mark.parametrize("images", [1, 3])
def test_first_key_points_wait_for_few_spectra(name, images):
    with torch.device("meta"):
        model = CPM(preset(name))
    groups = [group for group in layer_groups(tuple(model.layers)) if group.kind == "conv"]
    shapes = {
        group.name: ConvShape(images, group.first.in_channels, group.channels, group.first.kernel, group.first.size)
        for group in groups
    }
    tiles = tiles_within(shapes, 2**40, CpuPlan())
    assert tiles and total_spectra_bytes(shapes, tiles, CpuPlan()) < MOST_SPECTRA


@needs_native
def test_every_weight_is_transformed_once(monkeypatch):
    model = network(LARGE)
    engine, made, real = Engine(model), [], prepared.transformed

    def counted(weight, tile, dtype):
        made.append((tuple(weight.shape), tile))
        return real(weight, tile, dtype)

    monkeypatch.setattr(prepared, "transformed", counted)
    engine(crops(LARGE, 1))
    first = len(made)
    assert first == len(engine._fresh().spectra) > 0
    engine(crops(LARGE, 1))
    Engine(model, threads=1)(crops(LARGE, 1))
    assert len(made) == first
    engine(crops(LARGE, 9))
    assert len(made) == len(engine._fresh().spectra)
