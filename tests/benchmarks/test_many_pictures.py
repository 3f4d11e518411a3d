"""The command that runs `infer` on many pictures: its counts and rates, missing results and growing memory."""

from __future__ import annotations

import json

import pytest

from benchmarks.checks import many_pictures
from cpm_fast.results.result import Results


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    options = ["--pictures", "12", "--bad", "5", "--readers", "1", "--rounds", "1", "--threads", "1"]
    assert many_pictures.main([*options, "--out", str(tmp_path / "found.json")]) == 0
    assert "7 results and 5 reports a run" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["wrong"] == [] and found["pictures_per_s"]["1"] > 0 and found["runs"][0]["exit_code"] == 1


def test_memory_is_compared_by_quarters_of_the_pictures():
    level = [(0, 900.0), *((done, 300.0) for done in range(1, 101)), (0, 500.0)]
    assert many_pictures.quarters(level) == {"second_quarter_mb": 300.0, "last_quarter_mb": 300.0}
    grows = [(done, 300.0 + done) for done in range(101)]
    assert many_pictures.quarters(grows) == {"second_quarter_mb": 350.0, "last_quarter_mb": 400.0}
    assert many_pictures.quarters([(0, 9.0)]) == {"second_quarter_mb": None, "last_quarter_mb": None}


FAULTS = {
    "fine": ({}, ""),
    "exit code": ({"exit_code": 0}, "exit code 0"),
    "memory": ({"last_quarter_mb": 350.0}, "memory grew from 300.0 to 350.0"),
    "unreported": ({"bad": {"1.jpg", "2.jpg"}}, "reported"),
    "missing": ({"count": 3}, "0 results of 2"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_named(tmp_path, change, message):
    Results([], {"folder/1.jpg": "torn"}).save(tmp_path / "results.json")
    run = {"exit_code": 1, "second_quarter_mb": 300.0, "last_quarter_mb": 310.0, **change}
    found = many_pictures.problems(run, tmp_path, change.get("count", 1), change.get("bad", {"1.jpg"}))
    assert message in " ".join(found) and bool(found) == bool(change)


@pytest.mark.parametrize("wrong", [["--pictures", "0"], ["--bad", "-1"], ["--bad", "9", "--pictures", "8"]])
def test_bad_use(wrong):
    with pytest.raises(SystemExit) as stop:
        many_pictures.main(wrong)
    assert stop.value.code == 2
