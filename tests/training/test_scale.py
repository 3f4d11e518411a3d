"""Larger than one pass in one process: pieces, recomputed activations, short floats, several processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.cpm import CPM
from cpm_fast.training.forward import Forward
from cpm_fast.training.loop import train
from cpm_fast.training.phases import Phase
from support.runs import COMPACT, CONFIGS, DATA, QUIET, RELEASED, losses, weights

TESTS = Path(__file__).resolve().parents[1]
WITHOUT_CHANCE = replace(RELEASED, dropout=0.0)


def test_accumulated_pieces_are_the_batch_to_rounding(tmp_path):
    network, config = CONFIGS["paper"]
    network = replace(network, dropout=0.0)
    for name, pieces in (("whole", 1), ("pieces", 3)):
        train(network, replace(config, accumulate=pieces), DATA, [], tmp_path / name, options=QUIET)
    for name, tensor in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "pieces")[name], tensor, rtol=1e-4, atol=1e-7)
    for (_, whole), (_, pieces) in zip(losses(tmp_path / "whole"), losses(tmp_path / "pieces"), strict=True):
        assert whole == pytest.approx(pieces, rel=1e-5)


@pytest.mark.parametrize("accumulate", [0, 1.5])
def test_accumulate_is_checked(accumulate):
    with pytest.raises(ValueError, match="accumulate must be a whole number of at least 1"):
        replace(CONFIGS["modern"][1], accumulate=accumulate)


def test_bf16_trains_close_to_fp32(tmp_path):
    """Weights and losses stay fp32; products have eight bits of mantissa, so the loss differs by a few percent."""
    network, config = COMPACT, CONFIGS["modern"][1]
    for precision in ("fp32", "bf16"):
        train(network, replace(config, precision=precision), DATA, [], tmp_path / precision, options=QUIET)
    assert {tensor.dtype for tensor in weights(tmp_path / "bf16").values()} == {torch.float32, torch.int64}
    for (_, exact), (_, rounded) in zip(losses(tmp_path / "fp32"), losses(tmp_path / "bf16"), strict=True):
        assert rounded == pytest.approx(exact, rel=0.05) and rounded != exact


@pytest.mark.parametrize("name", CONFIGS)
def test_recomputed_activations_give_the_same_weights_bit_for_bit(tmp_path, name):
    """Dropout draws the same numbers, and normalization counts every batch once."""
    for folder, recompute in (("kept", False), ("redone", True)):
        train(*CONFIGS[name], DATA, [], tmp_path / folder, options=replace(QUIET, recompute=recompute, stop_after=None))
    redone = weights(tmp_path / "redone")
    for key, tensor in weights(tmp_path / "kept").items():
        assert torch.equal(tensor, redone[key]), key


def test_recomputing_keeps_fewer_activations():
    """Recomputing lowers the bytes that the graph saves between forward and backward."""

    def saved(recompute: bool) -> int:
        torch.manual_seed(0)
        forward = Forward(CPM(COMPACT), Phase(0, 1, 2, (1, 2)), recompute).train()
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            beliefs = forward(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
        assert len(beliefs) == 2
        return sum(kept.values())

    assert saved(True) < 0.7 * saved(False)


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.training import loop, run
from cpm_fast.system.ranks import main_process
from support.runs import CONFIGS, DATA, LOG_EVERY, QUIET
from training.test_scale import PARALLEL, WITHOUT_CHANCE, Half

torch.set_num_threads(1)
run.LOG_EVERY_STEPS = LOG_EVERY
written = []
real = run.save_checkpoint
run.save_checkpoint = lambda *args: (written.append(args[0]), real(*args))
folder = Path(sys.argv[1])
validation = [DrawnFigures(2, seed=3)]
for stop in (5, None):
    loop.train(WITHOUT_CHANCE, PARALLEL, DATA, validation, folder / "resumed", resume=True,
               options=replace(QUIET, stop_after=stop, recompute=True))
loop.train(WITHOUT_CHANCE, PARALLEL, [Half(8)], [], folder / "half", options=replace(QUIET, stop_after=2))
assert bool(written) == main_process()
"""
# A batch of 5 is 3 and 2 samples, and the first process runs its samples in two pieces.
PARALLEL = replace(CONFIGS["paper"][1], batch=5, epochs=3, accumulate=2)


class Half(DrawnFigures):
    """Figures of which every other one can be read."""

    def __getitem__(self, index):
        if index % 2:
            raise OSError(f"picture{index}.jpg: gone")
        return super().__getitem__(index)


def launch(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch_to_rounding(tmp_path):
    """A run is stopped after five steps and resumed by two processes; the other is one unbroken process."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = launch(str(script), str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    validation = [DrawnFigures(2, seed=3)]
    train(WITHOUT_CHANCE, PARALLEL, DATA, validation, tmp_path / "one", options=QUIET)
    train(WITHOUT_CHANCE, PARALLEL, [Half(8)], [], tmp_path / "one half", options=replace(QUIET, stop_after=2))
    both, one = weights(tmp_path / "resumed"), weights(tmp_path / "one")
    for name, tensor in one.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-4, atol=1e-7, msg=name)
    for (step, whole), (_, shared) in zip(losses(tmp_path / "one"), losses(tmp_path / "resumed"), strict=True):
        assert shared == pytest.approx(whole, rel=1e-5), step
    assert json.loads((tmp_path / "resumed" / "config.json").read_text())["processes"] == 2
    from cpm_fast.model.files import read_tensors

    halves = [read_tensors(tmp_path / run / "last.safetensors", "checkpoint")[0] for run in ("half", "one half")]
    for name, tensor in halves[1].items():
        torch.testing.assert_close(halves[0][name], tensor, rtol=1e-4, atol=1e-7, msg=name)


def test_fewer_samples_than_processes(monkeypatch, tmp_path):
    from cpm_fast.system.ranks import Ranks
    from cpm_fast.training.folder import RunFolder
    from cpm_fast.training.run import Run

    with pytest.raises(ValueError, match=r"batch must be at least one sample per process .8., got 4"):
        Run(*CONFIGS["modern"], DATA, [], RunFolder(tmp_path), QUIET, Ranks(0, 8))
