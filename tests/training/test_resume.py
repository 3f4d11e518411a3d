"""A run that was stopped at any point and resumed equals an unbroken one."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

from cpm_fast.cli import BAD_USE, TERMINATED, main
from cpm_fast.system.interrupt import interrupts_held
from cpm_fast.training import run as run_module
from cpm_fast.training.loop import train
from cpm_fast.training.run import Run
from cpm_fast.training.targets import loss
from support.runs import CONFIGS, DATA, QUIET, losses, weights


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return weights and losses of the unbroken run of each config."""
    found = {}

    def of(name: str):
        if name not in found:
            run = tmp_path_factory.mktemp("runs") / "unbroken"
            train(*CONFIGS[name], DATA, [], run, options=QUIET)
            found[name] = weights(run), losses(run)
        return found[name]

    return of


def assert_same_run(run, wanted, logged=(3, 6, 9, 11)) -> None:
    found = weights(run), losses(run)
    for name, tensor in wanted[0].items():
        assert torch.equal(tensor, found[0][name]), name
    assert found[1] == wanted[1]
    assert tuple(step for step, _ in found[1]) == logged


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stop", [4, 5], ids=["stopped between epochs", "stopped within an epoch"])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, unbroken, name, stop):
    network, config = CONFIGS[name]
    train(network, config, DATA, [], tmp_path, options=replace(QUIET, stop_after=stop))
    assert not (tmp_path / "final.safetensors").exists()
    torch.manual_seed(123)  # earlier random numbers of the process do not matter
    train(network, config, DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken(name))


def test_a_run_stopped_again_and_again_equals_an_unbroken_one(tmp_path, unbroken):
    network, config = CONFIGS["paper"]
    for stop in (0, 1, 2, 6, 7, 7, 10, None):
        options = replace(QUIET, stop_after=stop, workers=2 if stop == 6 else 0)
        train(network, config, DATA, [], tmp_path, resume=True, options=options)
    assert_same_run(tmp_path, unbroken("paper"))


