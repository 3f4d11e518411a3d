"""Runs that can't be lost: kills, full disks, failing validations, changed data, loaders in threads."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import Subset
from cpm_fast.model.tensor_file import read_tensors
from cpm_fast.training.loop import train
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.options import RunOptions, TrainingError
from support.beside import Command, Outcome, script
from support.runs import CONFIGS, DATA, QUIET, losses, weights

ROOT = Path(__file__).resolve().parents[2]
VALIDATION = [Subset(DrawnFigures(3, seed=9), range(3))]
# An epoch has 4 steps.
EVERY_EPOCH = replace(QUIET, validate_every=1.0)


def kill_test(folder: Path) -> Command:
    return script("benchmarks/checks/kill_test.py", "--kills", 5, "--commands", 1, "--out", folder / "kills.json")


@pytest.mark.slow
@pytest.mark.beside(command=kill_test)
def test_killed_at_random_instants_and_resumed(beside: Outcome):
    """The command with its fifty kills runs with five, one of them of a whole process; it compares bit for bit."""
    assert beside.code == 0, beside.output + beside.errors
    found = json.loads((beside.folder / "kills.json").read_text())
    assert found["kills"] >= 5 and found["lost"] == found["differing"] == 0


def fill_the_disk(patch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """Fill the disk for a file of this name, after this many more writes."""
    written, real = [], os.fsync

    def full(handle: int) -> None:
        if f".{name}." in os.readlink(f"/proc/self/fd/{handle}"):
            written.append(handle)
            if len(written) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    patch.setattr(os, "fsync", full)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the file of a handle by /proc")
@pytest.mark.parametrize(
    ("name", "after"),
    [("last.safetensors", 1), ("best.safetensors", 0), ("curves.png", 0), ("final.safetensors", 0)],
    ids=["checkpoint", "best", "curves", "final"],
)
def test_a_full_disk_names_the_file_and_the_last_good_state(tmp_path, monkeypatch, name, after):
    network, config = CONFIGS["modern"]
    train(network, config, DATA, VALIDATION, tmp_path / "whole", options=EVERY_EPOCH)
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        fill_the_disk(patch, name, after)
        wanted = f"{name} can't be written: No space left on device; the last good state is in .*last.safetensors"
        with pytest.raises(TrainingError, match=wanted):
            train(network, config, DATA, VALIDATION, run, options=EVERY_EPOCH)
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    assert json.loads(read_tensors(run / "last.safetensors", "checkpoint")[1]["checkpoint"])["step"] >= 4
    train(network, config, DATA, VALIDATION, run, resume=True, options=EVERY_EPOCH)
    assert_same(run, tmp_path / "whole")


def assert_same(run, whole) -> None:
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name
    assert losses(run) == losses(whole) and scores(run) == scores(whole)


def scores(run) -> list[tuple[int, list[float]]]:
    return [(row["step"], row["pck"]) for row in MetricsLog(run / "metrics.jsonl").rows() if "pck" in row]


def test_a_full_disk_before_the_first_checkpoint(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(MetricsLog, "write", full)
    with pytest.raises(TrainingError, match=r"metrics.jsonl can't be written: No space left .*no state was saved"):
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=QUIET)


class Unreadable:
    """A validation set whose pictures can't be read while `broken`."""

    name, skeleton, broken = "torn", DATA[0].skeleton, True

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if self.broken:
            raise OSError("picture.jpg: gone")
        return VALIDATION[0][index]


@pytest.mark.filterwarnings("ignore:torn")
def test_a_validation_that_fails_costs_no_step_and_is_done_when_resumed(tmp_path):
    network, config = CONFIGS["modern"]
    dataset = Unreadable()
    with pytest.raises(ValueError, match="torn: none of its 3 samples could be read"):
        train(network, config, DATA, [dataset], tmp_path / "run", options=EVERY_EPOCH)
    assert json.loads(read_tensors(tmp_path / "run" / "last.safetensors", "checkpoint")[1]["checkpoint"])["step"] == 4
    dataset.broken = False
    train(network, config, DATA, [dataset], tmp_path / "run", resume=True, options=EVERY_EPOCH)
    train(network, config, DATA, [dataset], tmp_path / "whole", options=EVERY_EPOCH)
    assert_same(tmp_path / "run", tmp_path / "whole")
    best = [read_tensors(tmp_path / run / "best.safetensors", "network")[0] for run in ("run", "whole")]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


