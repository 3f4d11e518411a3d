"""Convolutions by minimal filtering against float64, on every instruction set, and what they leave to plain sums."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops import context_conv as context_conv_module
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from cpm_fast.ops.maps import Pool
from cpm_fast.ops.winograd_conv import bound_winograd_conv, winograd_weight
from cpm_fast.reference import winograd_conv as reference
from support import exact
from support.exact import relative_error

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason=str(backend.native_missing("cpu")))

TYPES = (torch.float32, torch.bfloat16)
# The error of one layer of random numbers is less; that of plain sums is a third of this.
BOUND = 2e-6
# N, (h, w), C, O
CASES = [(1, (32, 32), 48, 64), (2, (7, 3), 5, 33), (1, (24, 22), 20, 96), (1, (3, 1), 16, 8), (0, (8, 8), 3, 4)]


def inputs(case: tuple, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, size, channels, outputs = case
    x = torch.randn(images, channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outputs, channels, 3, 3, generator=generator)
    return x, weight, torch.randn(outputs, generator=generator)


def convolved(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    relu: bool = False,
    pool: Pool | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    size = tuple(side // 2 if pool else side for side in x.shape[2:])
    out = torch.full((len(x), len(weight), *size), torch.nan).contiguous(memory_format=torch.channels_last)
    bound_winograd_conv(x, winograd_weight(weight, dtype), bias, relu, pool, out, weight)()
    return out


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_float64(case: tuple, simd: str, poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, bias = inputs(case, generator)
    found = convolved(x, weight, bias)
    assert relative_error(found, exact.conv(x, weight, bias, False)) < BOUND
    assert torch.equal(convolved(x, weight, bias, True), found.relu())


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_reference(case: tuple, dtype: torch.dtype, simd: str, generator: torch.Generator) -> None:
    x, weight, bias = inputs(case, generator)
    transformed = winograd_weight(weight, dtype)
    with backend.use_backend("reference"):
        assert torch.equal(winograd_weight(weight, dtype), transformed)
    wanted = reference.winograd_conv(x, transformed, bias, True)
    # A value halfway between two of bfloat16 may be rounded to either, by the order of the sums before.
    found = convolved(x, weight, bias, True, None, dtype)
    assert relative_error(found, wanted.double()) < (BOUND if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_rounding_to_bfloat16_costs_what_it_should(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, weight, bias = inputs(CASES[0], generator)
    error = relative_error(convolved(x, weight, bias, False, None, dtype), exact.conv(x, weight, bias, False))
    assert error < BOUND if dtype == torch.float32 else 1e-3 < error < 2e-2


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_pools(dtype: torch.dtype, simd: str, poisoned_memory: None, generator: torch.Generator) -> None:
    for case in ((2, (14, 22), 3, 20), (1, (6, 30), 17, 32), (1, (2, 2), 1, 1)):
        x, weight, bias = inputs(case, generator)
        wanted = F.max_pool2d(convolved(x, weight, bias, True, None, dtype), 2)
        assert torch.equal(convolved(x, weight, bias, True, (2, 0), dtype), wanted)
        wide = torch.full((len(x), len(bias) + 5, *wanted.shape[2:]), 7.0).contiguous(memory_format=torch.channels_last)
        bound_winograd_conv(x, winograd_weight(weight, dtype), bias, True, (2, 0), wide[:, 2:-3], weight)()
        assert torch.equal(wide[:, 2:-3], wanted) and (wide[:, :2] == 7).all() and (wide[:, -3:] == 7).all()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_any_number_of_threads_gives_the_same_bits(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, weight, bias = inputs((2, (38, 18), 7, 40), generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 13):
            torch.set_num_threads(count)
            results.append(convolved(x, weight, bias, True, (2, 0), dtype))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_images_that_tiles_would_get_wrong_are_plain_sums(simd: str, generator: torch.Generator) -> None:
    """Values far apart, a value that is not finite, and transformed values that overflow; the first image does not."""
    x, weight, bias = inputs((4, (12, 16), 6, 20), generator)
    x[1, 2, 5, 5] = 1e4
    x[2, 3, 0, 0] = torch.inf
    x[3] *= 1e37
    found, plain = convolved(x, weight, bias, True), direct_conv(x, pack_weight(weight), bias, True)
    assert not torch.equal(found[0], plain[0]) and relative_error(found[0], plain[0].double()) < BOUND
    assert torch.equal(found[1:].nan_to_num(7, 8, 9), plain[1:].nan_to_num(7, 8, 9))
    with_pool = convolved(x, weight, bias, True, (2, 0))
    assert torch.equal(with_pool.nan_to_num(7, 8, 9), F.max_pool2d(found, 2).nan_to_num(7, 8, 9))


def test_values_that_stay_on_tiles_keep_their_digits(simd: str, generator: torch.Generator) -> None:
    x, weight, bias = inputs((1, (12, 16), 6, 20), generator)
    x = x.abs().add_(1.0)
    x[0, 2, 5, 5] = 900.0
    found = convolved(x, weight, torch.zeros_like(bias))
    wanted, terms = (F.conv2d(each(x.double()), each(weight.double()), padding=1) for each in (torch.clone, torch.abs))
    assert not torch.equal(found, direct_conv(x, pack_weight(weight), torch.zeros_like(bias), False))
    assert float(((found - wanted).abs() / terms).max()) < 1e-4


def test_a_call_reads_what_its_tensors_hold_then(generator: torch.Generator) -> None:
    x, weight, bias = inputs((1, (6, 8), 4, 5), generator)
    wide = torch.zeros(1, 9, 6, 8).contiguous(memory_format=torch.channels_last)
    source, out = wide[:, :4], wide[:, 4:]
    call = bound_winograd_conv(source, winograd_weight(weight), bias, False, None, out, weight)
    for scale in (1, 2):
        source.copy_(scale * x)
        call()
        assert relative_error(out, exact.conv(scale * x, weight, bias, False)) < BOUND


def test_rejects() -> None:
    x = torch.zeros(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    out = torch.zeros(1, 5, 8, 8).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.zeros(5, 3, 3, 3), torch.zeros(5)
    made = winograd_weight(weight)
    for arguments, error, message in (
        ((x[0], made, bias, True, None, out, weight), ValueError, r"x must be \[N, C, h, w\]"),
        ((x, made[0], bias, True, None, out, weight), ValueError, r"transformed must be \[36, 1, 3, 16\]"),
        ((x, made.half(), bias, True, None, out, weight), TypeError, "transformed must be torch.float32 or"),
        ((x, made.bfloat16(), bias, True, None, out, weight), ValueError, r"must be \[36, 1, 2, 16, 2\]"),
        ((x, made, bias[None], True, None, out, weight), ValueError, r"bias must be \[O\]"),
        ((x, made, bias, True, None, out, weight[:4]), ValueError, r"weight must be \[5, 3, 3, 3\], got"),
        ((x.double(), made, bias, True, None, out, weight), TypeError, "x must be torch.float32|bias must be"),
        ((x, made, bias, True, (3, 1), out[..., ::2, ::2], weight), ValueError, r"pool must be \(2, 0\) or None"),
        ((x, made, bias, True, (4, 0), out, weight), ValueError, "pool must be one of"),
        ((x, made, bias, True, None, out[:, :4], weight), ValueError, "out must be"),
        ((x, made.to("meta"), bias, True, None, out, weight), RuntimeError, "transformed must be on the CPU, got meta"),
    ):
        with pytest.raises(error, match=message):
            bound_winograd_conv(*arguments)
    for wrong, error, message in (
        (torch.zeros(5, 3, 5, 5), ValueError, r"weight must be \[O, C, 3, 3\], got \[5, 3, 5, 5\]"),
        (weight.double(), TypeError, "weight must be torch.float32"),
        (weight.to("meta"), RuntimeError, "weight must be on the CPU"),
        (weight.clone().requires_grad_(), RuntimeError, "requires a gradient|no gradient"),
    ):
        with pytest.raises(error, match=message):
            winograd_weight(wrong)
    with pytest.raises(TypeError, match="dtype must be torch.float32 or torch.bfloat16, got torch.float16"):
        winograd_weight(weight, torch.float16)


@pytest.mark.parametrize("relu", [False, True])
def test_context_conv_takes_it_forward_and_backward(
    relu: bool, simd: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    taken, once = [], context_conv_module.conv_of_weight_once

    def counted(*given, adjoint: bool = False) -> torch.Tensor:
        taken.append(adjoint)
        return once(*given, adjoint=adjoint)

    monkeypatch.setattr(context_conv_module, "conv_of_weight_once", counted)
    x, weight, bias = (each.requires_grad_() for each in inputs((2, (24, 20), 32, 48), generator))
    out = context_conv_module.context_conv(x, weight, bias, relu)
    gradient = torch.randn(out.shape, generator=generator)
    found = torch.autograd.grad(out, (x, weight, bias), gradient)
    assert taken == [False, True]
    wide = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    plain = F.conv2d(*wide, padding=1)
    # The same cells are open: values near 0 may have another sign.
    wanted = torch.autograd.grad(plain, wide, gradient.double() * (out > 0) if relu else gradient.double())
    assert relative_error(out, plain.relu() if relu else plain) < BOUND
    for ours, theirs in zip(found, wanted, strict=True):
        assert relative_error(ours, theirs) < BOUND


def test_gradients_that_tiles_would_get_wrong_are_plain_sums(generator: torch.Generator) -> None:
    x, weight, bias = (each.requires_grad_() for each in inputs((2, (24, 20), 32, 48), generator))
    gradient = torch.randn(2, 48, 24, 20, generator=generator)
    gradient[1, 3, 5, 5] = 1e6
    (found,) = torch.autograd.grad(context_conv_module.context_conv(x, weight, bias, False), x, gradient)
    wanted, terms = (
        F.conv_transpose2d(each(gradient.double()), each(weight.detach().double()), padding=1)
        for each in (torch.clone, torch.abs)
    )
    # Up to 2e-6 was seen; tiles alone have 1e-1.
    assert float(((found - wanted).abs() / terms).max()) < 1e-5
