"""Everything works inside torch.inference_mode(), with networks that were made or loaded there, and after it."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from cpm_fast import Engine, infer, load, stream
from cpm_fast.config import compact
from cpm_fast.inference import find
from cpm_fast.model.cpm import CPM

PICTURES = [np.random.default_rng(i).integers(0, 256, (50, 60, 3), dtype=np.uint8) for i in range(2)]
QUICK = {"device": "cpu", "threads": 1}


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    model = CPM(dataclasses.replace(compact(), input_size=(64, 64), stages=2)).eval()
    model.save(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.fixture(params=["outside", "inside"])
def loaded(request, path) -> CPM:
    with torch.inference_mode(request.param == "inside"):
        model = load(path, device="cpu")
    assert next(model.parameters()).is_inference() == (request.param == "inside")
    return model


@pytest.mark.parametrize("within", [False, True], ids=["after", "within"])
def test_poses_are_the_same(loaded, within, path):
    wanted = infer(PICTURES, model=path, **QUICK)
    with warnings.catch_warnings(), torch.inference_mode(within):
        warnings.simplefilter("error", RuntimeWarning)
        results = infer(PICTURES, model=loaded, **QUICK)
        again = infer(PICTURES, model=loaded, **QUICK)
        streamed = list(stream(PICTURES, model=loaded, boxes=[[0, 0, 60, 50]], **QUICK))
        regions = find(PICTURES[0], model=loaded, **QUICK)
    for found in (results, again):
        for a, b in zip(found, wanted, strict=True):
            assert (a.keypoints == b.keypoints).all() and (a.scores == b.scores).all()
    assert len(streamed) == 2 and len(regions) == 1


@pytest.mark.parametrize("within", [False, True], ids=["after", "within"])
def test_an_engine_notices_changed_weights(loaded, within):
    crops = torch.rand(1, 3, 64, 64) - 0.5
    engine = Engine(loaded, threads=1)
    # PyTorch itself allows such weights in no graph of gradients.
    with torch.inference_mode(within), torch.no_grad():
        before = engine(crops)[-1].clone()
        torch.testing.assert_close(before, loaded(crops)[-1], rtol=0, atol=1e-4)
        with torch.inference_mode():
            loaded.conv("stage2_beliefs").bias.add_(0.25)
        torch.testing.assert_close(engine(crops)[-1], before + 0.25, rtol=0, atol=1e-4)
