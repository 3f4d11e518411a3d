"""The spectral kernels against float64, interpreted on the CPU; test_interpreted.py runs this in its own process.

The interpreter multiplies float32 exactly in every mode and has no bfloat16, so the tests cover indexing, masks and the
algebra of real spectra.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from cpm_fast.kernels import fourier, spectral_inverse, spectral_product, spectral_transform
from cpm_fast.kernels import spectral_conv as kernels
from cpm_fast.kernels import spectral_plans as plans
from cpm_fast.ops import context_conv
from cpm_fast.ops.spectral import library as ops
from cpm_fast.reference.context_conv import context_conv as reference
from support import exact
from support.cases import RELATIVE_ERROR, ConvCase
from support.cases import SPECTRAL_CONV_TILES as CASES
from support.exact import relative_error


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use product tiles as small as the tests' maps; the interpreter would fill larger ones with zeros for minutes."""
    monkeypatch.setattr(spectral_product, "product_tile", lambda *sizes: plans.Tile(16, 32, 64, 4, 2))
    monkeypatch.setattr(spectral_product, "dweight_tile", lambda *sizes: plans.Tile(16, 32, 64, 4, 2))


def forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool, tile: int, mode: str
) -> torch.Tensor:
    spectra = kernels.transform_weight(weight, tile, False, plans.FORWARD_SPECTRA[mode], mode)
    return kernels.forward(x, spectra, bias, relu, weight.shape[-1], mode, 90)


def check(case: ConvCase, tile: int, mode: str, generator: torch.Generator) -> None:
    dtype = torch.float16 if mode == "fp16" else torch.float32
    bound = RELATIVE_ERROR["spectral_conv", mode]
    x, weight, bias = case.inputs(generator, dtype=dtype)
    y = forward(x, weight, bias, case.relu, tile, mode)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(y, exact.conv(x, weight, bias, case.relu)) <= bound
    dy = torch.randn(y.shape, generator=generator).to(dtype)
    gated = y if case.relu else None
    gradients = kernels.backward(dy, x, weight, gated, (True, True, True), tile, mode, 90)
    for gradient, wanted in zip(gradients, exact.conv_gradients(dy, x, weight, bias, gated), strict=True):
        assert gradient is not None and gradient.dtype == dtype
        assert relative_error(gradient, wanted) <= bound


@pytest.mark.parametrize(("case", "tile"), CASES, ids=str)
def test_matches_float64(case: ConvCase, tile: int, poisoned_memory: None, generator: torch.Generator) -> None:
    check(case, tile, "tf32x3", generator)


@pytest.mark.parametrize("mode", ["fp16", "fp16 spectra", "tf32x3", "ieee"])
@pytest.mark.parametrize("tile", [16, 22, 36])
def test_there_and_back(tile: int, mode: str, poisoned_memory: None, generator: torch.Generator) -> None:
    """Maps and weights are transformed and back without a product, with the blocks of every tile and arithmetic."""
    dtype = torch.float16 if mode == "fp16" else torch.float32
    spectra_dtype = torch.float16 if mode.startswith("fp16") else torch.float32
    kind = plans.arithmetic(dtype, spectra_dtype, "tf32" if mode == "fp16 spectra" else mode)
    x = torch.randn(1, 3, tile - 3, tile - 4, generator=generator).to(dtype, memory_format=torch.channels_last)
    tiles = fourier.tiling(tile, 9, *x.shape[2:])
    spectra = torch.empty(fourier.frequencies(tile), tiles.count, 2, 16, dtype=kind.spectra)
    spectral_transform.transform_launch(x, None, spectra, None, tiles, kind).run()
    y = torch.empty_like(x)
    spectral_inverse.inverse_launch(spectra, None, y, False, tiles, kind).run()
    assert relative_error(y, x.double()) <= RELATIVE_ERROR["spectral_conv", mode]
    weight = torch.randn(1, 17, 9, 9, generator=generator).to(dtype, memory_format=torch.channels_last)
    spectra = torch.empty(fourier.frequencies(tile), 1, 2, 32, dtype=kind.spectra)
    spectral_transform.weight_launch(weight, spectra, tile, False, kind).run()
    result = torch.empty_like(weight, dtype=torch.float32)
    spectral_inverse.weight_inverse_launch(spectra, result, tile, kind).run()
    assert relative_error(result / tile**2, weight.double()) <= RELATIVE_ERROR["spectral_conv", mode]


