"""The loop: the files of a run, and its failures."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import Conv
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import Subset
from cpm_fast.model.files import load_model, read_tensors
from cpm_fast.recipes import RECIPES, AugmentationConfig
from cpm_fast.skeleton import Skeleton
from cpm_fast.training import task
from cpm_fast.training.loop import train
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.options import RunOptions, TrainingError
from cpm_fast.training.run import Run
from cpm_fast.training.targets import loss
from support.runs import COMPACT, CONFIGS, DATA, QUIET, RELEASED, losses, weights


def test_what_a_run_leaves(tmp_path):
    network, config = CONFIGS["modern"]
    validation = [Subset(DrawnFigures(4, seed=9), range(4))]
    model = train(
        network,
        config,
        DATA,
        validation,
        tmp_path / "deep" / "run",
        about={"data": ["a", "b"]},
        options=replace(QUIET, validate_every=2.0),
    )
    run = tmp_path / "deep" / "run"
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "curves.png",
        "batch0.png",
        "last.safetensors",
        "best.safetensors",
        "final.safetensors",
        "inputs.json",
    }
    described = json.loads((run / "config.json").read_text())
    assert described["data"] == ["a", "b"] and described["training"]["batch"] == 4
    assert described["network"]["skeleton"]["name"] == "lsp" and "torch" in described["versions"]
    for name in ("curves.png", "batch0.png"):
        assert cv2.imread(str(run / name)) is not None
    rows = list(MetricsLog(run / "metrics.jsonl").rows())
    assert [row["step"] for row in rows] == [3, 6, 8, 9, 11, 11]
    for row in rows:
        if "losses" in row:
            assert len(row["losses"]) == 2 and row["samples_per_second"] > 0 and row["rate"] > 0
        else:
            assert row["data"] == "synthetic" and len(row["pck"]) == 2 and row["samples"] + row["left_out"] == 4
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights(run)[name])


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    """With scores 0.2, 0.6, 0.4, best holds the weights of the second validation, also after a resume."""
    scores, seen = [0.2, 0.6, 0.4], []

    class Found:
        def __init__(self, mean):
            self.stages = [type("Score", (), {"mean": mean, "samples": 1, "left_out": 0})()]

    def scored(model, *args, **kwargs):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Found(scores[len(seen) - 1])

    monkeypatch.setattr(task, "evaluate", scored)
    network, config = CONFIGS["modern"]
    for stop in (8, None):
        train(
            network,
            config,
            DATA,
            [DATA[0]],
            tmp_path,
            resume=True,
            options=replace(QUIET, validate_every=1.0, stop_after=stop),
        )
    assert len(seen) == 3
    best = load_model(tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(tensor, best[name]) for name, tensor in seen[1].items())


def test_the_first_batch_is_drawn_before_the_first_step(tmp_path, monkeypatch):
    def nothing(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(loss, "stage_losses", nothing)
    with pytest.raises(ZeroDivisionError):
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=QUIET)
    picture = cv2.imread(str(tmp_path / "batch0.png"))
    assert picture.shape == (128, 6 * 64, 3) and picture[:, : 4 * 64].std() > 10


def test_a_second_run_into_the_same_folder_is_refused(tmp_path):
    train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, stop_after=1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="holds a run already; resume it with --resume"):
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=QUIET)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("network", "config", "message"),
    [
        (replace(COMPACT, stages=3), CONFIGS["modern"][1], "another network"),
        (COMPACT, replace(CONFIGS["modern"][1], learning_rate=1e-3), "another recipe"),
    ],
    ids=["network", "recipe"],
)
def test_a_run_is_not_resumed_as_another(tmp_path, network, config, message):
    train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, stop_after=1))
    with pytest.raises(ValueError, match=f"config.json: the run has {message}"):
        train(network, config, DATA, [], tmp_path, resume=True, options=QUIET)


def test_a_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: not the config of a run"):
        train(*CONFIGS["modern"], DATA, [], tmp_path, resume=True, options=QUIET)


@pytest.mark.parametrize("step", [5, 8], ids=["within a window", "at a checkpoint"])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, monkeypatch, step):
    calls, real = [], loss.stage_losses

    def diverging(*args):
        calls.append(None)
        return real(*args) * (math.nan if len(calls) == step else 1.0)

    monkeypatch.setattr(loss, "stage_losses", diverging)
    with pytest.raises(TrainingError, match=rf"the losses of the stages are \[nan, nan\] at step {step}: .*last good"):
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, save_every=4))
    assert losses(tmp_path)[-1][0] <= step
    assert_finite(tmp_path / "last.safetensors")


def assert_finite(checkpoint) -> None:
    assert all(bool(tensor.isfinite().all()) for tensor in read_tensors(checkpoint, "checkpoint")[0].values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    real = Run.step

    def exploding(self, step, batch, samples, model, optimizer):
        found = real(self, step, batch, samples, model, optimizer)
        if step == 1:
            next(model.parameters()).data[0, 0, 0, 0] = math.inf
        return found

    monkeypatch.setattr(Run, "step", exploding)
    with pytest.raises(TrainingError, match="weights are not finite after step 2: .*last good state is in"):
        train(*CONFIGS["paper"], DATA, [], tmp_path, options=replace(QUIET, save_every=1))
    assert_finite(tmp_path / "last.safetensors")


def test_a_rate_that_is_too_high_is_told_before_anything_is_saved(tmp_path):
    config = replace(CONFIGS["paper"][1], learning_rate=1e6)
    with pytest.raises(TrainingError, match=r"at step [23]: lower the learning rate; no state was saved before"):
        train(RELEASED, config, DATA, [], tmp_path, options=QUIET)
    assert not (tmp_path / "last.safetensors").exists()


def test_the_loss_falls_on_a_few_figures(tmp_path):
    """Four figures with constant crops are learned by heart, and the second stage is better."""
    network = replace(COMPACT, trunk=((Conv(3, 8),),) * 3, first=(Conv(3, 16),), refine=(Conv(3, 16),))
    still = AugmentationConfig(1.0, 1.0, 0.0, 0.0, 0.0)
    config = replace(RECIPES["modern"], batch=4, epochs=60, augmentation=still, learning_rate=1e-2)
    train(network, config, [DrawnFigures(4)], [], tmp_path, options=QUIET)
    first, last = losses(tmp_path)[0][1], losses(tmp_path)[-1][1]
    assert (np.array(last) < 0.2 * np.array(first)).all(), (first, last)
    assert last[1] < last[0]


def test_network_and_data_must_share_a_part(tmp_path):
    other = replace(COMPACT, skeleton=Skeleton("two", ("nose", "tail")))
    with pytest.raises(ValueError, match=r"synthetic: parts must be some of the network's .'nose', 'tail'., got .'h"):
        train(other, CONFIGS["modern"][1], DATA, [], tmp_path, options=QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [[], [Subset(DrawnFigures(1), [])]], ids=["no dataset", "no sample"])
def test_there_must_be_data(tmp_path, data):
    with pytest.raises(ValueError, match="at least one sample"):
        train(*CONFIGS["modern"], data, [], tmp_path, options=QUIET)


def test_fewer_samples_than_a_batch(tmp_path):
    config = replace(CONFIGS["modern"][1], batch=64, epochs=2)
    train(COMPACT, config, [Subset(DrawnFigures(1), []), DrawnFigures(3)], [], tmp_path, options=QUIET)
    assert losses(tmp_path)[-1][0] == 2


class Torn(DrawnFigures):
    def __getitem__(self, index):
        if index % 3 == 0:
            raise ValueError(f"picture{index}.jpg: cut short")
        return super().__getitem__(index)


def test_pictures_that_cannot_be_read_are_reported_and_left_out(tmp_path, capsys):
    config = replace(CONFIGS["modern"][1], epochs=1)
    train(COMPACT, config, [Torn(8)], [], tmp_path, options=QUIET)
    shown = capsys.readouterr().out
    for index in (0, 3, 6):
        assert f"sample {index} left out: picture{index}.jpg: cut short" in shown


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"save_every": 0}, ValueError, "save_every must be at least 1"),
        ({"workers": -1}, ValueError, "workers must be"),
        ({"validate_every": 0.0}, ValueError, "validate_every"),
        ({"validate_every": math.inf}, ValueError, "validate_e"),
        ({"validate_every": math.nan}, ValueError, "validate_every"),
    ],
    ids=str,
)
def test_options_out_of_range(fields, error, message):
    with pytest.raises(error, match=message):
        RunOptions(**fields)


def test_a_device_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda"):
        train(*CONFIGS["modern"], DATA, [], tmp_path, options=replace(QUIET, device="tpu9"))


def test_metrics_drop_a_torn_line_and_what_is_later(tmp_path):
    metrics = MetricsLog(tmp_path / "metrics.jsonl")
    assert list(metrics.rows()) == []
    for step in (1, 2, 3):
        metrics.write({"step": step})
    with metrics.path.open("ab") as file:
        file.write(b'{"step": 4, "los\xff')
    assert [row["step"] for row in metrics.rows()] == [1, 2, 3]
    for torn in (b"4\n", b"{}\n", b"[" * 100_000):
        (tmp_path / "other.jsonl").write_bytes(metrics.path.read_bytes()[:39] + torn)
        assert [row["step"] for row in MetricsLog(tmp_path / "other.jsonl").rows()] == [1, 2, 3]
    metrics.rewind(2)
    metrics.write({"step": 9})
    assert metrics.path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 9}\n'
