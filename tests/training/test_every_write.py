"""Training runs whose disk fails, or whose process dies, at any write, sync, rename or removal."""

from __future__ import annotations

import random
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import Subset
from cpm_fast.recipes import RECIPES
from cpm_fast.system.files import TEMPORARY_SUFFIX
from cpm_fast.training.loop import train
from cpm_fast.training.options import TrainingError
from support.disk import Disk, Killed
from support.machine import LONG
from support.runs import COMPACT, QUIET, history, weights

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds the file of a descriptor by /proc"),
    pytest.mark.usefixtures("plain_curves"),
]
# Events in the normal run, half for failures, half for deaths; the nightly run uses all events, both ways.
FEW = 4
# Two steps, a checkpoint after each, one validation.
CONFIG = replace(RECIPES["modern"], batch=4, epochs=1.0)
OPTIONS = replace(QUIET, save_every=1, validate_every=1.0)


def run(folder: Path, resume: bool = False) -> None:
    data, validation = [DrawnFigures(8)], [Subset(DrawnFigures(2, seed=9), range(2))]
    train(COMPACT, CONFIG, data, validation, folder, resume=resume, options=OPTIONS)


def test_a_run_that_fails_or_dies_at_any_write_goes_on(tmp_path):
    with Disk(tmp_path).mounted() as disk:
        run(tmp_path / "whole")
    assert len(history(tmp_path / "whole")) == 3, "two steps and a validation"
    everything = [(at, kill) for at in range(disk.count) for kill in (False, True)]
    assert len(everything) > 40
    for at, kill in everything if LONG else random.Random(0).sample(everything, FEW):
        folder = tmp_path / f"run{at}{kill}"
        with Disk(tmp_path, at, kill).mounted() as failing:
            try:
                run(folder)
            except Killed:
                assert kill
            except (TrainingError, OSError) as error:
                name = Path(str(failing.failed)).name.removeprefix(".").split(".")[0]
                assert not kill and "No space left" in str(error) and name in str(error), (at, failing.failed, error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lock of the dead process is taken over
            if not (folder / "final.safetensors").exists() or failing.dead:
                run(folder, resume=True)
        for name, tensor in weights(tmp_path / "whole").items():
            assert torch.equal(tensor, weights(folder)[name]), (at, kill, failing.failed, name)
        assert history(folder) == history(tmp_path / "whole"), (at, kill, failing.failed)
        assert not list(folder.glob(f"*{TEMPORARY_SUFFIX}")), (at, kill, failing.failed)
