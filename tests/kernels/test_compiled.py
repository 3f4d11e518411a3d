"""Every kernel of the 6-stage network, compiled ahead of time with the constants a GPU would get: no GPU needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED_LIMIT_BYTES = {80: 163 * 1024, 90: 227 * 1024}
TENSOR_CORE = {80: "mma", 90: "wgmma"}
MODES = {"fp16", "bf16", "tf32", "tf32x3", "ieee"}


TABLES = ("kernel_table.py", "spectral_table.py")
# A table takes minutes, so a commit waits for one chip's alone.
CHIPS = pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.nightly), 90], ids="sm_{}".format)


@pytest.fixture(scope="module")
def tables(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Future[list[dict]]]:
    """The tables under benchmarks/ for the chips asked for, each made in its own process, one per core at a time."""
    calls = [item.callspec.params for item in request.session.items if item.path == request.path]
    capabilities = dict.fromkeys(params["capability"] for params in calls)
    wanted = [(table, capability) for table in TABLES for capability in capabilities]
    folders = {each: tmp_path_factory.mktemp("kernels") for each in wanted}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {each: pool.submit(compiled, *each, folders[each]) for each in wanted}


def compiled(table: str, capability: int, tmp_path: Path) -> list[dict]:
    """The rows of one table, and what must hold of all."""
    out = tmp_path / "kernels.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "studies" / table), "--json", str(out)]
    command += ["--images", "1", "32", "--capabilities", str(capability)]
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"TRITON_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads(out.read_text())["rows"]
    assert {row["mode"] for row in rows} == MODES
    for row in rows:
        assert row["spills"] == 0 and row["stack"] == 0, f"local memory is used: {row}"
        assert row["shared"] <= SHARED_LIMIT_BYTES[capability], f"too much shared memory: {row}"
    return rows


@pytest.mark.slow
@CHIPS
def test_the_network_compiles_well(capability: int, tables) -> None:
    rows = tables["kernel_table.py", capability].result()
    assert {"forward", "dx", "dweight", "gate"} <= {row["pass"] for row in rows}
    assert {(9, 3, 256), (9, 128, 128), (11, 48, 128), (11, 128, 128), (9, 32, 512), (1, 128, 15)} <= {
        (row["kernel_side"], row["in_channels"], row["out_channels"]) for row in rows
    }
    for row in rows:
        multiplies = row["pass"] in ("forward", "dx", "dweight")
        wanted = TENSOR_CORE[capability] if multiplies and row["mode"] != "ieee" else "none"
        assert row["tensor_core"] == wanted, f"{wanted} expected: {row}"
        aligned = row["in_channels"] % 16 == 0 and row["out_channels"] % 16 == 0
        assert row["async_copies"] or not multiplies or not aligned, f"loads wait for each other: {row}"


@pytest.mark.slow
@CHIPS
def test_the_spectral_form_of_the_network_compiles_well(capability: int, tables) -> None:
    rows = tables["spectral_table.py", capability].result()
    assert {row["pass"] for row in rows} == {
        "transform weight", "transform", "product", "inverse",
        "dy", "dx weight", "dx product", "dx inverse", "x", "dweight", "dweight inverse",
    }  # fmt: skip
    assert {(9, 128, 128), (11, 48, 128), (11, 128, 128), (9, 32, 512)} <= {
        (row["kernel_side"], row["in_channels"], row["out_channels"]) for row in rows
    }
    for row in rows:
        wanted = TENSOR_CORE[capability] if row["mode"] != "ieee" else "none"
        assert row["tensor_core"] == wanted, f"{wanted} expected: {row}"
