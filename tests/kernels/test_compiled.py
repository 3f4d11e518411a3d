"""Every kernel of the 6-stage network, compiled ahead of time with a GPU's constants, but without a GPU."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from support.beside import Command, Outcome

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED_LIMIT_BYTES = {80: 163 * 1024, 90: 227 * 1024}
TENSOR_CORE = {80: "mma", 90: "wgmma"}
MODES = {"fp16", "bf16", "tf32", "tf32x3", "ieee"}
# A table takes minutes, so a commit waits for that of one chip only.
CHIPS = pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.nightly), 90], ids="sm_{}".format)


def table(folder: Path, capability: int, *, script: str) -> Command:
    """Return the command that compiles the kernels of a table under benchmarks/ for a chip."""
    command = [sys.executable, str(ROOT / "benchmarks" / "studies" / script), "--json", str(folder / "kernels.json")]
    command += ["--images", "1", "32", "--capabilities", str(capability)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return command, environment | {"TRITON_CACHE_DIR": str(folder / "cache")}


def rows_of(done: Outcome | None, capability: int) -> list[dict]:
    """Return the rows of a table, after the checks that hold for all."""
    assert done is not None and done.code == 0, done and done.output[-2000:] + done.errors[-2000:]
    rows = json.loads((done.folder / "kernels.json").read_text())["rows"]
    assert {row["mode"] for row in rows} == MODES
    for row in rows:
        assert row["spills"] == 0 and row["stack"] == 0, f"local memory is used: {row}"
        assert row["shared"] <= SHARED_LIMIT_BYTES[capability], f"too much shared memory: {row}"
    return rows


@pytest.mark.slow
@pytest.mark.beside(command=partial(table, script="kernel_table.py"))
@CHIPS
def test_the_network_compiles_well(capability: int, beside: Outcome | None) -> None:
    rows = rows_of(beside, capability)
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
@pytest.mark.beside(command=partial(table, script="spectral_table.py"))
@CHIPS
def test_the_spectral_form_of_the_network_compiles_well(capability: int, beside: Outcome | None) -> None:
    rows = rows_of(beside, capability)
    forward = {"transform weight", "transform", "product", "inverse"}
    backward = {"dy", "dx weight", "dx product", "dx inverse", "x", "dweight", "dweight inverse"}
    assert {row["pass"] for row in rows} == forward | backward
    assert {(9, 128, 128), (11, 48, 128), (11, 128, 128), (9, 32, 512)} <= {
        (row["kernel_side"], row["in_channels"], row["out_channels"]) for row in rows
    }
    for row in rows:
        wanted = TENSOR_CORE[capability] if row["mode"] != "ieee" else "none"
        assert row["tensor_core"] == wanted, f"{wanted} expected: {row}"
