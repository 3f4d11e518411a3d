"""The command that compares networks of equal cost: their costs, training, resuming, and ranking."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.studies import candidates
from cpm_fast.config import Conv
from cpm_fast.skeleton import LSP
from support import small_network

FEW = ["--data", "synthetic:24", "--hold-out", "6", "--minutes", "0.001", "--batch", "2", "--workers", "0"]
TINY = replace(small_network.TINY, input_size=(32, 32), refine=(Conv(3, 4), Conv(3, 4, add=1)))


def test_ten_networks_cost_the_same() -> None:
    known = candidates.candidates(LSP)
    assert len(known) == 10 and len(set(known.values())) == 10
    cost = candidates.predicted_milliseconds(known["five stages"])
    for name, network in known.items():
        predicted = candidates.predicted_milliseconds(network)
        assert abs(predicted / cost - 1) <= candidates.TOLERANCE, f"{name}: {predicted:.2f} ms"
        assert f"| {name} | {predicted:.2f} |" in candidates.listing(known)
    assert candidates.predicted_milliseconds(known["five stages"], 8) > 4 * cost


def test_the_best_comes_first() -> None:
    def row(name: str, score: float) -> dict:
        return {
            "name": name,
            "predicted_ms": 9.0,
            "parameters": 1e6,
            "seconds_per_step": 0.5,
            "steps": 100,
            "scores": {"lsp": {"pck": score, "interval": [score - 0.02, score + 0.02], "samples": 9}},
        }

    lines = candidates.table([row("a", 0.7), row("b", 0.8)]).splitlines()
    assert lines[2] == "| b | 9.0 | 2.0 | 500 | 100 | 80.0 (78.0, 82.0) |" and lines[3].startswith("| a |")


def test_the_command_trains_and_goes_on(tmp_path, monkeypatch) -> None:
    def two(skeleton):
        return {"base": replace(TINY, skeleton=skeleton), "one stage": replace(TINY, skeleton=skeleton, stages=1)}

    monkeypatch.setattr(candidates, "candidates", two)
    monkeypatch.setattr(candidates, "seconds_per_step", lambda *_: 0.02)
    assert candidates.main([*FEW, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "candidates.json").read_text())
    assert {row["name"] for row in found["candidates"]} == {"base", "one stage"} and found["date"]
    for row in found["candidates"]:
        assert row["steps"] == 3 and 0 <= row["scores"]["synthetic"]["pck"] <= 1
        low, high = row["scores"]["synthetic"]["interval"]
        assert low <= row["scores"]["synthetic"]["pck"] <= high
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}
    assert len(files) == 2
    assert candidates.main([*FEW, "--out", str(tmp_path)]) == 0
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}


def test_a_step_is_timed_in_the_real_loop(monkeypatch) -> None:
    monkeypatch.setattr(candidates, "WARM_STEPS", 1)
    monkeypatch.setattr(candidates, "TIMED_STEPS", 2)
    data = [candidates.open_dataset("synthetic:8")]
    recipe = replace(candidates.RECIPES["long"], batch=2)
    assert 0 < candidates.seconds_per_step(replace(TINY, skeleton=data[0].skeleton), recipe, data, 0) < 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--hold-out", "1"], "once for each"),
        (["--only", "luck"], "--only must be of"),
        (["--minutes", "0"], "positive"),
    ],
    ids=["hold-out", "only", "minutes"],
)
def test_bad_use(given, said, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        candidates.main([*FEW, *given])
    assert said in capsys.readouterr().err
