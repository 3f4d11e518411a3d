"""batch_norm's op against its reference, and the network's running statistics against PyTorch's."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.ops import backend
from cpm_fast.ops.batch_norm import batch_norm
from cpm_fast.reference.batch_norm import batch_norm as reference
from cpm_fast.system.torch_settings import cpu_threads
from support.cases import RELATIVE_ERROR
from support.norm_ops import check_compiles, check_op, check_refuses_gradients, error

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
op = torch.ops.cpm_fast.batch_norm.default
EPS = 1e-5
# Cells below, at and above a chunk of 256; channels below, at and above a vector.
SHAPES = [(1, 1, 1, 2), (2, 3, 8, 8), (1, 8, 16, 16), (3, 16, 17, 5), (2, 24, 16, 33), (1, 35, 40, 30)]
maps_of_both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def inputs_of(
    shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    x = torch.randn(shape, generator=generator) * 3 + 10 * torch.randn(1, shape[1], 1, 1, generator=generator)
    return [x.to(dtype), *(torch.randn(shape[1], generator=generator) for _ in range(2))]


def bound(found: torch.Tensor, op: str = "batch_norm") -> float:
    # Channels lie up to 30 deviations from 0, and the rounding error is relative to x.
    exact = 30 * RELATIVE_ERROR[op, torch.float32]
    return exact if found.dtype == torch.float32 else exact + RELATIVE_ERROR["batch_norm", found.dtype]


@maps_of_both_types
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], relu: bool, dtype: torch.dtype, poisoned_memory: None, generator: torch.Generator
) -> None:
    inputs = inputs_of(shape, generator, dtype)
    found = batch_norm(*inputs, EPS, relu)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert [tensor.dtype for tensor in found] == [dtype, torch.float32, torch.float32]
    wanted = reference(*(tensor.double() for tensor in inputs), EPS, relu)
    for one, right in zip(found, wanted, strict=True):
        assert one.shape == right.shape and error(one, right) <= bound(one)


@maps_of_both_types
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_gradient_matches_reference(
    shape: tuple[int, ...], relu: bool, dtype: torch.dtype, poisoned_memory: None, generator: torch.Generator
) -> None:
    inputs = [tensor.requires_grad_() for tensor in inputs_of(shape, generator, dtype)]
    y = batch_norm(*inputs, EPS, relu)[0]
    dy = torch.randn(shape, generator=generator).to(dtype)
    found = torch.autograd.grad(y, inputs, dy)
    # The mask comes from the tested code itself: rounding may change the sign of a value near 0.
    gated = (dy * (y > 0) if relu else dy).double()
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = torch.autograd.grad(reference(*doubles, EPS, False)[0], doubles, gated)
    for one, argument, right in zip(found, inputs, wanted, strict=True):
        assert one.dtype == argument.dtype and error(one, right) <= bound(one, "batch_norm_gradient")


POOLED_SHAPES = [(1, 1, 2, 2), (2, 3, 8, 6), (1, 35, 6, 132), (3, 16, 4, 130)]


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("shape", POOLED_SHAPES, ids=str)
def test_pool_takes_the_bits_and_the_gradient_of_the_largest(
    shape: tuple[int, ...], relu: bool, poisoned_memory: None, generator: torch.Generator
) -> None:
    inputs = [tensor.requires_grad_() for tensor in inputs_of(shape, generator)]
    found, *statistics = batch_norm(*inputs, EPS, relu, pool=True)
    whole, *wanted = batch_norm(*inputs, EPS, relu)
    pooled = F.max_pool2d(whole, 2)
    assert torch.equal(found, pooled) and all(map(torch.equal, statistics, wanted))
    assert found.is_contiguous(memory_format=torch.channels_last)
    dy = torch.randn(found.shape, generator=generator)
    gradients, rights = (torch.autograd.grad(y, inputs, dy) for y in (found, pooled))
    for one, right in zip(gradients, rights, strict=True):
        assert error(one, right.double()) <= 30 * RELATIVE_ERROR["batch_norm_gradient", torch.float32]


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("shape", POOLED_SHAPES[1:], ids=str)
def test_pool_compares_values_before_they_are_rounded(
    shape: tuple[int, ...], relu: bool, poisoned_memory: None, generator: torch.Generator
) -> None:
    # Equal numbers of bfloat16 are often different values, of which one alone is the largest.
    inputs = [tensor.requires_grad_() for tensor in inputs_of(shape, generator, torch.bfloat16)]
    found, *statistics = batch_norm(*inputs, EPS, relu, pool=True)
    whole, *wanted = batch_norm(*inputs, EPS, relu)
    assert torch.equal(found, F.max_pool2d(whole, 2)) and all(map(torch.equal, statistics, wanted))
    dy = torch.randn(found.shape, generator=generator).bfloat16()
    gradients = torch.autograd.grad(found, inputs, dy)
    gated = (dy * (found > 0) if relu else dy).double()
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    rights = torch.autograd.grad(reference(*doubles, EPS, False, True)[0], doubles, gated)
    for one, right in zip(gradients, rights, strict=True):
        assert error(one, right) <= bound(one, "batch_norm_gradient")


def test_pool_passes_the_gradient_to_the_first_of_equal_cells() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]])[None, None].requires_grad_()
    y = batch_norm(x, torch.ones(1), torch.zeros(1), EPS, True, pool=True)[0]
    (dx,) = torch.autograd.grad(y, x, torch.tensor([[[[1.0, 0.0]]]]))
    plain = reference(x, torch.ones(1), torch.zeros(1), EPS, True, True)[0]
    assert torch.allclose(dx, torch.autograd.grad(plain, x, torch.tensor([[[[1.0, 0.0]]]]))[0], atol=1e-6)
    assert dx[0, 0, 0, 1] > 0 > dx[0, 0, 1, 0]


@maps_of_both_types
def test_matches_reference_in_any_layout(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, weight, bias = inputs_of((2, 24, 16, 20), generator, dtype)
    wanted = batch_norm(x, weight, bias, EPS, True)
    wide = torch.randn(2, 30, 16, 41, generator=generator).to(dtype, memory_format=torch.channels_last)
    part = wide[:, 3:27, :, 1::2]
    part.copy_(x)
    strided = torch.randn(48, generator=generator)[::2]
    strided.copy_(weight)
    for other in (x.to(memory_format=torch.channels_last), part, x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert all(map(torch.equal, batch_norm(other, strided, bias, EPS, True), wanted))


@maps_of_both_types
def test_any_number_of_threads_gives_the_same_bits(dtype: torch.dtype, generator: torch.Generator) -> None:
    inputs = [tensor.requires_grad_() for tensor in inputs_of((4, 24, 64, 48), generator, dtype)]
    found: list[list[torch.Tensor]] = []
    for threads in (1, 2):
        with cpu_threads(threads):
            found.append([])
            for pool in (False, True):
                y, mean, variance = batch_norm(*inputs, EPS, True, pool)
                found[-1] += [y, mean, variance, *torch.autograd.grad(y.square().sum(), inputs)]
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_gradient_of_what_asks_for_it(wanted: tuple[int, ...], generator: torch.Generator) -> None:
    inputs = inputs_of((2, 3, 8, 8), generator)
    for index in wanted:
        inputs[index].requires_grad_()
    y, mean, variance = batch_norm(*inputs, EPS, True)
    assert not mean.requires_grad and not variance.requires_grad
    y.square().sum().backward()
    assert [index for index, tensor in enumerate(inputs) if tensor.grad is not None] == list(wanted)


def test_gradient_has_no_gradient(generator: torch.Generator) -> None:
    x, weight, bias = inputs_of((2, 3, 8, 8), generator)
    x.requires_grad_()
    y = batch_norm(x, weight, bias, EPS, False)[0]
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="batch_norm has no second gradient"):
        dx.sum().backward()


@maps_of_both_types
def test_matches_reference_at_nan(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, weight, bias = inputs_of((2, 3, 8, 8), generator, dtype)
    x[1, 1, 2, 3] = torch.nan
    y, mean, variance = batch_norm(x, weight, bias, EPS, True)
    assert y[:, 1].isnan().all() and mean[1].isnan() and variance[1].isnan()
    assert y[:, ::2].isfinite().all()


X, ONE = torch.zeros(2, 3, 4, 4), torch.ones(3)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((X[0], ONE, ONE, EPS, True), ValueError, r"x must be \[N, C, h, w\] with cells, got \[3, 4, 4\]"),
        ((X[:0], ONE, ONE, EPS, True), ValueError, r"x must be .* with cells, got \[0, 3, 4, 4\]"),
        ((X, ONE[:2], ONE, EPS, True), ValueError, r"weight must be \[3\], got \[2\]"),
        ((X, ONE, ONE[None], EPS, True), ValueError, r"bias must be \[3\], got \[1, 3\]"),
        ((X.int(), ONE, ONE, EPS, True), TypeError, "x must be floating point, got torch.int32"),
        ((X, ONE.double(), ONE, EPS, True), TypeError, "weight must be torch.float32 as x is"),
        ((X, ONE.bfloat16(), ONE, EPS, True), TypeError, "weight must be torch.float32 as x is"),
        ((X.half(), ONE.double(), ONE, EPS, True), TypeError, "or float32 for x of 16 bits, got torch.float64"),
        ((X, ONE, ONE.double(), EPS, True), TypeError, "bias must be torch.float32 as weight is, got torch.float64"),
        ((X, ONE.to("meta"), ONE, EPS, True), RuntimeError, "weight must be on cpu as x is, got meta"),
        (
            (X[:, :, :3], ONE, ONE, EPS, True, True),
            ValueError,
            r"x must have even h and w before a pool, got \[2, 3, 3, 4\]",
        ),
        ((X, ONE, ONE, -1.0, True), ValueError, "eps must be a finite number of at least 0, got -1.0"),
        ((X, ONE, ONE, float("nan"), True), ValueError, "eps must be a finite number"),
    ],
    ids=[
        "three sides",
        "no cells",
        "weight",
        "bias",
        "dtype",
        "dtypes",
        "rounded weight",
        "weight of 64 bits",
        "dtype of bias",
        "devices",
        "odd sides",
        "negative eps",
        "NaN for eps",
    ],
)
def test_rejects(arguments: tuple, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        batch_norm(*arguments)


@maps_of_both_types
def test_opcheck(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, *weights = inputs_of((2, 5, 6, 8), generator, dtype)
    for relu, pool in ((True, False), (False, False), (True, True)):
        check_op(op, x.clone().requires_grad_(), weights, EPS, relu, pool)


@maps_of_both_types
def test_compiles(dtype: torch.dtype, generator: torch.Generator) -> None:
    check_compiles(batch_norm, *inputs_of((2, 5, 6, 7), generator, dtype), EPS, True)


@maps_of_both_types
@pytest.mark.parametrize("pool", [False, True], ids=["whole", "pool"])
def test_gradient_op_rejects(dtype: torch.dtype, pool: bool, generator: torch.Generator) -> None:
    inputs = inputs_of((2, 5, 6, 8), generator, dtype)
    y, mean, variance = batch_norm(*inputs, EPS, True, pool)
    backward = torch.ops.cpm_fast.batch_norm_backward
    check_refuses_gradients(backward, y, *inputs, mean, variance, EPS, True, pool)


SMALL = NetworkConfig(
    stages=2,
    input_size=(32, 32),
    trunk=((Conv(3, 8),), (Conv(3, 8),), (Conv(3, 8),)),
    features=(Conv(3, 4),),
    first=(Conv(1, 8),),
    refine=(Conv(3, 8),),
    norm="batch",
    init_std=None,
    dropout=0.0,
)


@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving average", "cumulative average"])
def test_network_trains_as_with_pytorchs_normalization(
    momentum: float | None, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = CPM(SMALL).train()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    theirs = copy.deepcopy(ours)
    differences = []
    for _ in range(5):
        crops = torch.rand(3, 3, 32, 32, generator=generator) - 0.5
        for model in (ours, theirs):
            model.zero_grad()
            with monkeypatch.context() as patch:
                if model is theirs:
                    patch.setattr("cpm_fast.model.cpm._is_plain", lambda norm: False)
                sum(maps.square().mean() for maps in model(crops)).backward()
        differences.append(largest_gradient_difference(ours, theirs))
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(mine.double(), other.double(), rtol=1e-4, atol=1e-6), name
    # One in a hundred draws has a value so near 0 that rounding changes its sign, and the gradient jumps.
    assert sorted(differences)[2] <= 1e-4, differences


def test_network_under_autocast_trains_as_with_pytorchs_normalization(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = CPM(SMALL).train()
    ours, theirs = copy.deepcopy(exact), copy.deepcopy(exact)
    crops = torch.rand(8, 3, 32, 32, generator=generator) - 0.5
    gradients = []
    for model in (exact, ours, theirs):
        with monkeypatch.context() as patch, torch.autocast("cpu", torch.bfloat16, enabled=model is not exact):
            if model is theirs:
                patch.setattr("cpm_fast.model.cpm._is_plain", lambda norm: False)
            loss = sum(maps.float().square().mean() for maps in model(crops))
        loss.backward()
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
        # A bias before a normalization has no gradient but rounding.
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.ndim == 4]))
    right, *found = gradients
    mine, other = (error(one, right.double()) for one in found)
    # Two roundings of the same maps differ by chance; ours rounds less often.
    assert mine <= 1.5 * other
    for name, value in exact.named_buffers():
        assert torch.allclose(value.double(), ours.get_buffer(name).double(), rtol=0.02, atol=0.02), name


def largest_gradient_difference(ours: nn.Module, theirs: nn.Module) -> float:
    """Return the largest difference of two gradients, as a share of the largest number of its tensor."""
    largest = 0.0
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None
        # A bias before a normalization has no gradient but rounding.
        largest = max(largest, float((mine.grad - other.grad).abs().max() / (other.grad.abs().max() + 1e-2)))
    return largest


def test_listeners_of_a_normalization_are_called(generator: torch.Generator) -> None:
    model, called = CPM(SMALL).train(), []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: called.append(1))
    crops = torch.rand(1, 3, 32, 32, generator=generator)
    model(crops)
    assert len(called) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_as_exact_as_pytorch(generator: torch.Generator) -> None:
    # The errors of single draws differ by chance by up to a factor of two.
    ours, theirs = 0.0, 0.0
    for _ in range(16):
        x, weight, bias = inputs_of((4, 8, 64, 64), generator)
        right = reference(x.double(), weight.double(), bias.double(), EPS, True)[0]
        ours += error(batch_norm(x, weight, bias, EPS, True)[0], right)
        plain = F.batch_norm(x, torch.zeros(8), torch.ones(8), weight, bias, True, eps=EPS)
        theirs += error(F.relu(plain), right)
    assert ours <= 1.5 * theirs
