"""Gradients of the spectral form against those of convolution in float64."""

from __future__ import annotations

import pytest
import torch

from cpm_fast.ops.spectral import library as module
from cpm_fast.ops.spectral_conv import (
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)
from cpm_fast.reference.spectral_conv import transform_weight as reference_transform
from support import exact
from support.cases import LARGE_SPECTRAL, RELATIVE_ERROR, SPECTRAL_CONV, SpectralCase
from support.exact import relative_error

BOUND = RELATIVE_ERROR["spectral_conv", torch.float32]
GRADIENT_BOUND = RELATIVE_ERROR["spectral_gradient", torch.float32]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("case", [*SPECTRAL_CONV, LARGE_SPECTRAL], ids=str)
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
    x, _, _ = LARGE_SPECTRAL.inputs_of(generator)
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
    x, weight, bias = LARGE_SPECTRAL.inputs_of(generator)
    gradient = torch.randn(3, 40, 50, 41, generator=generator)
    _, *wanted = exact.conv_gradients(gradient, x, weight, bias, None)
    for budget in (0, 2**20, 2**21, 2**23):
        monkeypatch.setattr(module, "WORKSPACE_BYTES", budget)
        for found, one in zip(spectral_weight_gradient(gradient, x, None, 9, 20), wanted, strict=True):
            assert relative_error(found, one) < GRADIENT_BOUND
