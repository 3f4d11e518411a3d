"""spectral_conv and its gradients against convolution in float64, on every instruction set."""

from __future__ import annotations

import os
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
    spectral_weight_gradient,
    transform_weight,
)
from cpm_fast.reference.spectral_conv import spectral_conv as reference_conv
from cpm_fast.reference.spectral_conv import transform_weight as reference_transform
from cpm_fast.system.torch_settings import cpu_threads
from support import exact
from support.cases import LARGE_SPECTRAL, RELATIVE_ERROR, SPECTRAL_CONV, SpectralCase
from support.exact import relative_error

BOUND = RELATIVE_ERROR["spectral_conv", torch.float32]
GRADIENT_BOUND = RELATIVE_ERROR["spectral_gradient", torch.float32]


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


@pytest.mark.parametrize("case", [*SPECTRAL_CONV[::3], LARGE_SPECTRAL], ids=str)
def test_matches_reference_in_chunks(
    case: SpectralCase, native_code: None, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    x, weight, bias = case.inputs_of(generator)
    spectra, wanted = transform_weight(weight, case.tile), exact.conv(x, weight, bias, True)
    for budget in (0, 2**18, 2**20, 2**21, 2**23):
        monkeypatch.setattr(module, "WORKSPACE_BYTES", budget)
        assert relative_error(spectral_conv(x, spectra, bias, True, case.kernel), wanted) < BOUND


@pytest.mark.parametrize("case", [*SPECTRAL_CONV, LARGE_SPECTRAL], ids=str)
def test_bf16_has_at_most_twice_the_error_of_a_direct_convolution(
    case: SpectralCase, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    """The direct one is PyTorch's, of bfloat16; and the bits are the same with any number of threads."""
    x, weight, bias = case.inputs_of(generator)
    spectra, wanted = transform_weight(weight, case.tile, dtype=torch.bfloat16), exact.conv(x, weight, bias, False)
    direct = F.conv2d(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), padding=case.kernel // 2).double()
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(spectral_conv(x, spectra, bias, False, case.kernel))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert relative_error(found[0], wanted) <= 2 * relative_error(direct, wanted)


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
    x, weight, bias = LARGE_SPECTRAL.inputs_of(generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 13):
            torch.set_num_threads(count)
            results.append(spectral_conv(x, transform_weight(weight, 20), bias, True, 9))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 16), (40, 8), (16, 16), (16, 24)])
def test_products_never_lie_on_input_that_is_still_read(
    inputs: int, outputs: int, native_code: None, generator: torch.Generator
) -> None:
    """Two threads share the last unit of an odd number, each with some columns of its tiles."""
    x = torch.randn(2, inputs, 32, 32, generator=generator)
    spectra = transform_weight(torch.randn(outputs, inputs, 7, 7, generator=generator), 22)
    bias = torch.zeros(outputs)
    with cpu_threads(1):
        wanted = spectral_conv(x, spectra, bias, False, 7)
    with cpu_threads(2):
        for _ in range(40):
            assert torch.equal(spectral_conv(x, spectra, bias, False, 7), wanted)


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
    with ThreadPoolExecutor(1) as pool:  # a thread that has no memory of its own yet
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            try:
                found = pool.submit(lambda: spectral_conv(x, transform_weight(weight, 16), bias, True, 5)).result()
            finally:
                torch.set_default_dtype(torch.float32)
            assert torch.equal(found, wanted)


def test_matches_reference_image_by_image(native_code: None, generator: torch.Generator) -> None:
    x, weight, bias = LARGE_SPECTRAL.inputs_of(generator)
    spectra = transform_weight(weight, 20)
    out = spectral_conv(x, spectra, bias, True, 9)
    for image in range(3):
        assert torch.equal(spectral_conv(x[image : image + 1], spectra, bias, True, 9), out[image : image + 1])


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_matches_reference_pooled(pool: Pool, simd: str, poisoned_memory: None, generator: torch.Generator) -> None:
    """The bits equal those of pooling the whole output, in a separate map or among the channels of another."""
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


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_large_outputs_have_the_bits_of_small_ones(pool: Pool, simd: str, generator: torch.Generator) -> None:
    """From 64 MiB on an output with a pool is written past the caches: one image alone is smaller than that."""
    images = torch.randn(5, 2, 1024, 920, generator=generator).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(16, 2, 3, 3, generator=generator), torch.randn(16, generator=generator)
    spectra = transform_weight(weight, 16)
    together = spectral_conv(images, spectra, bias, True, 3, pool)
    assert together.nbytes > 64 << 20
    for image, wanted in zip(images, together, strict=True):
        assert torch.equal(spectral_conv(image[None], spectra, bias, True, 3, pool)[0], wanted)


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
    """The child is like a loader's worker, after OpenMP's threads have run in the parent."""
    x, weight, bias = SPECTRAL_CONV[0].inputs_of(generator)
    # PyTorch's own parallel loops hang in the child, so it has nothing to copy, and NumPy compares.
    x, spectra = x.contiguous(memory_format=torch.channels_last), transform_weight(weight, 16)
    wanted = spectral_conv(x, spectra, bias, True, 5).numpy()
    child = os.fork()
    if child == 0:
        os._exit(0 if (spectral_conv(x, spectra, bias, True, 5).numpy() == wanted).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_matches_reference_with_tiny_and_large_numbers(native_code: None, generator: torch.Generator) -> None:
    """Numbers far from 1 and denormal ones; values that are not finite stay within their window."""
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
