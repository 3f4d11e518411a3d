"""conv_norm_pool's op against its reference, and a network that runs its first layers by it."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.ops import backend
from cpm_fast.ops.conv_norm_pool import conv_norm_pool
from cpm_fast.reference.conv_norm_pool import conv_norm_pool as reference
from cpm_fast.system.torch_settings import cpu_threads
from support.cases import RELATIVE_ERROR
from support.norm_ops import check_compiles, check_op, check_refuses_gradients, error

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
op = torch.ops.cpm_fast.conv_norm_pool.default
EPS = 1e-5
BOUND = RELATIVE_ERROR["conv_norm_pool", torch.float32]
# (N, C, h, w, O): windows below, at and above a strip of 64; outputs below, at and above a block of 16.
SHAPES = [
    (1, 3, 2, 2, 1),
    (2, 3, 8, 10, 16),
    (1, 1, 6, 128, 5),
    (3, 3, 4, 146, 32),
    (2, 4, 12, 34, 33),
    (1, 7, 2, 4, 3),
]


def inputs_of(shape: tuple[int, ...], generator: torch.Generator) -> list[torch.Tensor]:
    images, inputs, height, width, outputs = shape
    x = torch.rand(images, inputs, height, width, generator=generator) - 0.5
    vectors = (torch.randn(outputs, generator=generator) for _ in range(3))
    return [x, torch.randn(outputs, inputs, 3, 3, generator=generator), *vectors]


def check(shape: tuple[int, ...], generator: torch.Generator) -> None:
    x, *weights = inputs_of(shape, generator)
    weights = [weight.requires_grad_() for weight in weights]
    found = conv_norm_pool(x, *weights, EPS)
    doubles = [weight.detach().double().requires_grad_() for weight in weights]
    wanted = reference(x.double(), *doubles, EPS)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    mean, variance = wanted[1].detach(), wanted[2].detach()
    # A ReLU may leave few values, but not few of the terms that they are sums of.
    terms = (weights[2].square() + weights[3].square()).sum().sqrt() * (wanted[0][:, 0].numel()) ** 0.5
    # Rounding is relative to the values of the map, and the normalization enlarges it where they are nearly the same.
    size = (mean.square() + variance).sqrt().norm()
    enlarged = max(1.0, float(size / variance.min().sqrt()))
    bounds = (BOUND * enlarged * terms.detach(), BOUND * size, BOUND * size.square())
    for one, right, most in zip(found, wanted, bounds, strict=True):
        assert one.shape == right.shape and float((one.detach().double() - right).norm()) <= float(most)
    dy = torch.randn(found[0].shape, generator=generator)
    # Rounding may change the sign of a value near 0, and which of two cells is the larger: those windows are left out.
    dy[((found[0] > 0) != (wanted[0] > 0)) | (found[0] < 1e-4)] = 0
    gradients = torch.autograd.grad(found[0], weights, dy)
    rights = torch.autograd.grad(wanted[0], doubles, dy.double())
    assert not gradients[1].any(), "the mean takes the bias away"
    for number in (0, 2, 3):
        # Sums of terms as large as dy, which may cancel.
        scale = rights[number].norm().clamp(min=max(1.0, float(dy.norm())))
        assert float((gradients[number].double() - rights[number]).norm() / scale) <= 3 * BOUND * enlarged**2, number


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_matches_reference(shape: tuple[int, ...], poisoned_memory: None, generator: torch.Generator) -> None:
    check(shape, generator)


@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(2, 9),
    st.integers(2, 70),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
def test_matches_reference_at_any_size(
    images: int, inputs: int, rows: int, columns: int, outputs: int, seed: int
) -> None:
    check((images, inputs, 2 * rows, 2 * columns, outputs), torch.Generator().manual_seed(seed))


def test_one_window(generator: torch.Generator) -> None:
    inputs = inputs_of(SHAPES[0], generator)
    found, wanted = conv_norm_pool(*inputs, EPS), reference(*(tensor.double() for tensor in inputs), EPS)
    assert all(error(one, right) <= 10 * BOUND for one, right in zip(found, wanted, strict=True))


def test_moments_of_a_bright_image_do_not_cancel(generator: torch.Generator) -> None:
    x, weight, bias, scale, shift = inputs_of((2, 3, 8, 20, 5), generator)
    x[:, :, 1:-1, 1:-1] += 1000
    # Weights of sum 0 leave nothing of the brightness in most cells.
    weight -= weight.mean((2, 3), keepdim=True)
    found = conv_norm_pool(x, weight, bias, scale, shift, EPS)
    wanted = reference(*(tensor.double() for tensor in (x, weight, bias, scale, shift)), EPS)
    for one, right in zip(found[1:], wanted[1:], strict=True):
        assert torch.allclose(one.double(), right, rtol=3e-7, atol=1e-6)


def test_matches_reference_in_any_layout(generator: torch.Generator) -> None:
    x, weight, *vectors = inputs_of((2, 3, 16, 20, 24), generator)
    wanted = conv_norm_pool(x, weight, *vectors, EPS)
    part = torch.randn(2, 5, 16, 41, generator=generator).to(memory_format=torch.channels_last)[:, 1:4, :, 1::2]
    part.copy_(x)
    turned = weight.to(memory_format=torch.channels_last)
    strided = torch.stack(vectors, dim=1)
    for other in (x.to(memory_format=torch.channels_last), part, x.transpose(2, 3).contiguous().transpose(2, 3)):
        found = conv_norm_pool(other, turned, *strided.unbind(1), EPS)
        assert all(map(torch.equal, found, wanted))


def test_any_number_of_threads_gives_the_same_bits(generator: torch.Generator) -> None:
    x, *weights = inputs_of((3, 3, 34, 150, 24), generator)
    weights = [weight.requires_grad_() for weight in weights]
    dy = torch.randn(3, 24, 17, 75, generator=generator)
    found = []
    for threads in (1, 2):
        with cpu_threads(threads):
            y, mean, variance = conv_norm_pool(x, *weights, EPS)
            found.append([y, mean, variance, *torch.autograd.grad(y, weights, dy)])
    assert all(map(torch.equal, *found))


def test_nan_stays_in_its_channel(generator: torch.Generator) -> None:
    x, weight, *vectors = inputs_of((2, 3, 8, 8, 5), generator)
    weight[2, 1, 1, 1] = torch.nan
    y, mean, _ = conv_norm_pool(x, weight, *vectors, EPS)
    assert y[:, 2].isnan().all() and mean[2].isnan()
    assert y[:, [0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("name", ["fast", "reference"])
def test_autocast_rounds_the_result_alone(name: str, generator: torch.Generator) -> None:
    x, *weights = inputs_of(SHAPES[1], generator)
    weights = [weight.requires_grad_() for weight in weights]
    dy = torch.randn(2, 16, 4, 5, generator=generator).bfloat16()
    with backend.use_backend(name):
        plain = conv_norm_pool(x, *weights, EPS)
        with torch.autocast("cpu", torch.bfloat16):
            cast = conv_norm_pool(x, *weights, EPS)
    assert cast[0].dtype == torch.bfloat16 and torch.equal(cast[0], plain[0].bfloat16())
    assert all(map(torch.equal, cast[1:], plain[1:]))
    found = torch.autograd.grad(cast[0], weights, dy)
    for one, right in zip(found, torch.autograd.grad(plain[0], weights, dy.float()), strict=True):
        # To rounding, as a gradient of the same numbers is read from another type; that of the bias is 0.
        assert one.dtype == torch.float32 and torch.allclose(one, right, rtol=1e-5, atol=1e-5)


def test_autocast_to_float16_changes_nothing(generator: torch.Generator) -> None:
    given = inputs_of(SHAPES[1], generator)
    with torch.autocast("cpu", torch.float16):
        cast = conv_norm_pool(*given, EPS)
    assert all(map(torch.equal, cast, conv_norm_pool(*given, EPS)))


@pytest.mark.parametrize("wanted", [(1,), (2,), (3,), (1, 4)], ids=str)
def test_gradient_of_what_asks_for_it(wanted: tuple[int, ...], generator: torch.Generator) -> None:
    inputs = inputs_of((2, 3, 8, 8, 4), generator)
    for index in wanted:
        inputs[index].requires_grad_()
    y, mean, variance = conv_norm_pool(*inputs, EPS)
    assert not mean.requires_grad and not variance.requires_grad
    y.square().sum().backward()
    assert [index for index, tensor in enumerate(inputs) if tensor.grad is not None] == list(wanted)


def test_gradient_has_no_gradient(generator: torch.Generator) -> None:
    x, weight, *vectors = inputs_of((2, 3, 8, 8, 4), generator)
    weight.requires_grad_()
    y = conv_norm_pool(x, weight, *vectors, EPS)[0]
    (dweight,) = torch.autograd.grad(y.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="conv_norm_pool has no second gradient"):
        dweight.sum().backward()


X, WEIGHT, ONE = torch.zeros(2, 3, 4, 4), torch.zeros(5, 3, 3, 3), torch.ones(5)
SIDES = [ONE, ONE, ONE, EPS]


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((X[0], WEIGHT, *SIDES), ValueError, r"x must be \[N, C, h, w\] with cells and channels, got \[3, 4, 4\]"),
        ((X[:0], WEIGHT, *SIDES), ValueError, r"x must be .* with cells and channels, got \[0, 3, 4, 4\]"),
        ((X[:, :, :3], WEIGHT, *SIDES), ValueError, r"x must have even h and w before a pool, got \[2, 3, 3, 4\]"),
        ((X, WEIGHT[:, :2], *SIDES), ValueError, r"weight must be \[O, 3, 3, 3\], got \[5, 2, 3, 3\]"),
        ((X, WEIGHT[..., :1], *SIDES), ValueError, r"weight must be \[O, 3, 3, 3\], got \[5, 3, 3, 1\]"),
        ((X, WEIGHT, ONE[:2], *SIDES[1:]), ValueError, r"bias must be \[5\], got \[2\]"),
        ((X, WEIGHT, ONE, ONE[None], ONE, EPS), ValueError, r"scale must be \[5\], got \[1, 5\]"),
        ((X.int(), WEIGHT, *SIDES), TypeError, "x must be floating point, got torch.int32"),
        ((X, WEIGHT.double(), *SIDES), TypeError, "weight must be torch.float32 as x is"),
        ((X, WEIGHT.to("meta"), *SIDES), RuntimeError, "weight must be on cpu as x is, got meta"),
        ((X, WEIGHT, ONE, ONE, ONE, -1.0), ValueError, "eps must be a finite number of at least 0, got -1.0"),
        ((X.clone().requires_grad_(), WEIGHT, *SIDES), RuntimeError, "conv_norm_pool has no gradient in x"),
    ],
    ids=[
        "three sides",
        "no cells",
        "odd sides",
        "inputs",
        "kernel",
        "bias",
        "scale",
        "dtype",
        "dtypes",
        "devices",
        "negative eps",
        "gradient of x",
    ],
)
def test_rejects(arguments: tuple, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        conv_norm_pool(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_opcheck(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, *weights = inputs_of((2, 3, 6, 8, 5), generator)
    check_op(op, x, weights, EPS, dtype)


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_compiles(autocast: bool, generator: torch.Generator) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        check_compiles(conv_norm_pool, *inputs_of((2, 3, 6, 8, 5), generator), EPS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_gradient_op_rejects(dtype: torch.dtype, generator: torch.Generator) -> None:
    inputs = inputs_of((2, 3, 6, 8, 5), generator)
    x, weight, _, scale, _ = inputs
    y, places, _, *moments = op(*inputs, EPS, dtype)
    backward = torch.ops.cpm_fast.conv_norm_pool_backward
    check_refuses_gradients(backward, y, places, x, weight, scale, *moments, EPS, dtype)
    for other in (places[..., 1:], places.int()):
        with pytest.raises(ValueError, match=r"places must be \[2, 5, 3, 4\] uint8, got"):
            backward(y, other, x, weight, scale, *moments, EPS, dtype)


SMALL = NetworkConfig(
    stages=2,
    input_size=(32, 32),
    trunk=((Conv(3, 8),), (Conv(3, 8),), (Conv(3, 8),)),
    features=(Conv(3, 4),),
    first=(Conv(1, 8),),
    refine=(Conv(3, 8),),
    pool_kernel=2,
    pool_padding=0,
    norm="batch",
    shared_trunk=True,
    init_std=None,
    dropout=0.0,
)


def called(model: CPM, crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[list[torch.Tensor], list[str]]:
    """Return a model's maps, and which ops with a pool it has run."""
    names: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("conv_norm_pool", "batch_norm"):
            before = getattr(__import__("cpm_fast.model.cpm", fromlist=[name]), name)

            def run(*arguments, name=name, before=before):
                if name == "conv_norm_pool" or arguments[-1]:
                    names.append(name)
                return before(*arguments)

            patch.setattr(f"cpm_fast.model.cpm.{name}", run)
        return model(crops), names


