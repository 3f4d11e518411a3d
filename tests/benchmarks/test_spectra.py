"""The study of fp16 spectra: without rounding its emulation is the convolution, and it detects errors."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.studies import spectra as study
from cpm_fast.weights import load


@pytest.mark.parametrize(("kernel", "size", "tile"), [(5, (13, 30), 16), (9, (40, 21), 32), (11, (46, 46), 54)])
def test_the_emulation_is_exact_without_rounding(kernel, size, tile, generator):
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, kernel, kernel, generator=generator, dtype=torch.float64)
    wanted = study.direct(x, weight, study.exact)
    found = study.Spectral(study.exact)(x, weight, tile)
    assert found.shape == wanted.shape and (found - wanted).norm() < 1e-13 * wanted.norm()


def test_tf32_has_ten_bits():
    values = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-12])
    assert study.to_tf32(values).tolist() == [1.0, 1 + 2**-10, 1 + 2**-10, 1 + 2**-9, -1.0]


def test_fp16_spectra_on_a_trained_network(tmp_path):
    """They are far within range, with an error like TF32's; benchmarks/results has the whole study."""
    out = tmp_path / "study.json"
    study.main(["--weights", "compact-drawn", "--images", "1", "--tile", "32", "--json", str(out)])
    result = json.loads(out.read_text())["compact-drawn"]
    layers = load("compact-drawn", device="cpu").layers
    assert len(result["layers"]) == sum(
        layer.kernel >= study.SMALLEST_KERNEL for layer in layers if layer.kind == "conv"
    )
    for row in result["layers"]:
        assert row["largest_stored"] < study.FP16_LARGEST / 100
        assert row["error"]["fp16 spectra"] < 4 * row["error"]["direct tf32"]
        assert row["error"]["fp16 spectra"] < row["error"]["fp16 spectra and product"] < row["error"]["direct bf16"]
    assert result["networks"][0]["error"]["fp16 spectra"] < 1e-3


def test_a_range_that_does_not_fit_is_seen(generator):
    x = torch.full((1, 2, 16, 16), 3e4, dtype=torch.float64)
    observed = study.fp16_spectra()
    observed(x, torch.full((1, 2, 5, 5), 0.1, dtype=torch.float64), 32)
    assert observed.largest > study.FP16_LARGEST
