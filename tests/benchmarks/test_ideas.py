"""The command that compares ideas for training: it trains each, resumes after a stop, and compares in pairs."""

from __future__ import annotations

import json
import shlex

import pytest

from benchmarks.studies import ideas
from cpm_fast.config import preset
from cpm_fast.weights import DRAWN

DATA = shlex.split("--data synthetic:40 --hold-out 8 --data synthetic:24:5 --hold-out 6")
FEW = [*DATA, "--start", DRAWN, *shlex.split("--steps 2 --batch 2 --workers 0 --only 'a box a third larger'")]


def test_every_idea_changes_one_thing_of_plain() -> None:
    plain, *others = ideas.ideas(preset("compact"), 16, 0)
    assert plain.name == "plain" and len({idea.name for idea in others}) == len(others)
    for idea in others:
        changes = [idea.network != plain.network, idea.config != plain.config, idea.repeats != plain.repeats]
        assert sum(changes) == 1, idea.name


def test_a_verdict_needs_more_than_two_standard_errors() -> None:
    def row(name, hits):
        return {"name": name, "steps": 1, "hits": {"a": hits[:4], "b": hits[4:]}}

    plain = row("plain", [0.5, 0.6, 0.4, 0.5, 0.5, 0.5])
    better, same = row("better", [0.7, 0.8, 0.6, 0.7, 0.7, 0.8]), row("same", [0.4, 0.7, 0.4, 0.6, 0.4, 0.5])
    lines = ideas.table([plain, better, same], row("as it is", [0.5] * 6)).splitlines()
    assert lines[2] == "| as it is | 1 | 50.0 | 50.0 |  |  |" and lines[3].startswith("| plain | 1 | 50.0 | 50.0 |  |")
    assert lines[4].startswith("| better | 1 | 70.0 | 75.0 | +21.7") and lines[4].endswith("| yes |")
    assert lines[5].endswith("| not decided |")


@pytest.mark.slow
def test_the_command_trains_and_goes_on(tmp_path, capsys) -> None:
    assert ideas.main([*FEW, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "ideas.json").read_text())
    # The larger box costs 16 / 9 of a step.
    assert [(row["name"], row["steps"]) for row in found["ideas"]] == [
        (f"{DRAWN} as it is", 0),
        ("plain", 2),
        ("a box a third larger", 1),
    ]
    assert "| a box a third larger | 1 |" in (tmp_path / "ideas.md").read_text()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}
    assert len(files) == 2
    assert ideas.main([*FEW, "--out", str(tmp_path)]) == 0
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}


@pytest.mark.parametrize(
    ("given", "said"),
    [(["--hold-out", "1"], "once for each"), (["--only", "luck"], "--only must be of"), (["--steps", "0"], "positive")],
    ids=["hold-out", "only", "steps"],
)
def test_bad_use(given, said, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        ideas.main([*FEW[:-2], *given])
    assert said in capsys.readouterr().err
