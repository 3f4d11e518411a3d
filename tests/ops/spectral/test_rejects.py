"""Arguments that the spectral form refuses, by name."""

from __future__ import annotations

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.spectral_conv import (
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)
from support.cases import SpectralCase


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