@pytest.mark.parametrize("mode", ["fp16", "tf32", "ieee"])
def test_every_mode(mode: str, poisoned_memory: None, generator: torch.Generator) -> None:
    check(ConvCase("", 1, 5, 3, 5, (13, 11)), 16, mode, generator)


def test_parts_of_a_batch_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    """A workspace for less than an image makes each image its own part; only the order of dweight's sums may change."""
    x, weight, bias = ConvCase("", 2, 4, 5, 5, (13, 6)).inputs(generator)
    dy = torch.randn(2, 5, 13, 6, generator=generator)
    whole = forward(x, weight, bias, True, 16, "tf32x3")
    gradients = kernels.backward(dy, x, weight, whole, (True, True, True), 16, "tf32x3", 90)
    monkeypatch.setattr(kernels, "WORKSPACE_BYTES", 1)
    assert torch.equal(forward(x, weight, bias, True, 16, "tf32x3"), whole)
    dx, dweight, dbias = kernels.backward(dy, x, weight, whole, (True, True, True), 16, "tf32x3", 90)
    assert gradients[0] is not None and gradients[2] is not None and gradients[1] is not None
    assert torch.equal(dx, gradients[0]) and torch.equal(dbias, gradients[2])
    assert relative_error(dweight, gradients[1].double()) <= 1e-6


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)], ids=str)
def test_backward_makes_what_is_needed(needed: tuple[bool, bool, bool], generator: torch.Generator) -> None:
    x, weight, bias = ConvCase("", 1, 3, 4, 5, (7, 13)).inputs(generator)
    y = reference(x, weight, bias, True)
    dy = torch.randn(y.shape, generator=generator)
    gradients = kernels.backward(dy, x, weight, y, needed, 16, "tf32x3", 90)
    for gradient, wanted, need in zip(gradients, exact.conv_gradients(dy, x, weight, bias, y), needed, strict=True):
        assert (gradient is not None) is need
        assert gradient is None or relative_error(gradient, wanted) <= 1e-6


def test_any_layout(generator: torch.Generator) -> None:
    x, weight, bias = ConvCase("", 2, 6, 7, 3, (5, 9)).inputs(generator)
    y = exact.conv(x, weight, bias, True)
    strided = x.repeat_interleave(2, 0)[::2].repeat_interleave(2, 1)[:, 1::2]
    transposed = weight.transpose(2, 3).contiguous().transpose(2, 3)
    assert relative_error(forward(strided, transposed, bias, True, 16, "tf32x3"), y) <= 1e-6
    dy = torch.randn(y.value.shape, generator=generator)[:1].expand_as(y.value)
    gradients = kernels.backward(dy, strided, transposed, None, (True, True, True), 16, "tf32x3", 90)
    for gradient, wanted in zip(gradients, exact.conv_gradients(dy, x, weight, bias, None), strict=True):
        assert relative_error(gradient, wanted) <= 1e-6


def test_an_image_sees_no_other(generator: torch.Generator) -> None:
    """The rows before and after an image in memory belong to its neighbors: NaN there must not affect it."""
    x, weight, bias = ConvCase("", 3, 4, 5, 7, (5, 13)).inputs(generator)
    x[0], x[2] = math.nan, math.nan
    y = forward(x, weight, bias, True, 16, "tf32x3")
    torch.testing.assert_close(y[1], reference(x[1:2], weight, bias, True)[0])
    assert y[0].isnan().any() and y[2].isnan().any(), "ReLU must keep NaN"


def test_the_matrices_go_there_and_back() -> None:
    for tile in (16, 20, 54, 64):
        device = torch.device("cpu")
        there = fourier.forward_matrices(tile, 0, tile, 1.0, False, torch.float64, device)
        back = fourier.inverse_matrices(tile, 0, tile, 1 / tile, False, torch.float64, device)
        identity = (there @ back).sum(0)[:tile, :tile]
        torch.testing.assert_close(identity, torch.eye(tile, dtype=torch.float64))


def test_too_long_a_row_is_refused() -> None:
    x = torch.empty(1, 2**22, 2, 32, device="meta")
    spectra = torch.empty(128, 8, 2, 2**22, device="meta", dtype=torch.float16)
    with pytest.raises(ValueError, match=r"t w C must be at most"):
        kernels.forward(x, spectra, None, False, 3, "tf32", 90)


