"""Images for which tiles are inaccurate run as plain sums, with the errors and infinities of a direct convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from cpm_fast.ops.maps import POOLS
from cpm_fast.ops.plans.cpu import ConvShape, choose_tile
from cpm_fast.ops.spectral.plain_sums import weight_of
from cpm_fast.ops.spectral_conv import bound_spectral_conv, spectral_conv, spectral_input_gradient, transform_weight

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason=str(backend.native_missing("cpu")))

KERNEL, CHANNELS, SIDE, TILE = 7, 16, 32, 22
# Share of the size of a sum's terms. Measured up to 3e-6 of plain sums; a tile alone has 1e-3 to 1.
BOUND = 1e-5


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    return torch.randn(2, CHANNELS, SIDE, SIDE), torch.randn(24, CHANNELS, KERNEL, KERNEL), torch.zeros(24)


def local_error(found: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, most: torch.Tensor | None = None) -> float:
    """Return the largest error of an output relative to the magnitudes of its terms."""
    wanted = F.conv2d(x.double(), weight.double(), padding=KERNEL // 2)
    most = weight if most is None else most
    terms = F.conv2d(x.double().abs(), most.double().abs(), padding=KERNEL // 2)
    return float(((found.double() - wanted).abs() / terms.clamp_min(1e-300))[terms > 0].max())


SPREADS = {
    "one value": lambda x, big: x[0, 3, 16, 16].fill_(big),
    "one value at the border": lambda x, big: x[0, 0, 0, 0].fill_(big),
    "a half": lambda x, big: x[0, :, :, :16].mul_(big),
    "all but a corner": lambda x, big: x[0, :, :22].mul_(big),
    "a small patch": lambda x, big: x[0, :, 8:17, 8:17].div_(big),
    "a grid": lambda x, big: x[0, 5, ::10, ::10].mul_(big),
}


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("big", [1e5, 1e6, 1e9])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_small_values_beside_large_ones_keep_their_digits(spread, big, scale, simd) -> None:
    x, weight, bias = problem()
    spread(x, big)
    x *= scale
    spectra = transform_weight(weight, TILE)
    found = spectral_conv(x, spectra, bias, False, KERNEL)
    # Its weight comes from the spectra, with an error relative to the kernel's largest tap.
    assert local_error(found[:1], x[:1], weight, torch.full_like(weight, weight.abs().max())) < BOUND
    bound = torch.empty_like(found, memory_format=torch.channels_last)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    bound_spectral_conv(channels_last, spectra, bias, False, KERNEL, None, bound, weight)()
    assert local_error(bound[:1], x[:1], weight) < BOUND
    assert local_error(context_conv(x, weight, bias, False)[:1], x[:1], weight) < BOUND
    # The other image gets the same result as alone.
    alone = spectral_conv(x[1:], transform_weight(weight, TILE), bias, False, KERNEL)
    assert torch.equal(found[1:], alone)


def test_ordinary_maps_stay_on_tiles() -> None:
    x, weight, bias = problem()
    x[0, :, 4:20] = 0  # zeros, as after a ReLU, are exact on tiles too
    x[1, 2, 9, 9] = 1000
    found = spectral_conv(x, transform_weight(weight, TILE), bias, False, KERNEL)
    direct = direct_conv(x, pack_weight(weight), bias, False)
    assert not torch.equal(found[0], direct[0]) and not torch.equal(found[1], direct[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("relu", [False, True])
def test_a_value_that_is_not_finite_stays_in_its_window(value, relu, simd) -> None:
    x, weight, bias = problem()
    x[1, 4, 10, 20] = value
    found, wanted = spectral_conv(x, transform_weight(weight, TILE), bias, relu, KERNEL), F.conv2d(x, weight, padding=3)
    wanted = wanted.relu() if relu else wanted
    assert torch.equal(found.isfinite(), wanted.isfinite())
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.allclose(found[found.isfinite()], wanted[wanted.isfinite()], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("pool", [None, *POOLS])
@pytest.mark.parametrize(("values", "weights"), [(3e36, 1e-3), (1e-3, 3e36), (-1e18, 1e18), (1e30, 1e5)])
def test_sums_that_are_finite_do_not_overflow_in_a_tile(values, weights, pool, relu) -> None:
    x, weight = torch.full((1, 4, 32, 32), values), torch.full((8, 4, KERNEL, KERNEL), weights)
    bias = torch.zeros(8)
    found = spectral_conv(x, transform_weight(weight, 64), bias, relu, KERNEL, pool)
    wanted = direct_conv(x, pack_weight(weight), bias, relu, pool)
    assert bool(wanted.isfinite().all())
    assert torch.allclose(found, wanted, rtol=1e-4)


def test_the_gradient_of_x_uses_plain_sums_too() -> None:
    _, weight, _ = problem()
    gradient = torch.randn(2, 24, SIDE, SIDE)
    gradient[1, 3, 16, 16] = 1e7
    out = torch.randn_like(gradient)
    gated = torch.where(out > 0, gradient, 0.0)
    wanted = F.conv_transpose2d(gated.double(), weight.double(), padding=KERNEL // 2)
    spectra = transform_weight(weight, TILE, adjoint=True)
    found = spectral_input_gradient(gradient, spectra, out, CHANNELS, KERNEL)
    most = torch.full_like(weight, weight.abs().max())
    terms = F.conv_transpose2d(gated.double().abs(), most.double(), padding=KERNEL // 2)
    assert float(((found - wanted).abs() / terms.clamp_min(1e-30))[terms > 0].max()) < BOUND
    x = torch.randn(2, CHANNELS, SIDE, SIDE, requires_grad=True)
    assert choose_tile(ConvShape(2, CHANNELS, 24, KERNEL, (SIDE, SIDE))) is not None
    context_conv(x, weight, torch.zeros(24), False).backward(gradient)
    assert x.grad is not None
    wanted = F.conv_transpose2d(gradient.double(), weight.double(), padding=KERNEL // 2)
    terms = F.conv_transpose2d(gradient.double().abs(), weight.double().abs(), padding=KERNEL // 2)
    assert float(((x.grad - wanted).abs() / terms).max()) < BOUND


@pytest.mark.parametrize("tile", [16, 22, 54, 64])
@pytest.mark.parametrize("kernel", [1, 3, 9, 15])
def test_spectra_give_their_weight_back(kernel: int, tile: int) -> None:
    weight = torch.randn(19, 3, kernel, kernel)
    found = weight_of(transform_weight(weight, tile), kernel, 19)
    assert float((found - weight).abs().max()) < 3e-6