def test_data_that_changed_is_refused(tmp_path):
    network, config = CONFIGS["modern"]
    train(network, config, DATA, VALIDATION, tmp_path, options=replace(QUIET, stop_after=1))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    wanted = (
        r"config.json: the run's data was training: synthetic 12, synthetic 5; .*, now it is training: synthetic 12;"
    )
    with pytest.raises(ValueError, match=wanted):
        train(network, config, DATA[:1], VALIDATION, tmp_path, resume=True, options=QUIET)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_leftovers_of_a_kill_are_removed(tmp_path):
    train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, stop_after=1))
    (tmp_path / ".last.safetensors.abc.cpm_fast.tmp").write_bytes(b"half")
    (tmp_path / ".mine").write_bytes(b"")
    train(*CONFIGS["modern"], DATA, [], tmp_path, resume=True, options=replace(QUIET, stop_after=2))
    assert [path.name for path in tmp_path.glob(".*")] == [".mine"]


class Gone(DrawnFigures):
    """Figures whose files disappear."""

    def __getitem__(self, index):
        raise OSError(f"picture{index}.jpg: gone")


@pytest.mark.parametrize("workers", [0, 1], ids=["no worker", "one worker"])
def test_an_epoch_that_can_not_be_read_ends_the_run_with_one_message(tmp_path, workers):
    with pytest.raises(TrainingError) as raised:
        train(*CONFIGS["modern"], [Gone(8)], [], tmp_path, options=replace(QUIET, workers=workers))
    message = str(raised.value)
    assert message.startswith("no sample of 2 batches up to step 2 could be read; the last: sample ")
    assert message.endswith(".jpg: gone; run cpm-fast data check; no state was saved before")
    assert "Traceback" not in message


class Torn(DrawnFigures):
    """Figures of which the first is missing."""

    def __getitem__(self, index):
        if index == 0:
            raise OSError("picture0.jpg: gone")
        return super().__getitem__(index)


def test_a_step_without_readable_samples_is_skipped(tmp_path, capsys):
    """It is skipped after a resume too, which equals the unbroken run."""
    network, config = CONFIGS["modern"]
    config = replace(config, batch=1, epochs=2)
    train(network, config, [Torn(5)], [], tmp_path / "whole", options=QUIET)
    shown = capsys.readouterr()
    assert shown.out.count("picture0.jpg: gone") == 1 and shown.out.count("is skipped") == 2
    assert "left out 2 times a sample that could not be read; run cpm-fast data check" in shown.out
    assert sum(row.get("unreadable", 0) for row in MetricsLog(tmp_path / "whole" / "metrics.jsonl").rows()) == 2
    for stop in (1, 2, 5, None):
        options = replace(QUIET, stop_after=stop)
        train(network, config, [Torn(5)], [], tmp_path / "run", resume=True, options=options)
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


FORKED = """
import numpy, torch
from cpm_fast import infer
from cpm_fast.config import preset
from cpm_fast.data.loader import TrainingItems, training_batches
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.recipes import AugmentationConfig

torch.set_num_threads(2)
infer(numpy.zeros((192, 192, 3), numpy.uint8), model="compact-drawn", threads=2)
gaussian_targets(torch.rand(8, 2, 14, 2) * 368, torch.ones(8, 2, 14, dtype=torch.bool), (46, 46), 7.0, 8)
torch.nn.functional.conv2d(torch.rand(1, 8, 64, 64, requires_grad=True), torch.rand(8, 8, 3, 3)).sum().backward()
items = TrainingItems([DrawnFigures(8)], preset("compact"), AugmentationConfig(), 0)
print(sum(len(batch.crops) for batch in training_batches(items, 4, 0, 0, 4, workers=2)))
"""


def test_loaders_forked_behind_native_threads_do_not_hang():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout.strip().endswith("16"), done.stdout + done.stderr


def test_options_that_are_kept_are_those_that_a_resume_needs():
    kept = RunOptions(save_every=7, validate_every=0.5, recompute=True, workers=3, device="cpu").kept()
    assert kept == {"save_every": 7, "validate_every": 0.5, "recompute": True, "gradients_every": 0}