def test_how_a_run_is_carried_out_does_not_change_it(tmp_path, unbroken):
    options = replace(QUIET, workers=1, save_every=2, validate_every=1.25)
    train(*CONFIGS["modern with dropout"], DATA, [], tmp_path, options=options)
    assert_same_run(tmp_path, unbroken("modern with dropout"))


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, unbroken, monkeypatch):
    """The folder is that of a kill after step 9: checkpoint of step 8, metrics of step 9 and half a line."""
    network, config = CONFIGS["modern"]
    train(network, config, DATA, [], tmp_path, options=replace(QUIET, stop_after=8))
    before = tmp_path / "last.safetensors"
    shutil.copy(before, tmp_path / "kept")
    train(network, config, DATA, [], tmp_path, resume=True, options=replace(QUIET, stop_after=9))
    (tmp_path / "kept").replace(before)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "epo')
    train(network, config, DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


def test_resuming_a_finished_run_changes_nothing(tmp_path, unbroken):
    network, config = CONFIGS["modern"]
    train(network, config, DATA, [], tmp_path, options=QUIET)
    (tmp_path / "final.safetensors").unlink()
    train(network, config, DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


def test_resume_without_a_checkpoint_starts_anew(tmp_path, unbroken):
    network, config = CONFIGS["modern"]
    train(network, config, DATA, [], tmp_path, options=replace(QUIET, stop_after=4))
    (tmp_path / "last.safetensors").unlink()
    train(network, config, DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


@pytest.fixture(autouse=True)
def interrupts():
    """Enable Ctrl-C, also for tests in the background, which start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(monkeypatch, step: int, times: int = 1, number: int = signal.SIGINT) -> None:
    """Send a signal in the middle of a step, counted from 1: after the forward pass, before the update."""
    calls, real = [], loss.stage_losses

    def interrupted(*args):
        calls.append(None)
        result = real(*args)
        if len(calls) == step:
            for _ in range(times):
                signal.raise_signal(number)
        return result

    monkeypatch.setattr(loss, "stage_losses", interrupted)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_interrupt_lets_the_step_end_and_saves(tmp_path, unbroken, monkeypatch, capfd, name):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, 7)
        train(*CONFIGS[name], DATA, [], tmp_path, options=QUIET)
    shown = capfd.readouterr()
    assert "stopping after this step" in shown.err and "stopped after step 7, saved; resume with" in shown.out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert losses(tmp_path)[-1][0] == 6
    train(*CONFIGS[name], DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken(name))


def test_a_terminated_command_saves_and_goes_on(tmp_path, monkeypatch, capfd):
    data = "--data synthetic:16 --batch 4 --epochs 2 --workers 0 --quiet"
    command = ["train", *shlex.split(f"{data} --preset compact --input-size 64 64 --stages 2")]
    assert main([*command, "-o", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, number=signal.SIGTERM)
        assert main([*command, "-o", str(tmp_path / "ended")]) == TERMINATED
    assert "stopping after this step" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resume = ["train", "--resume", str(tmp_path / "ended"), "--workers", "0", "--quiet"]
    for other, message in (
        (["--epochs", "3"], "has epochs 2.0, not 3.0: leave these options out"),
        (["--rotate", "5"], "has rotate_degrees 40.0, not 5.0"),
        (["--data", "synthetic:12"], "not ['synthetic:12']"),
        (["--stages", "3"], "another network"),
        (["--find"], "no finder"),
    ):
        assert main([*resume, *other]) == BAD_USE
        assert message in capfd.readouterr().err
    assert main(resume) == 0
    assert_same_run(tmp_path / "ended", (weights(tmp_path / "whole"), losses(tmp_path / "whole")), (3, 6, 8))


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not tell who sent a signal")
def test_sigterm_to_all_processes_of_a_training_saves(tmp_path):
    """systemd and Slurm send it to the workers too."""
    run = tmp_path / "run"
    options = "--data synthetic:400 --preset compact --input-size 64 64 --stages 2 --batch 2 --workers 2"
    command = [sys.executable, "-m", "cpm_fast", "train", *options.split(), "-o", run]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as process:
        while not (run / "batch0.png").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert "saved; resume with" in output and "worker" not in output, output
    assert process.returncode == TERMINATED


def test_a_second_interrupt_stops_at_once_and_saves_no_half_step(tmp_path, unbroken, monkeypatch, capfd):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, 7, times=2)
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, save_every=5))
    assert "stopped within step 7, which is lost with all after the last checkpoint" in capfd.readouterr().out
    train(*CONFIGS["modern"], DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


def test_an_interrupt_while_data_is_awaited_saves(tmp_path, unbroken, monkeypatch):
    real = run_module.training_batches

    def interrupted(*args):
        for number, batch in enumerate(real(*args)):
            if number == 5:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_module, "training_batches", interrupted)
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=QUIET)
    assert (tmp_path / "last.safetensors").exists()
    train(*CONFIGS["modern"], DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


def test_a_step_that_raises_is_not_saved(tmp_path, unbroken, monkeypatch):
    """KeyboardInterrupt within a step leaves weights of no step, so the previous checkpoint stays."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls, real = [], Run.step

        def torn(self, step, batch, samples, model, optimizer):
            calls.append(step)
            if step == 6:
                next(model.parameters()).data.fill_(9.0)
                raise KeyboardInterrupt
            return real(self, step, batch, samples, model, optimizer)

        patch.setattr(Run, "step", torn)
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, save_every=4))
    train(*CONFIGS["modern"], DATA, [], tmp_path, resume=True, options=QUIET)
    assert_same_run(tmp_path, unbroken("modern"))


def test_interrupts_are_let_through_where_they_are_not_ours():
    done = []
    with interrupts_held():
        done.append("main")
    other = threading.Thread(target=lambda: [done.append("thread") for _ in [interrupts_held().__enter__()]])
    other.start()
    other.join()
    assert done == ["main", "thread"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
