"""Reads and writes of every launch, address by address; test_interpreted.py runs this in its own process.

`support/launch_audit.py` names the checks. Sizes are those of the cases that are compared with float64 elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from benchmarks.studies.kernel_traffic import l2_bytes
from cpm_fast.kernels import (
    context_conv,
    direct_conv,
    direct_conv_weight,
    plans,
    spectral_conv,
    spectral_plans,
    spectral_product,
)
from cpm_fast.kernels.launch import Launch
from support import launch_audit
from support.cases import CONTEXT_CONV, SPECTRAL_CONV_TILES, ConvCase
from support.launch_audit import Audit, audit

DIRECT = {
    "context_conv_forward_kernel",
    "context_conv_dweight_kernel",
    "context_conv_gate_kernel",
    "context_conv_sum_kernel",
}
SPECTRAL = {kernel for kernel in launch_audit.RESULTS if kernel.startswith("spectral")}
MODES = {torch.float32: "tf32x3", torch.float16: "fp16"}
SMALL = plans.Tile(16, 32, 64, 4, 2)


def check_counts(found: Audit) -> None:
    """Check that the traffic predicted by `kernel_table.py` and `spectral_table.py` is that of every load and store."""
    for launch, moved in found.moved():
        counted = l2_bytes(launch)
        assert sum(counted.values()) == moved, f"{launch.kernel.__name__}: {counted}, {moved} bytes in all"


def both_ways(case: ConvCase, dtype: torch.dtype, generator: torch.Generator, tile: int | None = None) -> None:
    """Run forward and backward, direct or on a tile."""
    x, weight, bias = case.inputs(generator, dtype=dtype)
    mode, every = MODES[dtype], (True, True, True)
    dy = torch.randn(case.images, case.out_channels, *case.size, generator=generator).to(dtype)
    if tile is None:
        y = context_conv.forward(x, weight, bias, case.relu, mode, 90)
        context_conv.backward(dy, x, weight, y if case.relu else None, every, mode, 90)
        return
    spectra = spectral_conv.transform_weight(weight, tile, False, spectral_plans.FORWARD_SPECTRA[mode], mode)
    y = spectral_conv.forward(x, spectra, bias, case.relu, case.kernel, mode, 90)
    spectral_conv.backward(dy, x, weight, y if case.relu else None, every, tile, mode, 90)


@pytest.mark.parametrize("case", CONTEXT_CONV, ids=str)
def test_direct(case: ConvCase, poisoned_memory: None, generator: torch.Generator) -> None:
    with audit() as found:
        both_ways(case, torch.float32, generator)
    check_counts(found)
    if case.images * case.size[0] * case.size[1] * case.in_channels * case.out_channels:
        assert found.kernels() == DIRECT


@pytest.mark.parametrize("tile", sorted({t for ts in plans._FORWARD.values() for t in ts}, key=str), ids=str)
def test_every_block_of_the_direct_form(
    tile: plans.Tile, monkeypatch: pytest.MonkeyPatch, poisoned_memory: None, generator: torch.Generator
) -> None:
    monkeypatch.setattr(direct_conv, "forward_tile", lambda *sizes: tile)
    monkeypatch.setattr(direct_conv_weight, "dweight_tile", lambda *sizes: replace(tile, depth=max(16, tile.depth)))
    with audit() as found:
        both_ways(ConvCase("", 1, 16, 20, 3, (9, 7)), torch.float16, generator)
    check_counts(found)
    assert found.kernels() == DIRECT


@pytest.mark.parametrize(("case", "tile"), SPECTRAL_CONV_TILES, ids=str)
def test_spectral(
    case: ConvCase, tile: int, monkeypatch: pytest.MonkeyPatch, poisoned_memory: None, generator: torch.Generator
) -> None:
    for name in ("product_tile", "dweight_tile"):
        monkeypatch.setattr(spectral_product, name, lambda *sizes: SMALL)
    with audit() as found:
        both_ways(case, torch.float32, generator, tile)
    check_counts(found)
    assert found.kernels() >= (SPECTRAL if case.images else set())


def test_a_batch_in_parts_adds_to_what_is_there(
    monkeypatch: pytest.MonkeyPatch, poisoned_memory: None, generator: torch.Generator
) -> None:
    for name in ("product_tile", "dweight_tile"):
        monkeypatch.setattr(spectral_product, name, lambda *sizes: SMALL)
    monkeypatch.setattr(spectral_conv, "WORKSPACE_BYTES", 1)
    with audit() as found:
        both_ways(ConvCase("", 3, 2, 3, 3, (5, 6)), torch.float32, generator, 16)
    adds = [record for record in found.records if record.launch.constants.get("ADD")]
    check_counts(found)
    assert len(adds) == 2 and all(record.loaded["dweight_ptr"] == record.stored["dweight_ptr"] for record in adds)


@pytest.mark.parametrize("mode", ["fp16", "tf32x3", "ieee"])
def test_every_block_of_products(mode: str, poisoned_memory: None, generator: torch.Generator) -> None:
    """The blocks are the plan's: more tiles of maps and channels than one block has, with tails."""
    dtype = torch.float16 if mode == "fp16" else torch.float32
    kind = spectral_plans.arithmetic(dtype, dtype, mode)
    for outputs in (144, 48):
        x = torch.randn(2, 70, 2, 32, generator=generator).to(dtype)
        weight = torch.randn(2, outputs, 2, 32, generator=generator).to(dtype)
        y = x.new_empty(2, 70, 2, outputs)
        with audit():
            spectral_product.product_launch(x, weight, y, kind, 90).run()
            dweight = x.new_empty((2, outputs, 2, 32), dtype=torch.float32)
            spectral_product.dweight_launch(x, y, dweight, False, kind, 90).run()


