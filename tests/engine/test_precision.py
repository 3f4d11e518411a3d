"""The promises of precision on a CPU, on trained weights: twice the error of PyTorch's own arithmetic, at most."""

import copy

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import network_input, scale_crops
from cpm_fast.ops.backend import native_missing, use_backend


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(torch.linalg.norm(found.double() - wanted) / torch.linalg.norm(wanted))


def trained(name: str) -> tuple[CPM, torch.Tensor, list[torch.Tensor]]:
    """Return a network, crops of two drawn figures, and the belief maps in float64."""
    model = cpm_fast.load(name, device="cpu").eval()
    samples = DrawnFigures(2, seed=5)
    cuts = [scale_crops(each.image, each.region(model.config.margin), model.config)[0] for each in samples]
    crops = network_input(np.stack(cuts), model.config, torch.device("cpu"))
    with torch.no_grad():
        return model, crops, copy.deepcopy(model).double()(crops.double())


@pytest.mark.parametrize("name", ["compact-lsp", "compact-drawn"])
def test_fp32_has_at_most_twice_the_error_of_pytorch(name):
    """Each stage of the engine and of PyTorch's plain network against float64."""
    model, crops, exact = trained(name)
    with torch.no_grad():
        found = cpm_fast.Engine(model, precision="fp32")(crops)
        with use_backend("reference"):
            plain = model(crops)
    for ours, theirs, wanted in zip(found, plain, exact, strict=True):
        assert ours.dtype == torch.float32
        assert relative_error(ours, wanted) <= 2 * relative_error(theirs, wanted)


@pytest.mark.parametrize("name", ["compact-lsp", "compact-drawn"])
def test_bf16_has_at_most_twice_the_error_of_pytorch(name, simd):
    """The same against convolutions of bfloat16 by PyTorch; and the engine does round, on every instruction set."""
    model, crops, exact = trained(name)
    with torch.no_grad():
        found = cpm_fast.Engine(model, precision="bf16")(crops)
        with use_backend("reference"), torch.autocast("cpu", torch.bfloat16):
            plain = model(crops)
    for ours, theirs, wanted in zip(found, plain, exact, strict=True):
        assert ours.dtype == torch.float32
        assert 1e-5 < relative_error(ours, wanted) <= 2 * relative_error(theirs, wanted)


def test_bf16_images_do_not_depend_on_the_batch(simd):
    model, crops, _ = trained("compact-lsp")
    engine = cpm_fast.Engine(model, precision="bf16")
    together, alone = engine(crops)[-1], engine(crops[1:])[-1]
    assert relative_error(together[1:], alone.double()) < 1e-3


def test_bf16_without_native_code_is_the_model(monkeypatch):
    model, crops, _ = trained("compact-drawn")
    with use_backend("reference"), torch.no_grad():
        found, wanted = cpm_fast.Engine(model, precision="bf16")(crops), model(crops)
    assert relative_error(found[-1], wanted[-1].double()) < 1e-5


def test_bf16_takes_half_the_memory():
    if missing := native_missing("cpu"):
        pytest.skip(missing)
    model, crops, _ = trained("compact-lsp")
    held = []
    for precision in ("fp32", "bf16"):
        engine = cpm_fast.Engine(model, precision=precision, memory=1 << 30)
        engine(crops)
        prepared = engine._checked
        held.append(sum(each.nbytes for each in (*prepared.spectra.values(), *prepared.packed.values())))
    # A first layer has three inputs, which take the room of four. With products of pairs, more layers are direct, and
    # their weights are smaller than spectra.
    assert 0.1 < held[1] / held[0] < 0.52


def test_a_cpu_has_no_tf32():
    model = cpm_fast.load("compact-drawn", device="cpu")
    with pytest.raises(RuntimeError, match="precision tf32 is for cuda, got device cpu"):
        cpm_fast.Engine(model, precision="tf32")
