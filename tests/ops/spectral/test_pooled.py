"""A convolution with its pool, whose map before the pool is never written, against two ops and against float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.maps import POOLS, Pool
from cpm_fast.ops.spectral import pooled
from cpm_fast.ops.spectral.pooled import pooled_conv
from cpm_fast.ops.spectral_conv import spectral_conv, transform_weight
from cpm_fast.reference.context_conv import context_conv as reference
from cpm_fast.system.torch_settings import cpu_threads
from support.cases import RELATIVE_ERROR, SpectralCase
from support.norm_ops import check_refuses_gradients

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
op = torch.ops.cpm_fast.pooled_conv.default
backward = torch.ops.cpm_fast.pooled_conv_backward.default
BOUND = RELATIVE_ERROR["spectral_gradient", torch.float32]
ALL = [True, True, True]
# Channels below, at and above a block of 16; maps of one tile and of several, and rows of tiles that end within a pair.
CASES = [
    SpectralCase("one tile", 2, (22, 18), 16, 16, 9, 32),
    SpectralCase("many tiles", 2, (34, 50), 3, 18, 9, 24),
    SpectralCase("blocks", 1, (28, 26), 20, 35, 5, 16),
    SpectralCase("one window", 3, (2, 2), 2, 1, 7, 16),
    SpectralCase("a row of windows", 1, (2, 60), 5, 16, 3, 20),
]


def given(case: SpectralCase, generator: torch.Generator) -> list[torch.Tensor]:
    x, weight, bias = case.inputs_of(generator)
    return [x.to(memory_format=torch.channels_last).requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]


def max_pool(y: torch.Tensor, pool: Pool, **settings: bool) -> torch.Tensor:
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0, **settings)


def gradient_of(y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(y.shape, generator=generator).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_reference(
    case: SpectralCase, pool: Pool, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    inputs = given(case, generator)
    y = pooled_conv(*inputs, case.tile, pool)
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = reference(*exact, True, pool)
    terms = reference(*(tensor.detach().abs() for tensor in exact), False, pool)
    assert float(((y - wanted).detach().abs() / terms.norm()).max()) < BOUND
    dy = gradient_of(y, generator)
    # Rounding may change which of a window's cells is the largest, or whether that is above 0.
    with torch.no_grad():
        other = op(*inputs, case.tile, *pool)[1] != pooled._pooled(reference(*exact, True), pool)[1]
    assert other.float().mean() < 1e-3
    dy[other] = 0
    found, right = torch.autograd.grad(y, inputs, dy), torch.autograd.grad(wanted, exact, dy.double())
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        assert float((one - other).norm()) <= BOUND * max(float(other.norm()), float(dy.norm()))


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows_are_those_of_two_ops(
    case: SpectralCase, pool: Pool, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    x, weight, bias = (tensor.detach() for tensor in given(case, generator))
    # Two equal maxima, and windows that are 0.
    weight[:, :, 0] = 0
    bias -= 0.5
    y, places = op(x, weight, bias, case.tile, *pool)
    full = spectral_conv(x, transform_weight(weight, case.tile), bias, True, case.kernel)
    wanted, at = max_pool(full, pool, return_indices=True)
    assert torch.equal(y, wanted) and (y.numel() < 100 or not y.all())
    # Cells of a map that holds their numbers.
    numbers = torch.arange(1.0, full[0, 0].numel() + 1).view(1, 1, *full.shape[2:]).expand_as(full)
    assert torch.equal(places == 0, y == 0)
    dy = torch.ones_like(y)
    cells = pooled._unpooled(dy, places, pool)
    counted = torch.zeros_like(full).flatten(2).scatter_add_(2, at.flatten(2), (y > 0).float().flatten(2)).view_as(full)
    assert torch.equal(cells, counted) and torch.equal(cells * numbers, counted * numbers)
    again, places_again = pooled._pooled(full, pool)
    assert torch.equal(again, y) and torch.equal(places_again, places)


def test_equal_values_give_the_gradient_to_the_first(native_code: None) -> None:
    x, weight, bias = torch.zeros(1, 1, 8, 8), torch.zeros(16, 1, 3, 3), torch.ones(16)
    for pool in POOLS:
        places = op(x, weight, bias, 16, *pool)[1]
        first = 1 + pool[1] * (pool[0] + 1)
        assert (places[:, :, 1:, 1:] == 1).all() and (places[:, :, 0, 0] == first).all()


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_any_number_of_threads_gives_the_same_bits(
    pool: Pool, native_code: None, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    case = CASES[1]
    inputs = given(case, generator)
    dy = torch.randn(2, 18, 17, 25, generator=generator)
    found = []
    for threads in (1, 2, 3, 7):
        with cpu_threads(threads):
            y = pooled_conv(*inputs, case.tile, pool)
            found.append([y, *torch.autograd.grad(y, inputs, dy)])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    # Chunks of a row of tiles.
    monkeypatch.setattr(pooled, "WORKSPACE_BYTES", 1)
    assert torch.equal(pooled_conv(*inputs, case.tile, pool), found[0][0])


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_wide_ranges_keep_their_digits(pool: Pool, simd: str, generator: torch.Generator) -> None:
    case = CASES[0]
    inputs = given(case, generator)
    with torch.no_grad():
        inputs[0][0, :, :, 0] *= 1e7
    y = pooled_conv(*inputs, case.tile, pool)
    dy = gradient_of(y, generator)
    dy[1, :, :3] *= 1e7
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = reference(*exact, True, pool)
    assert torch.allclose(y[0, :, :, 5:], wanted[0, :, :, 5:].float(), rtol=1e-3, atol=1e-5)
    found, right = torch.autograd.grad(y, inputs, dy)[0], torch.autograd.grad(wanted, exact, dy.double())[0]
    assert torch.allclose(found[1, :, 16:], right[1, :, 16:].float(), rtol=1e-3, atol=1e-4)


def test_nan_stays_in_its_window(native_code: None, generator: torch.Generator) -> None:
    case = CASES[1]
    x, weight, bias = (tensor.detach() for tensor in given(case, generator))
    clean = pooled_conv(x, weight, bias, case.tile, (2, 0))
    x[0, 1, 20, 30] = torch.nan
    y = pooled_conv(x, weight, bias, case.tile, (2, 0))
    assert y[0, :, 8:13, 13:18].isnan().all() and y[0, :, :8].isfinite().all()
    assert torch.equal(y[1], clean[1])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2)], ids=str)
def test_gradient_of_what_asks_for_it(wanted: tuple[int, ...], native_code: None, generator: torch.Generator) -> None:
    inputs = given(CASES[0], generator)
    every = torch.autograd.grad(pooled_conv(*inputs, 32, (2, 0)).square().sum(), inputs)
    inputs = [tensor.detach().requires_grad_(index in wanted) for index, tensor in enumerate(inputs)]
    pooled_conv(*inputs, 32, (2, 0)).square().sum().backward()
    for index, tensor in enumerate(inputs):
        assert (tensor.grad is not None) == (index in wanted)
        assert tensor.grad is None or torch.equal(tensor.grad, every[index])


def test_gradient_has_no_gradient(native_code: None, generator: torch.Generator) -> None:
    inputs = given(CASES[0], generator)
    (dweight,) = torch.autograd.grad(pooled_conv(*inputs, 32, (2, 0)).square().sum(), inputs[1], create_graph=True)
    with pytest.raises(RuntimeError, match="context_conv has no second gradient"):
        dweight.sum().backward()


def test_opcheck(native_code: None, generator: torch.Generator) -> None:
    torch.library.opcheck(op, (*given(CASES[3], generator), 16, 3, 1))


def test_gradient_op_rejects(native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = (tensor.detach() for tensor in given(CASES[0], generator))
    y, places = op(x, weight, bias, 32, 3, 0)
    check_refuses_gradients(backward, y, x, weight, places, 32, 3, 0, ALL)
    for wrong in (places[:, :, 1:], places.int()):
        with pytest.raises(ValueError, match=r"places must be \[2, 16, 11, 9\] uint8, got"):
            backward(torch.ones_like(y), x, weight, wrong, 32, 3, 0, ALL)


NETWORK = NetworkConfig(
    stages=2,
    input_size=(48, 48),
    trunk=((Conv(9, 16),), (Conv(9, 16),), (Conv(3, 16),)),
    features=(Conv(3, 8),),
    first=(Conv(1, 8),),
    refine=(Conv(3, 8),),
    norm="none",
    shared_trunk=False,
    init_std=None,
    dropout=0.0,
)


def trained(model: CPM, crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[list[torch.Tensor], int]:
    """Return the maps of a forward and a backward pass, and how many layers ran with their pools."""
    calls: list[int] = []

    def counted(*arguments):
        calls.append(1)
        return pooled_conv(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("cpm_fast.ops.context_conv.pooled_conv", counted)
        maps = model(crops)
        sum(each.square().sum() for each in maps).backward()
    return maps, len(calls)


def test_network_trains_as_layer_by_layer(
    native_code: None, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = CPM(NETWORK).train()
    theirs = copy.deepcopy(ours)
    crops = torch.rand(2, 3, 48, 48, generator=generator) - 0.5
    found, calls = trained(ours, crops, monkeypatch)
    assert calls == 4
    with monkeypatch.context() as patch:
        patch.setattr("cpm_fast.model.cpm._ModelWalk._pooled", lambda *_: False)
        wanted, calls = trained(theirs, crops, monkeypatch)
    assert calls == 0
    assert all(map(torch.equal, found, wanted))
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert float((mine.grad - other.grad).norm()) <= 1e-4 * float(other.grad.norm()), name


def test_under_autocast_and_on_the_reference_backend_layers_run_one_by_one(
    native_code: None, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, crops = CPM(NETWORK).train(), torch.rand(1, 3, 48, 48, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert trained(model, crops, monkeypatch)[1] == 0
    with backend.use_backend("reference"):
        assert trained(model, crops, monkeypatch)[1] == 0


def test_pool_of_every_form(native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = (tensor.detach() for tensor in given(CASES[1], generator))
    for pool in POOLS:
        for relu in (True, False):
            found = context_conv(x, weight, bias, relu, pool)
            assert torch.allclose(found, reference(x, weight, bias, relu, pool), atol=1e-4)
    compiled = torch.compile(lambda *inputs: context_conv(*inputs, True, (3, 0)), fullgraph=True)
    assert torch.allclose(compiled(x, weight, bias), reference(x, weight, bias, True, (3, 0)), atol=1e-4)
    with pytest.raises(ValueError, match=r"pool must be one of \[\(2, 0\), \(3, 0\), \(3, 1\)\], got \(4, 0\)"):
        context_conv(x, weight, bias, True, (4, 0))
    with pytest.raises(ValueError, match="x must have even h and w with pool"):
        context_conv(x[:, :, 1:], weight, bias, True, (2, 0))
