"""Every command of the documentation runs on small stand-ins, with the promised files and output."""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import cpm_fast
from cpm_fast import Roi
from cpm_fast.cli import main, make_parser
from cpm_fast.model.cpm import CPM
from cpm_fast.weights.exporters.exporting import export_model
from support.pages import PAGES, ROOT, blocks, commands
from support.promises import CONTINUOUS, PARSED, RUN, SMALLER, Promise
from support.stand_ins import TINY, write_imports

WITH_COMMANDS = [page for page in PAGES if commands(page)]
# Commands that install more, and those that run the scripts themselves.
ELSEWHERE = ("pip install", "bash .ci/", "mkdocs serve")
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


def is_one_of(command: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in patterns)


def files() -> dict[str, int]:
    """Return every file below the working directory, with the time of its last change."""
    return {path.as_posix(): path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}


def call(command: str) -> int:
    """Run a command in this process, and return its exit code."""
    for long, short in SMALLER.items():
        command = command.replace(long, short)
    program, *arguments = shlex.split(command)
    if program == "cpm-fast":
        return main(arguments)
    assert program == "python"
    runpy.run_path(str(ROOT / arguments[0]))["main"](arguments[1:])
    return 0


def keep(promise: Promise, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command, and compare its files and output with its promise."""
    before = files()
    code = call(command)
    printed = capsys.readouterr()
    assert code in promise.codes, printed.err
    after = files()
    changed = {path for path, time in after.items() if before.get(path) != time}
    for path in promise.writes:
        made = fnmatch.filter(changed, path)
        assert made, f"{command} must write {path}, wrote {sorted(changed)}"
        assert all(Path(each).stat().st_size > 0 for each in made), f"{path} is empty"
    for pattern in promise.prints:
        assert re.search(pattern, printed.out), f"{command} must print {pattern!r}, printed {printed.out}"
    for line in re.findall(r"(?m)^wrote (.*)$", printed.out):
        for path in line.split(" in ")[0].split(", "):
            assert Path(path).exists(), f"{command} names {path}, which is not there"


def test_every_command_has_a_promise():
    """A new command needs an entry in tests/support/promises.py."""
    for page in PAGES:
        for command in commands(page):
            kinds = (command in RUN, is_one_of(command, PARSED), is_one_of(command, CONTINUOUS))
            assert sum(kinds) == 1, f"{page}: {command}: in {sum(kinds)} of RUN, PARSED and CONTINUOUS"


def test_no_promise_is_left_over():
    seen = {command for page in PAGES for command in commands(page)}
    assert not RUN.keys() - seen
    for pattern in (*PARSED, *CONTINUOUS):
        assert any(re.fullmatch(pattern, command) for command in seen), pattern


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of(page, stand_ins, small_presets, capsys):
    if page == "docs/weights.md":
        write_imports(stand_ins)
        for name in ("onnxscript", "onnxruntime"):
            pytest.importorskip(name, reason='ONNX needs pip install -e ".[export]"')
    for command in commands(page):
        if command in RUN:
            keep(RUN[command], command, capsys)


class Parsed(Exception):
    """An error after a script has parsed its options, which stops it."""


def parse(command: str, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Parse the options of a command with its own parser, and run nothing."""
    program, *arguments = shlex.split(command)
    if program == "torchrun":
        at = arguments.index("-m")
        assert arguments[at + 1] == "cpm_fast"
        return make_parser().parse_args(arguments[at + 2 :])
    if program == "cpm-fast":
        return make_parser().parse_args(arguments)
    real = argparse.ArgumentParser.parse_args
    parsed = []

    def stop(parser, given=None, namespace=None):
        parsed.append(real(parser, given, namespace))
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    return parsed[0]


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in commands(page) if is_one_of(command, PARSED)})
)
def test_long_commands_parse(command, monkeypatch):
    options = parse(command, monkeypatch)
    # A typed value has arrived: otherwise a parser that drops its options would pass.
    for name, value in re.findall(r"--(batch|minutes|steps|kills|hold-out|last) (\d+)", command.split(" -m ")[-1]):
        found = getattr(options, name.replace("-", "_"))
        assert float(value) in np.atleast_1d(found).astype(float), (name, found)


def test_extras_that_pages_name_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for page in PAGES
        for found in re.findall(r"""(?:-e "\.|'cpm_fast|"cpm_fast)\[([\w,]+)\]""", (ROOT / page).read_text())
        for extra in found.split(",")
    }
    assert named and named <= extras.keys()


def test_the_commands_of_continuous_integration_are_in_its_scripts():
    """.ci/run reads lines from the README; all others are in .ci/run or .ci/nightly word for word."""
    scripts = "\n".join(path.read_text() for path in (ROOT / ".ci").iterdir())
    install = {command for command in commands("README.md") if command.startswith("python3 -m venv")}
    for page in PAGES:
        for command in commands(page):
            if command.startswith("python3 -m venv"):
                assert command in install or page == "CONTRIBUTING.md", (page, command)
            elif is_one_of(command, CONTINUOUS) and not command.startswith(ELSEWHERE):
                assert command in scripts, f"{page}: {command} must stand in .ci/run or .ci/nightly"


@pytest.mark.slow
def test_the_commands_for_several_processes(stand_ins):
    """Those for one machine run unchanged, with a tiny network."""
    local = [line for line in commands("docs/running-at-scale.md") if "--standalone" in line]
    wanted = ["out/two/results.json", "out/eval/eval.json"]
    assert len(local) == len(wanted)
    for line, path in zip(local, wanted, strict=True):
        launch = [sys.executable, "-m", "torch.distributed.run", *shlex.split(line)[1:], "--model", "tiny.safetensors"]
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        found = subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False, env=alone)
        assert found.returncode == 0, found.stderr
        assert (stand_ins / path).stat().st_size > 0


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of(page, stand_ins, capsys):
    """Every block runs; a comment after a print has its output."""
    if page == "docs/weights.md":
        pytest.importorskip("onnxscript", reason='ONNX needs pip install -e ".[export]"')
        export_model(CPM(TINY), "pose.onnx")
    for block in blocks(page, "python"):
        names = {"cpm_fast": cpm_fast, "Roi": Roi, "crops": np.zeros((1, 3, 64, 64), "f4")}
        exec(compile(block, page, "exec"), names)
        promised = re.findall(r"(?m)^print\(.*\)  # ([\d ]+)$", block)
        printed = capsys.readouterr().out.splitlines()
        assert [line for line in printed if line in promised] == promised, (block, printed)
