"""The programs that a visit calls get options that they know, and their output is read: stand-ins check and print."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("triton")

from benchmarks.gpu.contests import counters
from benchmarks.gpu.testing import build, launches_ahead, sanitizer, tests_run
from benchmarks.gpu.tuning import forms, tile_table
from benchmarks.gpu.visit import tools
from benchmarks.gpu.visit.cases import Rows, Skipped
from benchmarks.gpu.visit.processes import FAILED, LIMIT
from cpm_fast.kernels.launch import Launch
from cpm_fast.ops.plans.cpu import ConvShape

ROOT = Path(__file__).resolve().parent.parent.parent

# The options of compute-sanitizer 2025 and of ncu 2025 that the visit uses. Both run the program that follows.
SANITIZER = """
parser.add_argument("--tool", choices=["memcheck", "racecheck", "initcheck", "synccheck"])
parser.add_argument("--target-processes", choices=["all", "application-only"])
parser.add_argument("--launch-timeout", type=int)
parser.add_argument("--error-exitcode", type=int)
"""
NCU = """
parser.add_argument("--clock-control", choices=["base", "none"])
parser.add_argument("--target-processes", choices=["all", "application-only"])
parser.add_argument("--csv", action="store_true")
parser.add_argument("--page", choices=["details", "raw", "source", "session"])
parser.add_argument("--section", action="append")
parser.add_argument("-k", "--kernel-name")
parser.add_argument("--launch-skip", type=int)
parser.add_argument("--launch-count", type=int)
"""
HEAD = """#!{python}
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
{options}
parser.add_argument("program", nargs=argparse.REMAINDER)
chosen = parser.parse_args()
with open(os.environ["STAND_IN_LOG"], "a") as log:
    log.write(json.dumps(vars(chosen) | {{"caching": os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING")}}) + "\\n")
"""
# As ncu 2025.3 prints: its own lines, the program's output, then a table with units in the second row.
NCU_PRINTS = """
print("==PROF== Connected to process 4242 (/usr/bin/python3.12)")
done = subprocess.run(chosen.program).returncode
print("==PROF== Disconnected from process 4242")
names = ["ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size"]
names += ["Device", "CC", "dram__bytes_read.sum", "gpu__time_duration.sum", "launch__registers_per_thread", "other__x"]
first = ["1", "7", "(128, 1, 1)", "(1512, 1, 1)", "0", "9.0"]
rows = [names, [""] * 11 + ["Mbyte", "us", "register/thread", ""]]
for index, (kernel, us) in enumerate((("product_kernel", "912.50"), ("product_kernel", "1,234.56"), ("other", "8.1"))):
    rows.append([str(index), "4242", "python3.12", "127.0.0.1", kernel, *first, "12.58", us, "168", "1"])
for row in rows:
    print(",".join('"' + value + '"' for value in row))
sys.exit(done)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program of that name on PATH; return a function that reads the arguments it got."""
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "got"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(name: str, options: str, rest: str):
        path = tmp_path / name
        path.write_text(HEAD.format(python=sys.executable, options=options) + rest)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return lambda: [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]

    return make


@pytest.mark.parametrize("kind", ["memcheck", "racecheck"])
def test_the_sanitizer_runs_pytest_and_its_summary_is_kept(kind: str, stand_in) -> None:
    heading = "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)"
    heading = heading if kind == "racecheck" else "ERROR SUMMARY: 0 errors"
    got = stand_in("compute-sanitizer", SANITIZER, f'print("========= COMPUTE-SANITIZER\\n========= {heading}")')
    found = [case.work() for case in sanitizer.cases(kind, "cpu", Rows(-1))]
    assert [values["summary"] for values in found] == [[f"========= {heading}"]] * 2
    assert all("state" not in values for values in found)
    for arguments in got():
        assert arguments["tool"] == kind and arguments["error_exitcode"] == sanitizer.FOUND_CODE
        assert arguments["program"][:3] == [sys.executable, "-m", "pytest"] and arguments["caching"] == "1"


@pytest.mark.parametrize(("code", "state"), [(sanitizer.FOUND_CODE, "failed"), (1, "failed"), (5, "skipped")])
def test_errors_that_the_sanitizer_finds_fail_the_case(code: int, state: str, stand_in) -> None:
    stand_in("compute-sanitizer", SANITIZER, f'print("========= ERROR SUMMARY: 1 error"); sys.exit({code})')
    values = next(iter(sanitizer.cases("memcheck", "cpu", Rows(-1)))).work()
    assert values["state"] == state and values["code"] == code and values["summary"]


def test_a_sanitizer_that_takes_too_long_keeps_its_output(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in("compute-sanitizer", SANITIZER, 'print("half way", flush=True); import time; time.sleep(600)')
    begin, ends = time.monotonic(), []

    def run(command: list[str], limit_s: float, *rest: object) -> tuple[int, str]:
        ends.append(time.monotonic() - begin + limit_s)
        return tools.run(command, limit_s, *rest)

    monkeypatch.setattr(sanitizer, "run", run)
    monkeypatch.setattr(tools, "BEGIN", begin)
    monkeypatch.setenv(LIMIT, "10")
    values = [case.work() for case in sanitizer.cases("memcheck", "cpu", Rows(-1))]
    assert [each["state"] for each in values] == ["cut off"] * 2 and "half way" in values[0]["output"]
    assert max(ends) < 10, "the step's own limit would kill the process, output and all"


@pytest.mark.slow
def test_ncu_runs_the_network_and_its_table_is_read(stand_in) -> None:
    got = stand_in("ncu", NCU, NCU_PRINTS)
    profile = counters.Profile("cpu")
    profile.names = ["void at::native::product_kernel<4, float>(int)", "other"]
    values = counters.counted(profile, "cpu")
    assert "state" not in values, values
    assert [kernel["kernel"] for kernel in values["kernels"]] == ["product_kernel", "other"]
    assert values["kernels"][0]["gpu__time_duration.sum us"] == "1,234.56", "the longest launch of the kernel"
    assert values["kernels"][0]["dram__bytes_read.sum Mbyte"] == "12.58"
    assert not any(name.startswith("other__") for name in values["kernels"][0])
    (arguments,) = got()
    assert arguments["kernel_name"] == "regex:^(other|product_kernel)$" and set(arguments["section"]) == set(
        counters.SECTIONS
    )
    assert arguments["program"][1:] == [str(ROOT / "benchmarks" / "gpu_visit.py"), "--subject", "cpu"]


def test_an_ncu_that_may_not_count_is_a_failure_with_its_words(stand_in) -> None:
    stand_in("ncu", NCU, 'print("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"); sys.exit(1)')
    profile = counters.Profile("cpu")
    profile.names = ["other"]
    values = counters.counted(profile, "cpu")
    assert values["state"] == "failed" and "ERR_NVGPUCTRPERM" in values["output"] and values["kernels"] == []


def test_the_other_assembler_is_the_toolkits(stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in("nvcc", "", "")
    monkeypatch.setenv(FAILED, "build,core-tests")
    assert tests_run.other_ptxas() == {"TRITON_PTXAS_PATH": str(tmp_path / "ptxas")}
    (tmp_path / "nvcc").unlink()
    monkeypatch.setattr(tools.shutil, "which", lambda *arguments, **path: None)
    with pytest.raises(Skipped, match="nvcc is neither on PATH"):
        tests_run.other_ptxas()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [tests_run.CORE, sanitizer.SUBSETS["cuda-ops"][0]], ids=["triton", "cuda-ops"])
def test_the_sanitizers_subsets_have_tests(arguments: tuple[str, ...]) -> None:
    command = tests_run.pytest_command("--collect-only", "-m", "gpu", *arguments)
    environment = {**os.environ, **tests_run.pytest_environment(None)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout
    for path in (word for word in arguments if word.endswith(".py")):
        assert f"{path}::" in done.stdout, f"no test of {path} runs under the sanitizer"


def test_no_test_with_a_gpu_is_elsewhere() -> None:
    """Tests are marked themselves, or by a fixture of tests/conftest.py."""
    fixtures = {"device", "fast"}
    for path in (ROOT / "tests").rglob("test_*.py"):
        if any(path.is_relative_to(ROOT / place) for place in tests_run.WITH_GPU):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            marked = isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.gpu"
            taken = isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not parametrized(node)
            assert not marked and not (taken and fixtures & {each.arg for each in node.args.args}), path


def parametrized(test: ast.FunctionDef) -> bool:
    """Return whether the test gives its own devices."""
    return any("device" in ast.unparse(decorator) for decorator in test.decorator_list)


def test_an_installation_leaves_time_for_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build gets 70 % of the step, the plain one half of the rest, however long the import before them took."""
    taken, now = [], [0.0]

    def clock() -> float:
        return now[0]

    def run(command: list[str], limit_s: float, environment=None, descriptors=()) -> tuple[int, str]:
        taken.append(limit_s)
        now[0] += limit_s
        return 124, ""

    monkeypatch.setenv(LIMIT, "180")
    monkeypatch.setattr(tools, "BEGIN", 0.0)
    monkeypatch.setattr(tools.time, "monotonic", clock)
    monkeypatch.setattr(tools, "run", run)
    monkeypatch.setattr(build, "run", run)
    values = build.install("cpu")
    assert values["state"] == "failed" and "more than 99 s" in values["reason"]
    assert taken == pytest.approx([27, 99, 27]) and tools.left_s() > 20


def test_an_earlier_installation_from_another_folder_is_not_taken_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"build": {"cuda": True}, "native": None, "place": str(ROOT / "a"), "module": str(ROOT / "b")}

    def installed(**others: object) -> str:
        found, commands = json.dumps({**facts, **others}), []
        monkeypatch.setattr(build, "output", lambda *_: f"a warning\n{found}\n")
        monkeypatch.setattr(build, "run", lambda command, *_: commands.append(command) or (0, ""))
        return "there" if build.install("cpu")["there"] and not commands else "built"

    assert installed() == "there"
    assert installed(module="/elsewhere/_C.so") == installed(place="/elsewhere/__init__.py") == "built"
    assert installed(native="the compiled module is from other sources") == "built"
    with pytest.raises(RuntimeError, match="is from other sources"):
        build.imported()


def test_an_installation_without_its_cuda_part_fails_if_there_is_a_compiler(
    stand_in, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "imported", lambda: {"build": {"cuda": False}})
    stand_in("nvcc", "", "")
    values = build.complete("cuda")
    assert values["state"] == "failed" and values["reason"].endswith("nvcc is there")
    assert "state" not in build.complete("cpu")
    monkeypatch.setattr(tools.shutil, "which", lambda *arguments, **path: None)
    assert "state" not in build.complete("cuda"), "without a toolkit, Triton's kernels are all there is"


SHAPES = {None: ConvShape(1, 16, 32, 5, (16, 16)), 16: ConvShape(1, 16, 32, 5, (16, 16))}


@pytest.mark.parametrize("tile", [None, 16], ids=["direct", "product"])
@pytest.mark.parametrize("mode", tile_table.MODES)
def test_every_block_that_is_tried_is_launched(tile: int | None, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that only a GPU runs, up to the launch, on the CPU's memory."""
    shape, launches, drawn = SHAPES[tile], list[Launch](), forms.Inputs.draw
    key, blocks = tile_table.key_of(shape, tile, mode), tile_table.blocks_of(shape, tile, mode, 90)

    def tried(variants, mode: str, device: str) -> dict:
        for make in variants.values():
            make()()
        return {"milliseconds": {name: 1.0 + index for index, name in enumerate(variants)}}

    monkeypatch.setattr(tile_table, "capability_of", lambda device: 90)
    monkeypatch.setattr(tile_table, "tried", tried)
    monkeypatch.setattr(Launch, "run", lambda launch: launches.append(launch))
    monkeypatch.setattr(forms.Inputs, "draw", lambda shape, mode, device: drawn(shape, mode, "cpu"))
    values = (tile_table.direct if tile is None else partial(tile_table.product, tile=tile))(
        shape=shape, mode=mode, key=key, device="cpu"
    )
    names = {"pixels": "BLOCK_PIXELS" if tile is None else "BLOCK_TILES", "out": "BLOCK_OUT"}
    found = [
        (launch.constants[names["pixels"]], launch.constants[names["out"]], launch.warps, launch.stages)
        for launch in launches
    ]
    assert found == [(block.pixels, block.out, block.warps, block.stages) for block in blocks] and len(blocks) > 3
    assert values["block"] == list(key) and values["best"][0] == blocks[0].pixels


def test_every_kernel_of_the_plan_is_compiled_before_it() -> None:
    """The first convolutions of each step that tries kernels: their launches are among those compiled ahead."""
    for name, wanted in launches_ahead.by_step(90)["compile-plan"].items():
        first = [convolution for convolution, _ in zip(wanted, range(12), strict=False)]
        assert launches_ahead.launches_of(first, 90), name
        assert {convolution.block is None for convolution in first} == {name == "plan"}
