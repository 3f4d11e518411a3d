"""The benchmark: wrong results get no time, absent peers are named, ratios come from turns in one round."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import run as command
from benchmarks.harness import measure as harness
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew, worst_error
from benchmarks.harness.machine import Machine
from benchmarks.harness.measure import Case, Contestant, Effort, measure
from benchmarks.harness.oracle import ExactConvolution
from benchmarks.harness.problems import LayerProblem, NetworkProblem, Setting, TrainProblem
from benchmarks.peers import pytorch as peers
from benchmarks.peers import runtimes as onnx_peers
from benchmarks.peers.fourier import FourierConv
from benchmarks.peers.plain import PlainNetwork
from benchmarks.suites import bfloat16, end_to_end, layers, network, post, train_step
from cpm_fast.config import Conv, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.reference.context_conv import context_conv
from support import contestants, small_network

MACHINE = Machine({("cpu", "fp32"): 1e11}, {"cpu": 1e10})
ONCE = Effort(2, 2, 0)
TINY = replace(
    small_network.TINY,
    input_size=(32, 32),
    trunk=((Conv(3, 4),), (Conv(5, 4),), (Conv(3, 4),)),
    first=(Conv(5, 4),),
    refine=(Conv(7, 4),),
    dropout=0.0,
)


@pytest.fixture(scope="module")
def crew():
    with Crew(1) as workers:
        yield workers


def rows_of(crew: Crew, *starts) -> list[dict]:
    problem = contestants.Problem()
    ranks = [peers.Peer(start.__name__, start) for start in starts]
    case = crew.case("squares", problem, crew.oracle(contestants.exact, problem), ranks, 1e-6, {})
    return measure(case, ONCE, MACHINE)["rows"]


def test_peers_compete(crew) -> None:
    right, slow = rows_of(crew, contestants.right, contestants.slow)
    assert right["correct"] and right["error"] < 1e-6 and right["ratio"] == 1
    assert slow["ratio"] > 5 and slow["median_s"] > 0.02 and slow["images_per_s"] < 50
    assert right["peak_memory_bytes"] > 1e7 and right["first_s"] > 0 and 0 <= right["idle_cpu"] < 0.5


@pytest.mark.parametrize("start", [contestants.wrong, contestants.not_a_number, contestants.other_shape])
def test_a_wrong_result_has_no_time(crew, start) -> None:
    right, wrong = rows_of(crew, contestants.right, start)
    assert right["correct"] and "median_s" in right
    assert not wrong["correct"] and "median_s" not in wrong and "ratio" not in wrong
    assert "WRONG" in "\n".join(harness.table(shown(right, wrong)))
    assert not harness.good(shown(right, wrong))


def test_an_absent_peer_is_named(crew) -> None:
    right, absent = rows_of(crew, contestants.right, contestants.absent)
    assert absent["skipped"] == "squares not installed; type: pip install squares" and "median_s" in right
    assert "skipped: squares not installed" in "\n".join(harness.table(shown(right, absent)))
    assert harness.good(shown(right, absent))


@pytest.mark.parametrize(
    ("start", "reason"),
    [(contestants.broken, "ZeroDivisionError: of all things"), (contestants.dying, "its process ended with code 3")],
    ids=["raises", "dies"],
)
def test_a_peer_that_fails_says_so_and_the_others_go_on(crew, start, reason) -> None:
    failed, right = rows_of(crew, start, contestants.right)
    assert failed["failed"] == reason and "median_s" in right and "ratio" not in right
    assert not harness.good(shown(failed, right))


def shown(*rows: dict) -> dict:
    return {"case": "squares", "device": "cpu", "precision": "fp32", "rows": list(rows)}


def test_ratios_are_medians_over_rounds(monkeypatch) -> None:
    """A machine that slows down affects both equally; the ratio of the medians would differ."""
    turns = []

    class Scripted(Contestant):
        def seconds(self, calls: int, device: str) -> float:
            turns.append(self.name)
            return next(self.script)

    first, second = Scripted("first", lambda: 0), Scripted("second", lambda: 0)
    warm = [1.0] * harness.WARM_UP_CALLS
    first.script, second.script = iter([*warm, 1.0, 10.0, 2.0]), iter([*warm, 3.0, 20.0, 8.0])
    result = measure(Case("turns", [first, second], lambda _: 0.0, 0.0), Effort(3, 3, 0), MACHINE)
    assert turns[2 * harness.WARM_UP_CALLS :] == ["first", "second"] * 3
    assert result["rows"][1]["ratio"] == statistics.median([3, 2, 4])
    assert result["rows"][1]["median_s"] == 8


def test_rounds_fit_the_time() -> None:
    assert len(list(Effort(3, 9, 0).rounds(""))) == 3
    assert len(list(Effort(1, 9, 60).rounds(""))) == 9
    begin = time.monotonic()
    assert sum(1 for _ in Effort(1, 10_000, 0.05).rounds("") if time.sleep(0.01) is None) < 50
    assert time.monotonic() - begin < 5


def test_the_worst_tensor_counts() -> None:
    assert worst_error([np.ones(4), np.full(3, 2.0)], [np.ones(4), np.ones(3)]) == pytest.approx(1)
    assert np.isnan(worst_error([np.ones(4)], [np.ones(4), np.ones(3)]))
    assert worst_error([np.ones(1), np.full(1, 1e-6)], [np.ones(1), np.zeros(1)]) == pytest.approx(1e-3)


def test_the_oracle_is_the_reference(generator) -> None:
    x = torch.randn(2, 3, 9, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    y, wanted = ExactConvolution.apply(x, weight), context_conv(x, weight, torch.zeros(4).double(), False)
    assert torch.allclose(y, wanted, rtol=1e-12, atol=1e-12)
    dy = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad(y, (x, weight), dy), torch.autograd.grad(wanted, (x, weight), dy), strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tile", [9, 16, 30])
def test_the_torch_fft_peer_is_right(tile, generator) -> None:
    conv = torch.nn.Conv2d(3, 4, 5, padding=2)
    x = torch.randn(2, 3, 21, 18, generator=generator)
    for training in (False, True):
        assert torch.allclose(FourierConv(conv, tile, training)(x), conv(x), atol=1e-5)


@pytest.mark.parametrize("name", ["compact", "cpm6"])
def test_the_plain_network_is_the_network(name) -> None:
    config = replace(preset(name), input_size=(64, 64), init_std=None)
    model = NetworkProblem(config, 1, 0).model()
    crops = torch.rand(2, 3, 64, 64) - 0.5
    with torch.no_grad():
        for mine, theirs in zip(PlainNetwork(model)(crops), model(crops), strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


LAYER = replace(layers.distinct((64, 64))[3], in_channels=3, channels=4)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
def test_layer_peers_are_right(backward) -> None:
    problem = LayerProblem(LAYER, 2, backward, 0)
    wanted = arrays(peers.exact_layer(problem))
    for peer in layers.peers(backward, "default", "cpu"):
        found = arrays(peer.start(problem))
        error = worst_error(found, wanted if backward else wanted[:1])
        assert error <= BOUNDS["layer", "fp32"], f"{peer.name}: {error}"


def test_network_peers_are_right(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = NetworkProblem(TINY, 1, 0)
    wanted = arrays(peers.exact_network(problem))
    for peer in network.peers("default", "cpu"):
        try:
            found = arrays(peer.start(problem))
        except peers.Unavailable as reason:
            assert "type: pip install" in str(reason) or "can't read" in str(reason)
            continue
        error = worst_error(found, wanted)
        assert error <= BOUNDS["network", "fp32"], f"{peer.name}: {error}"


def test_peers_in_bfloat16_are_right(tmp_path, monkeypatch) -> None:
    """All that compute in bfloat16 do round, ours too; those in float32 do not."""
    monkeypatch.chdir(tmp_path)
    problem = NetworkProblem(TINY, 1, 0, Setting("cpu", "bf16"))
    wanted = arrays(peers.exact_network(problem))
    for peer in bfloat16.peers():
        try:
            found = arrays(peer.start(problem))
        except peers.Unavailable as reason:
            assert "type: pip install" in str(reason)
            continue
        error = worst_error(found, wanted)
        assert error <= BOUNDS["network", "fp32" if "fp32" in peer.name else "bf16"], f"{peer.name}: {error}"
        if peer.name in ("cpm_fast", "PyTorch"):
            assert error > 1e-4, f"{peer.name}: {error}"


def test_training_steps_are_right_and_leave_the_problem() -> None:
    problem = TrainProblem(TINY, 2, 0)
    wanted = arrays(peers.exact_step(problem))
    for peer in peers.torch_peers(peers.cpm_fast_step, peers.pytorch_step, with_compiler=False):
        step = peer.start(problem)
        for _ in range(2):
            error = worst_error(arrays(step), wanted)
            assert error <= BOUNDS["train-step", "fp32"], f"{peer.name}: {error}"


def test_pictures_end_in_the_same_key_points(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = end_to_end.picture_problem(Setting(), (240, 320))
    wanted = arrays(end_to_end.exact_picture(problem))
    assert [each.shape for each in wanted] == [(14, 2)]
    for start in (end_to_end.cpm_fast_picture, end_to_end.pytorch_picture):
        assert worst_error(arrays(start(problem)), wanted) <= BOUNDS["end-to-end", "fp32"]
    (picture,) = tmp_path.iterdir()
    assert cv2.imread(str(picture)).shape == (240, 320, 3)
    assert problem.path() == Path(picture.name)


def arrays(run) -> list[np.ndarray]:
    return [value if isinstance(value, np.ndarray) else value.detach().clone().float().numpy() for value in run()]


def test_a_package_that_is_not_there_is_named_with_what_to_type() -> None:
    with pytest.raises(peers.Unavailable, match=r"no_such_package not installed; type: pip install .*\[bench\]"):
        onnx_peers.need("json", "no_such_package")


def test_the_engine_is_used_where_there_is_one(monkeypatch) -> None:
    made = []
    monkeypatch.setattr(peers.cpm_fast, "Engine", lambda model, **how: made.append(how) or model, raising=False)
    model = CPM(TINY)
    assert peers.engine_of(model, Setting()) is model
    assert made == [{"device": "cpu", "precision": "fp32", "threads": torch.get_num_threads()}]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_command_writes_table_json_and_picture(tmp_path, capsys, threads, monkeypatch) -> None:
    monkeypatch.setattr(train_step, "config_of", lambda name: TINY)
    monkeypatch.setattr(post, "RESIZE_MERGE_TIMED", post.RESIZE_MERGE_TIMED[:1])
    path = tmp_path / "new" / "results.json"
    given = ["--suite", "train-step", "--suite", "post", "--quick", "--threads", "1", "--json", str(path)]
    assert command.main(given) == 0
    said = capsys.readouterr().out
    assert "about" in said and "best arithmetic" in said and "training step" in said and "merge_peaks" in said
    record = json.loads(path.read_text())
    assert record["suites"] == ["post", "train-step"] and record["threads"] == 1
    assert {"command", "date", "hardware", "versions", "build", "environment", "machine"} <= set(record)
    assert record["machine"]["best_flop_per_s"]["cpu fp32"] > 1e8
    for result in record["results"]:
        assert {"suite", "case", "device", "precision", "bound", "rows"} <= set(result)
        for row in result["rows"]:
            assert {"name", "error", "correct", "median_s", "p10_s", "p90_s", "rounds", "ratio", "seconds"} <= set(row)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_command_fails_on_a_wrong_result(tmp_path, capsys, threads, monkeypatch) -> None:
    wrong = Case("squares", [Contestant("ours", lambda: 1.0), Contestant("theirs", lambda: 0.0)], lambda x: x, 0.5)
    monkeypatch.setitem(command.OPS, "post", lambda level, device: iter([wrong] if device == "cpu" else []))
    assert command.main(["post", "--quick", "--threads", "1", "--out", str(tmp_path)]) == 1
    assert "WRONG" in capsys.readouterr().out
    rows = json.loads((tmp_path / "post.json").read_text())["results"][0]["rows"]
    assert not rows[0]["correct"] and "median_s" not in rows[0] and "median_s" in rows[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_gpu_suite_is_named_as_skipped(tmp_path, capsys, threads) -> None:
    assert command.main(["--suite", "gpu", "--quick", "--out", str(tmp_path)]) == 0
    assert "gpu skipped: PyTorch sees no CUDA device" in capsys.readouterr().out
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--suite", "layer"],
            "suite must be one of targets, post, layers, network, train-step, bf16, end-to-end, busy, gpu, got",
        ),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
        (["--quick", "--full"], "not allowed with"),
    ],
    ids=["suite", "threads", "rounds", "level"],
)
def test_bad_use(given, said, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(given)
    assert said in capsys.readouterr().err
