"""The comparison of two builds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.studies import builds as study

ROOT = Path(__file__).parent.parent.parent


def test_a_build_against_itself(tmp_path, capsys):
    path = tmp_path / "builds.json"
    arguments = [str(ROOT), "--python", sys.executable, "--rounds", "1", "--quick", "--json", str(path)]
    assert study.main(arguments) == 0
    (printed,) = capsys.readouterr().out.splitlines()[1:]
    values = json.loads(path.read_text())
    (result,) = values["results"]
    assert printed.startswith("compact-lsp, batch 1") and f"ratio {result['ratio']:.2f}" in printed
    assert values["commit"].rstrip("*") == values["earlier_commit"].rstrip("*")
    assert values["command"] == " ".join(["python benchmarks/studies/builds.py", *arguments])
    assert len(result["earlier"]["medians_s"]) == len(result["this"]["medians_s"]) == 1


def test_builds_take_turns_and_the_median_round_counts():
    turns = []

    class Fake(study.Build):
        def seconds(self, network, batch, calls):
            turns.append(self.name)
            first = 1.0 if self.name == "earlier" else 2.0
            return [first * len(turns), first * len(turns), 100.0]

    both = [Fake(name, Path(), Path()) for name in ("earlier", "this")]
    result = study.compared(both, ("compact", 1, 3), 3)
    assert turns == ["earlier", "this", "this", "earlier", "earlier", "this"]
    assert result["earlier"]["medians_s"] == [1.0, 4.0, 5.0] and result["this"]["medians_s"] == [4.0, 6.0, 12.0]
    assert result["ratio"] == 5.0 / 12.0 and result["earlier"]["p95_s"] == pytest.approx(90.4)


def test_another_checkout_s_package_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="must have the package of"):
        study.Build("earlier", tmp_path, Path(sys.executable)).seconds("compact", 1, 1)


def test_a_failing_build_is_told_with_its_error(tmp_path):
    with pytest.raises(SystemExit, match="nothing-like-it failed:\n(.|\n)*nothing-like-it"):
        study.Build("earlier", ROOT, Path(sys.executable)).seconds("nothing-like-it", 1, 1)


def test_a_missing_interpreter_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        study.main([str(tmp_path)])
    assert "--python must be an interpreter" in capsys.readouterr().err