# Each of these kernels has a fault, which the audit must find.


@triton.jit
def faulty_kernel(
    x_ptr, y_ptr, count, LOAD: tl.constexpr, STORE: tl.constexpr, LAST: tl.constexpr, TWICE: tl.constexpr
):
    i = tl.program_id(0) * 16 + tl.arange(0, 16)
    b_x = tl.load(x_ptr + i + LOAD, mask=i < count, other=0.0)
    tl.store(y_ptr + i + STORE, b_x, mask=i < count - LAST)
    if TWICE:
        tl.store(y_ptr + tl.arange(0, 16), b_x[:], mask=tl.arange(0, 16) < 1)


@triton.jit
def neighborly_kernel(x_ptr, y_ptr, count):
    i = tl.program_id(0) * 16 + tl.arange(0, 16)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < count, other=0.0), mask=i < count)
    if tl.program_id(0) == 1:
        tl.load(y_ptr + i - 16, mask=i < count, other=0.0)


FAULTS = {
    "load-behind": ({"LOAD": 1}, "loads element 40 of 40 of x_ptr"),
    "load-before": ({"LOAD": -1}, "loads element -1 of 40 of x_ptr"),
    "store-behind": ({"STORE": 1}, "stores element 40 of 40 of y_ptr"),
    "one-is-left-out": ({"LAST": 1}, "writes element 39 of y_ptr 0 times"),
    "one-is-written-twice": ({"TWICE": 1}, "writes element 0 of y_ptr 4 times"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(launch_audit.RESULTS, "faulty_kernel", ("y_ptr",))
    changes, said = FAULTS[fault]
    constants = {"LOAD": 0, "STORE": 0, "LAST": 0, "TWICE": 0}
    arguments = {"x_ptr": torch.ones(40), "y_ptr": torch.empty(40), "count": 40}
    with audit():
        Launch(faulty_kernel, 3, dict(arguments), constants, 4, 1).run()
        with pytest.raises((AssertionError, InterpreterError), match=said):
            Launch(faulty_kernel, 3, dict(arguments), {**constants, **changes}, 4, 1).run()


def test_values_that_nobody_has_written_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(launch_audit.RESULTS, "faulty_kernel", ("y_ptr",))
    x = torch.ones(40)
    x[7] = float("nan")
    constants = {"LOAD": 0, "STORE": 0, "LAST": 0, "TWICE": 0}
    with audit(), pytest.raises(InterpreterError, match=r"loads x_ptr where nobody has written: \[7\]"):
        Launch(faulty_kernel, 3, {"x_ptr": x, "y_ptr": torch.empty(40), "count": 40}, constants, 4, 1).run()


def test_programs_that_read_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(launch_audit.RESULTS, "neighborly_kernel", ("y_ptr",))
    arguments = {"x_ptr": torch.ones(40), "y_ptr": torch.empty(40), "count": 40}
    with audit(), pytest.raises(AssertionError, match="read each other's y_ptr"):
        Launch(neighborly_kernel, 3, arguments, {}, 4, 1).run()