def test_network_trains_as_layer_by_layer(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = CPM(SMALL).train()
    theirs = copy.deepcopy(ours)
    crops = torch.rand(3, 3, 32, 32, generator=generator) - 0.5
    with monkeypatch.context() as patch:
        patch.setattr("cpm_fast.model.cpm._ModelWalk._pooled", lambda *_: False)
        wanted, names = called(theirs, crops, monkeypatch)
    assert names == []
    found, names = called(ours, crops, monkeypatch)
    assert names == ["conv_norm_pool", "batch_norm", "batch_norm"]
    for one, right in zip(found, wanted, strict=True):
        assert torch.allclose(one, right, atol=1e-5)
    for (name, mine), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(mine.double(), other.double(), rtol=1e-4, atol=1e-6), name


def test_a_layer_that_is_computed_again_gives_the_same_gradient(generator: torch.Generator) -> None:
    x, *weights = inputs_of(SHAPES[1], generator)
    weights = [weight.requires_grad_() for weight in weights]

    def loss(*given: torch.Tensor) -> torch.Tensor:
        return conv_norm_pool(x, *given, EPS)[0].square().sum()

    kept = torch.autograd.grad(loss(*weights), weights)
    again = torch.autograd.grad(checkpoint(loss, *weights, use_reentrant=False), weights)
    assert all(map(torch.equal, kept, again))


def test_a_picture_with_gradient_runs_layer_by_layer(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = torch.rand(2, 3, 32, 32, generator=generator).requires_grad_()
    maps, names = called(CPM(SMALL).train(), crops, monkeypatch)
    assert names == ["batch_norm"] * 3
    maps[-1].sum().backward()
    assert crops.grad is not None and crops.grad.any()


def test_out_of_training_the_map_before_the_pool_is_made(generator: torch.Generator) -> None:
    model = CPM(SMALL).eval()
    crops = torch.rand(1, 3, 32, 32, generator=generator)
    maps = model.inputs(crops)
    model.run(model.layers, maps)
    assert maps["trunk1_block1_conv1"].shape == (1, 8, 32, 32)
    assert torch.equal(maps["trunk1_block1_pool"], torch.nn.functional.max_pool2d(maps["trunk1_block1_conv1"], 2))
