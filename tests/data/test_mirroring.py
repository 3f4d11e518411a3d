"""Mirroring is switched off, with a message, if a part has a side in its name and no partner."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from cpm_fast import infer
from cpm_fast.data.loader import training_batches
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import Skeleton
from cpm_fast.training import run as running
from cpm_fast.training.loop import train
from support.annotated import Figures
from support.runs import COMPACT, CONFIGS, QUIET

LONE = Skeleton("lone", ("nose", "ear_left", "tail"))
PAIR = Skeleton("pair", ("nose", "ear_left", "ear_right"), pairs=(("ear_left", "ear_right"),))
TOLD = "off, because no partner is known of ear_left; name pairs in a skeleton.toml"


@pytest.mark.parametrize(("skeleton", "probability"), [(LONE, 0.0), (PAIR, 0.5)], ids=["lone", "pair"])
def test_training(tmp_path, monkeypatch, skeleton, probability):
    seen = []

    def watched(items, *given, **more):
        seen.append(items.augmentation.flip_probability)
        return training_batches(items, *given, **more)

    monkeypatch.setattr(running, "training_batches", watched)
    network, config = replace(COMPACT, skeleton=skeleton), CONFIGS["modern"][1]
    assert config.augmentation.flip_probability == 0.5
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(network, config.changed({"epochs": 1}), [Figures(6, skeleton)], [], tmp_path / "run", options=QUIET)
    messages = [str(warning.message) for warning in told if "mirroring" in str(warning.message)]
    assert messages == ([f"mirroring is {TOLD}"] if skeleton is LONE else [])
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["training"]["augmentation"]
    assert seen and set(seen) == {probability} == {kept["flip_probability"]}


@pytest.mark.parametrize("skeleton", [LONE, PAIR], ids=["lone", "pair"])
def test_inference_with_flip(skeleton):
    torch.manual_seed(0)
    model = CPM(replace(COMPACT, skeleton=skeleton)).eval()
    picture = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    plain = infer(picture, model=model, device="cpu")[0]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        flipped = infer(picture, model=model, device="cpu", flip=True)[0]
    messages = [str(warning.message) for warning in told if "flip" in str(warning.message)]
    assert messages == ([f"flip is {TOLD}"] if skeleton is LONE else [])
    assert (flipped.scores == plain.scores).all() == (skeleton is LONE)
