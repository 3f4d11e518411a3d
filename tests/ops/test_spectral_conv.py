"""spectral_conv and its gradients against convolution in float64, on every instruction set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops.maps import POOLS, Pool
from cpm_fast.ops.spectral import library as module
from cpm_fast.ops.spectral_conv import (
    TILES,
    bound_spectral_conv,
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)
from cpm_fast.reference.spectral_conv import spectral_conv as reference_conv
from cpm_fast.reference.spectral_conv import transform_weight as reference_transform
from support import exact
from support.cases import RELATIVE_ERROR, SPECTRAL_CONV, SpectralCase
from support.exact import relative_error

BOUND = RELATIVE_ERROR["spectral_conv", torch.float32]
GRADIENT_BOUND = RELATIVE_ERROR["spectral_gradient", torch.float32]
LARGE = SpectralCase("large", 3, (50, 41), 33, 40, 9, 20)


@pytest.fixture
def native_code() -> Iterator[None]:
    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    with backend.use_backend("fast"):
        yield


@pytest.mark.parametrize("case", SPECTRAL_CONV, ids=str)
def test_matches_reference(case: SpectralCase, simd: str, poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, bias = case.inputs_of(generator)
    spectra = transform_weight(weight, case.tile)
    out = spectral_conv(x, spectra, bias, False, case.kernel)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(out, exact.conv(x, weight, bias, False)) < BOUND
    assert torch.equal(spectral_conv(x, spectra, bias, True, case.kernel), out.relu())
    assert relative_error(spectra, reference_transform(weight.double(), case.tile, False)) < BOUND


@pytest.mark.parametrize("kernel", range(1, 16, 2))
@pytest.mark.parametrize("tile", TILES)
def test_matches_reference_any_tile(tile: int, kernel: int, native_code: None, generator: torch.Generator) -> None:
    case = SpectralCase("", 1, (tile + 3, 2 * tile - kernel), 3, 2, kernel, tile)
    x, weight, bias = case.inputs_of(generator)
    out = spectral_conv(x, transform_weight(weight, tile), bias, False, kernel)
    assert relative_error(out, exact.conv(x, weight, bias, False)) < BOUND


@pytest.mark.parametrize("case", SPECTRAL_CONV, ids=str)
def test_reference_is_a_convolution(case: SpectralCase, generator: torch.Generator) -> None:
    x, weight, bias = (tensor.double() for tensor in case.inputs_of(generator))
    out = reference_conv(x, reference_transform(weight, case.tile, False), bias, True, case.kernel)
    assert relative_error(out, exact.conv(x, weight, bias, True)) < 1e-12


@pytest.mark.parametrize("case", [*SPECTRAL_CONV[::3], LARGE], ids=str)
def test_matches_reference_in_chunks(
    case: SpectralCase, native_code: None, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    x, weight, bias = case.inputs_of(generator)
    spectra, wanted = transform_weight(weight, case.tile), exact.conv(x, weight, bias, True)
    for budget in (0, 2**18, 2**20, 2**21, 2**23):
        monkeypatch.setattr(module, "WORKSPACE_BYTES", budget)
        assert relative_error(spectral_conv(x, spectra, bias, True, case.kernel), wanted) < BOUND


def test_matches_reference_strided_and_offset(native_code: None, generator: torch.Generator) -> None:
    case = SpectralCase("strided", 2, (21, 22), 10, 12, 5, 16)
    x, weight, bias = case.inputs_of(generator)
    big = torch.randn(4, 21, 23, 22, generator=generator)
    for view in (big[1::2, 1::2, 1:22], big[1:3, 4:14, 2:], big.mT[:2, :10], big.permute(0, 2, 1, 3)[:2, 5:15]):
        for strided in (weight, weight.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)):
            out = spectral_conv(view, transform_weight(strided, 16), bias, False, 5)
            assert relative_error(out, exact.conv(view, weight, bias, False)) < BOUND
    buffer = torch.randn(3 + x.numel(), generator=generator)
    offset = buffer[3:].view(2, 21, 22, 10).permute(0, 3, 1, 2)
    spectra = torch.empty(1).new_empty(transform_weight(weight, 16).numel() + 1)[1:].view(8, 1, 10, 5, 2, 16)
    out = spectral_conv(offset, spectra.copy_(transform_weight(weight, 16)), bias, False, 5)
    assert relative_error(out, exact.conv(offset, weight, bias, False)) < BOUND


def test_matches_reference_on_any_number_of_threads(native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = LARGE.inputs_of(generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 13):
            torch.set_num_threads(count)
            results.append(spectral_conv(x, transform_weight(weight, 20), bias, True, 9))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(("kernel", "tile"), [(3, 16), (5, 16), (7, 20), (9, 24), (11, 22), (15, 32)])
def test_bits_do_not_depend_on_chunks(
    kernel: int, tile: int, native_code: None, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    x, weight, bias = SpectralCase("", 2, (53, 28), 18, 20, kernel, tile).inputs_of(generator)
    spectra, before, results = transform_weight(weight, tile), torch.get_num_threads(), []
    try:
        for budget in (0, 2**20, 2**26):
            monkeypatch.setattr(module, "WORKSPACE_BYTES", budget)
            for count in (1, 9):
                torch.set_num_threads(count)
                results.append(spectral_conv(x, spectra, bias, True, kernel))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])
    assert relative_error(results[0], exact.conv(x, weight, bias, True)) < BOUND


@pytest.mark.parametrize(("inputs", "outputs", "tile"), [(60, 80, 54), (130, 40, 64), (300, 20, 22)])
def test_matches_reference_where_weights_come_in_several_passes(
    inputs: int, outputs: int, tile: int, native_code: None, generator: torch.Generator
) -> None:
    case = SpectralCase("", 1, (30, 33), inputs, outputs, 9, tile)
    x, weight, bias = case.inputs_of(generator)
    out = spectral_conv(x, transform_weight(weight, tile), bias, False, 9)
    assert relative_error(out, exact.conv(x, weight, bias, False)) < BOUND
    dweight, _ = spectral_weight_gradient(out, x, None, 9, tile)
    assert relative_error(dweight, exact.conv_gradients(out, x, weight, bias, None)[1]) < GRADIENT_BOUND


def test_the_default_dtype_does_not_matter(native_code: None, generator: torch.Generator) -> None:
    case = SpectralCase("", 1, (21, 22), 10, 12, 5, 16)
    x, weight, bias = case.inputs_of(generator)
    wanted = spectral_conv(x, transform_weight(weight, 16), bias, True, 5)
    with ThreadPoolExecutor(1) as pool:  # a thread without memory of its own yet
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            try:
                found = pool.submit(lambda: spectral_conv(x, transform_weight(weight, 16), bias, True, 5)).result()
            finally:
                torch.set_default_dtype(torch.float32)
            assert torch.equal(found, wanted)


def test_matches_reference_image_by_image(native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = LARGE.inputs_of(generator)
    spectra = transform_weight(weight, 20)
    out = spectral_conv(x, spectra, bias, True, 9)
    for image in range(3):
        assert torch.equal(spectral_conv(x[image : image + 1], spectra, bias, True, 9), out[image : image + 1])


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_matches_reference_pooled(pool: Pool, simd: str, poisoned_memory: None, generator: torch.Generator) -> None:
    """The bits that pooling the whole output gives, in a map of its own or among the channels of another."""
    for case in (SpectralCase("", 2, (26, 40), 3, 18, 9, 24), SpectralCase("", 1, (44, 30), 17, 16, 5, 16)):
        x, weight, bias = case.inputs_of(generator)
        spectra = transform_weight(weight, case.tile)
        whole = spectral_conv(x, spectra, bias, True, case.kernel)
        wanted = F.max_pool2d(whole, pool[0], 2, pool[1], ceil_mode=pool[1] == 0)
        assert torch.equal(spectral_conv(x, spectra, bias, True, case.kernel, pool), wanted)
        wide = torch.full((case.images, case.outputs + 5, *wanted.shape[2:]), 7.0)
        wide = wide.contiguous(memory_format=torch.channels_last)
        out = wide[:, 2:-3]
        assert spectral_conv(x, spectra, bias, True, case.kernel, pool, out) is out
        assert torch.equal(out, wanted) and (wide[:, :2] == 7).all() and (wide[:, -3:] == 7).all()
        packed = x.contiguous(memory_format=torch.channels_last)
        call = bound_spectral_conv(packed, spectra, bias, True, case.kernel, pool, out.zero_())
        call()
        assert torch.equal(out, wanted)
        packed.mul_(0)
        call()
        assert torch.equal(out, bias.relu()[:, None, None].expand_as(out))
        with backend.use_backend("reference"):
            reference = spectral_conv(x, spectra, bias, True, case.kernel, pool, torch.empty_like(wanted))
        assert relative_error(reference, wanted.double()) < BOUND


def test_matches_reference_among_the_channels_of_a_wider_map(native_code: None, generator: torch.Generator) -> None:
    wide = torch.randn(2, 40, 21, 22, generator=generator).contiguous(memory_format=torch.channels_last)
    _, weight, bias = SpectralCase("", 2, (21, 22), 10, 12, 5, 16).inputs_of(generator)
    spectra = transform_weight(weight, 16)
    x, out = wide[:, 3:13], wide[:, 20:32]
    wanted = spectral_conv(x.clone(), spectra, bias, False, 5)
    rest = wide.clone()
    assert torch.equal(spectral_conv(x, spectra, bias, False, 5, out=out), wanted)
    rest[:, 20:32] = wanted
    assert torch.equal(wide, rest)


def test_matches_reference_from_two_threads(native_code: None, generator: torch.Generator) -> None:
    inputs = [case.inputs_of(generator) for case in SPECTRAL_CONV[:3]]

    def layers() -> list[torch.Tensor]:
        return [
            spectral_conv(x, transform_weight(weight, case.tile), bias, True, case.kernel)
            for case, (x, weight, bias) in zip(SPECTRAL_CONV[:3], inputs, strict=True)
        ]

    wanted = layers()
    with ThreadPoolExecutor(2) as pool:
        for found in [pool.submit(layers) for _ in range(8)]:
            assert all(torch.equal(*pair) for pair in zip(found.result(), wanted, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_matches_reference_in_a_forked_child(native_code: None, generator: torch.Generator) -> None:
    """As in a loader's worker, after OpenMP's threads have been at work in the parent."""
    x, weight, bias = SPECTRAL_CONV[0].inputs_of(generator)
    # PyTorch's own parallel loops do hang in the child, so it has nothing to copy, and NumPy compares.
    x, spectra = x.contiguous(memory_format=torch.channels_last), transform_weight(weight, 16)
    wanted = spectral_conv(x, spectra, bias, True, 5).numpy()
    child = os.fork()
    if child == 0:
        os._exit(0 if (spectral_conv(x, spectra, bias, True, 5).numpy() == wanted).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_matches_reference_with_tiny_and_large_numbers(native_code: None, generator: torch.Generator) -> None:
    """Far from 1, denormal; and what is not finite stays within its window."""
    x, weight, bias = SpectralCase("", 1, (40, 40), 3, 5, 5, 16).inputs_of(generator)
    spectra = transform_weight(weight, 16)
    # The scale of the transforms is in the weights, so products of denormals lose ten bits: 1e-42 has ten.
    # Measured over twelve seeds: 2e-6 and 0.02. Zeros would be off by 1, the bias alone by 0.5 to 0.9.
    for scale, bound in ((1e-30, BOUND), (1e30, BOUND), (1e-38, 1e-5), (1e-42, 0.06)):
        out = spectral_conv(x * scale, spectra, bias * scale, False, 5)
        assert relative_error(out.double() / scale, exact.conv(x, weight, bias, False)) < bound
    x[0, 1, 0, 0] = torch.nan
    out = spectral_conv(x, spectra, bias, True, 5)
    assert out[..., :3, :3].isnan().all() and out[..., 3:, :].isfinite().all()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("case", [*SPECTRAL_CONV, LARGE], ids=str)
def test_gradient_matches_reference(
    case: SpectralCase, relu: bool, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    x, weight, bias = case.inputs_of(generator)
    gradient = torch.randn(case.images, case.outputs, *case.size, generator=generator)
    out = spectral_conv(x, transform_weight(weight, case.tile), bias, True, case.kernel) if relu else None
    dx, dweight, dbias = exact.conv_gradients(gradient, x, weight, bias, out)
    adjoint = transform_weight(weight, case.tile, adjoint=True)
    assert relative_error(adjoint, reference_transform(weight.double(), case.tile, True)) < BOUND
    found = spectral_input_gradient(gradient, adjoint, out, case.inputs, case.kernel)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(found, dx) < GRADIENT_BOUND
    found_weight, found_bias = spectral_weight_gradient(gradient, x, out, case.kernel, case.tile)
    assert relative_error(found_weight, dweight) < GRADIENT_BOUND
    assert relative_error(found_bias, dbias) < GRADIENT_BOUND


def test_gradient_matches_reference_on_any_number_of_threads(native_code: None, generator: torch.Generator) -> None:
    x, _, _ = LARGE.inputs_of(generator)
    gradient = torch.randn(3, 40, 50, 41, generator=generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 13):
            torch.set_num_threads(count)
            results.append(spectral_weight_gradient(gradient, x, None, 9, 20))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0]) and torch.equal(results[0][1], other[1])


def test_gradient_matches_reference_in_chunks(
    native_code: None, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    x, weight, bias = LARGE.inputs_of(generator)
    gradient = torch.randn(3, 40, 50, 41, generator=generator)
    _, *wanted = exact.conv_gradients(gradient, x, weight, bias, None)
    for budget in (0, 2**20, 2**21, 2**23):
        monkeypatch.setattr(module, "WORKSPACE_BYTES", budget)
        for found, one in zip(spectral_weight_gradient(gradient, x, None, 9, 20), wanted, strict=True):
            assert relative_error(found, one) < GRADIENT_BOUND


def good() -> dict:
    x, weight, bias = SpectralCase("", 1, (9, 8), 3, 5, 5, 16).inputs_of(torch.Generator())
    with backend.use_backend("reference"):
        spectra = transform_weight(weight, 16)
    return dict(x=x, spectra=spectra, bias=bias, relu=True, kernel=5)


REJECTED = {
    "x-rank": (dict(x=torch.zeros(3, 9, 8)), ValueError, r"x must be \[N, C, h, w\], got \[3, 9, 8\]"),
    "x-channels": (dict(x=torch.zeros(1, 4, 9, 8)), ValueError, r"spectra must be \['F', 1, 4, 5, 2, 16\]"),
    "bias-rank": (dict(bias=torch.zeros(5, 1)), ValueError, r"bias must be \[O\], got \[5, 1\]"),
    "bias-blocks": (dict(bias=torch.zeros(17)), ValueError, r"spectra must be \['F', 2, 3, 5, 2, 16\].*got \[8, 1,"),
    "no-tile": (dict(spectra=torch.zeros(9, 1, 3, 5, 2, 16)), ValueError, r"spectra must .* got \[9, 1, 3, 5, 2, 16\]"),
    "kernel-other": (
        dict(kernel=7),
        ValueError,
        r"spectra must be .*7, 2, 16\] of transform_weight, got \[8, 1, 3, 5, 2, 16\]",
    ),
    "kernel-even": (dict(kernel=4), ValueError, "kernel must be odd and at most 15, got 4"),
    "kernel-huge": (dict(kernel=17), ValueError, "kernel must be odd and at most 15, got 17"),
    "kernel-zero": (dict(kernel=-1), ValueError, "kernel must be odd and at most 15, got -1"),
    "x-dtype": (dict(x=torch.zeros(1, 3, 9, 8).double()), TypeError, "x must be torch.float32, got torch.float64"),
    "spectra-dtype": (dict(spectra=torch.zeros(8, 1, 3, 5, 2, 16).half()), TypeError, "spectra must be torch.float32"),
    "bias-device": (dict(bias=torch.zeros(5, device="meta")), RuntimeError, "bias must be on cpu as x is, got meta"),
    "pool": (dict(pool=(3, 2)), ValueError, r"pool must be one of .*, got \(3, 2\)"),
    "pool-odd": (dict(pool=(2, 0)), ValueError, r"x must have even h and w with pool, got \[1, 3, 9, 8\]"),
    "out-shape": (dict(out=torch.zeros(1, 5, 8, 9)), ValueError, r"out must be \[1, 5, 9, 8\], got \[1, 5, 8, 9\]"),
    "out-layout": (dict(out=torch.zeros(1, 5, 9, 8)), ValueError, "out must be in channels_last, or channels"),
    "gradient": (
        dict(x=torch.zeros(1, 3, 9, 8).requires_grad_()),
        RuntimeError,
        "spectral_conv has no gradient: x must",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str) -> None:
    changed, error, message = REJECTED[name]
    spectral_conv(**good())
    with pytest.raises(error, match=message):
        spectral_conv(**{**good(), **changed})


def test_rejects_other_arguments() -> None:
    weight = torch.zeros(5, 3, 5, 5)
    for bad, tile, error, message in (
        (weight[0], 16, ValueError, r"weight must be \[O, C, k, k\] with odd k, got \[3, 5, 5\]"),
        (weight[..., :4, :4], 16, ValueError, "weight must be .* with odd k"),
        (torch.zeros(1, 1, 17, 17), 32, ValueError, "weight must have k of at most 15"),
        (weight, 18, ValueError, r"tile must be one of \[16, 20, .*got 18"),
        (weight.double(), 16, TypeError, "weight must be torch.float32, got torch.float64"),
        (weight.clone().requires_grad_(), 16, RuntimeError, "transform_weight has no gradient: weight must not"),
    ):
        with pytest.raises(error, match=message):
            transform_weight(bad, tile)
    gradient, spectra = torch.zeros(1, 5, 9, 8), torch.zeros(8, 1, 5, 5, 2, 16)
    with pytest.raises(ValueError, match=r"out must be \[1, 5, 9, 8\] as gradient is, got \[1, 5, 9, 9\]"):
        spectral_input_gradient(gradient, spectra, torch.zeros(1, 5, 9, 9), 3, 5)
    with pytest.raises(ValueError, match=r"gradient must be \[N, C, h, w\]"):
        spectral_input_gradient(gradient[0], spectra, None, 3, 5)
    x = torch.zeros(1, 3, 9, 8)
    for arguments, error, message in (
        ((gradient[0], x, None, 5, 16), ValueError, r"gradient must be \[N, channels, h, w\], got \[5, 9, 8\]"),
        ((gradient, x.mT, None, 5, 16), ValueError, r"x must be .* like gradient .*got \[1, 3, 8, 9\]"),
        ((gradient, x, x, 5, 16), ValueError, r"out must be \[1, 5, 9, 8\] as gradient is, got \[1, 3, 9, 8\]"),
        ((gradient, x, None, 6, 16), ValueError, "kernel must be odd and at most 15, got 6"),
        ((gradient, x, None, 5, 17), ValueError, "tile must be one of .*got 17"),
        ((gradient, x.double(), None, 5, 16), TypeError, "x must be torch.float32, got torch.float64"),
        ((gradient, x.to("meta"), None, 5, 16), RuntimeError, "x must be on cpu as gradient is, got meta"),
    ):
        with pytest.raises(error, match=message):
            spectral_weight_gradient(*arguments)


def test_rejects_an_instruction_set_that_is_not_there(native_code: None) -> None:
    with pytest.raises(ValueError, match="simd must be one of .*portable, got mmx"):
        backend.native().use_simd("mmx")


@pytest.mark.parametrize("case", SPECTRAL_CONV[:4], ids=str)
def test_opcheck(case: SpectralCase, native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = case.inputs_of(generator)
    for adjoint in (False, True):
        torch.library.opcheck(torch.ops.cpm_fast.transform_weight.default, (weight, case.tile, adjoint, torch.float32))
    spectra = transform_weight(weight, case.tile)
    op = torch.ops.cpm_fast.spectral_conv.default
    torch.library.opcheck(op, (x, None, spectra, bias, True, case.outputs, case.kernel))
    gradient = torch.randn(case.images, case.outputs, *case.size, generator=generator)
    op = torch.ops.cpm_fast.spectral_weight_gradient.default
    torch.library.opcheck(op, (gradient, gradient, x, case.kernel, case.tile))


@pytest.mark.slow
def test_compiles(native_code: None, generator: torch.Generator) -> None:
    def layer(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return spectral_conv(x, transform_weight(weight, 16), bias, True, weight.shape[-1])

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for case in SPECTRAL_CONV[:3]:
        inputs = case.inputs_of(generator)
        assert torch.equal(compiled(*inputs), layer(*inputs))