def products(table: dict, mode: str) -> list[plans.Tile]:
    """Return the different tiles of a mode, of all generations."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for key, entry in table.items() if key[1] == mode]
    return sorted({tile for tiles in entries for tile in tiles}, key=str)


def spectra(*shape: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random [F, rows, 2, channels] float32, and the complex numbers [F, rows, channels] that it represents."""
    stored = torch.randn(*shape, generator=generator)
    return stored, torch.complex(*stored.double().unbind(2))


def product(x: torch.Tensor, weight: torch.Tensor, equation: str) -> torch.Tensor:
    """Return complex products, or two real ones if an entry holds two frequencies, in the layout of the kernels."""
    result = torch.einsum(equation, x, weight)
    for pair in (0, len(x) // 2):
        result[pair].real = torch.einsum(equation, x[pair : pair + 1].real, weight[pair : pair + 1].real)[0]
        result[pair].imag = -torch.einsum(equation, x[pair : pair + 1].imag, weight[pair : pair + 1].imag)[0]
    return torch.stack([result.real, result.imag], 2)


@pytest.mark.parametrize("mode", ["fp16", "tf32", "tf32x3", "ieee"])
def test_products_with_every_tile_of_the_plan(
    mode: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    kind = plans.arithmetic(torch.float32, torch.float32, "ieee")
    x, complex_x = spectra(4, 19, 2, 48, generator=generator)
    weight, complex_weight = spectra(4, 70, 2, 48, generator=generator)
    wanted = product(complex_x, complex_weight, "ftc,foc->fto")
    for tile in products(plans._PRODUCT, mode):
        monkeypatch.setattr(spectral_product, "product_tile", lambda *sizes, tile=tile: tile)
        y = torch.empty(4, 19, 2, 80)
        spectral_product.product_launch(x, weight, y, kind, 90).run()
        assert relative_error(y[..., :70], wanted) <= 1e-6
        assert not y[..., 70:].any(), "channels that pad must be zero"
    dy, complex_dy = spectra(4, 19, 2, 80, generator=generator)
    wanted = product(complex_dy, complex_x, "fto,ftc->foc")[:, :70]
    for tile in products(plans._DWEIGHT, mode):
        monkeypatch.setattr(spectral_product, "dweight_tile", lambda *sizes, tile=tile: tile)
        dweight = torch.empty(4, 70, 2, 48)
        for add in (False, True):
            spectral_product.dweight_launch(x, dy, dweight, add, kind, 90).run()
            assert relative_error(dweight, wanted * (2 if add else 1)) <= 1e-6


def test_the_ops_reach_the_kernels(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    """The ops on CUDA call the kernels if the plan says so; the device is a mock with only a capability."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(context_conv, "choose_cuda_tile", lambda *shape, **training: 16)
    x, weight, bias = ConvCase("", 1, 3, 4, 5, (7, 13)).inputs(generator)
    y = context_conv._cuda(x, weight, bias, True)
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= 1e-6
    dy = torch.randn(y.shape, generator=generator)
    wanted = exact.conv_gradients(dy, x, weight, bias, y)
    gradients = context_conv._cuda_backward(dy, x, weight, y, [True, True, True])
    assert all(relative_error(*pair) <= 1e-6 for pair in zip(gradients, wanted, strict=True))
    spectra = ops._cuda_transform(weight, 16, False, torch.float16)
    assert spectra.shape == (128, 4, 2, 16) and spectra.dtype == torch.float16
    assert relative_error(ops._cuda_conv(x, None, spectra, bias, True, 4, 5), y.double()) <= 1e-3
    adjoint = ops._cuda_transform(weight, 16, True, torch.float32)
    assert relative_error(ops._cuda_conv(dy, y, adjoint, None, False, 3, 5), wanted[0]) <= 1e-3
    dweight, dbias = ops._cuda_weight_gradient(dy, y, x, 5, 16)
    assert relative_error(dweight, wanted[1]) <= 1e-3 and relative_error(dbias, wanted[2]) <= 1e-3
    with pytest.raises(ValueError, match="spectra must be those of the fast backend on CUDA"):
        ops._cuda_conv(x, None, spectra[None], bias, True, 4, 5)
