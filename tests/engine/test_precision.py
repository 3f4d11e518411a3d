"""The promise of precision on a CPU, on trained weights: twice the error of PyTorch's own float32, at most."""

import copy

import pytest
import torch

import cpm_fast
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.crops import network_input, scale_crops
from cpm_fast.ops.backend import use_backend


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(torch.linalg.norm(found.double() - wanted) / torch.linalg.norm(wanted))


@pytest.mark.parametrize("name", ["compact-lsp", "compact-drawn"])
def test_fp32_has_at_most_twice_the_error_of_pytorch(name):
    """Each stage of the engine and of PyTorch's plain network against float64."""
    model = cpm_fast.load(name, device="cpu").eval()
    sample = DrawnFigures(1, seed=5)[0]
    cut = scale_crops(sample.image, sample.region(model.config.margin), model.config)
    crops = network_input(cut, model.config, torch.device("cpu"))
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(crops.double())
        found = cpm_fast.Engine(model, precision="fp32")(crops)
        with use_backend("reference"):
            plain = model(crops)
    for ours, theirs, wanted in zip(found, plain, exact, strict=True):
        assert ours.dtype == torch.float32
        assert relative_error(ours, wanted) <= 2 * relative_error(theirs, wanted)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_cpu_has_fp32_only(precision):
    model = cpm_fast.load("compact-drawn", device="cpu")
    with pytest.raises(RuntimeError, match=f"precision must be fp32 on cpu, got {precision}"):
        cpm_fast.Engine(model, precision=precision)
