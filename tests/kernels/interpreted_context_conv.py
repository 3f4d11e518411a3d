"""The direct kernels against float64, interpreted on the CPU; test_interpreted.py runs this in its own process.

The interpreter multiplies float32 exactly in every mode and has no bfloat16, so the tests cover indexing and masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from cpm_fast.kernels import context_conv as kernels
from cpm_fast.kernels import direct_conv, direct_conv_weight, plans
from cpm_fast.ops import context_conv as ops
from cpm_fast.reference.context_conv import context_conv as reference
from support import exact
from support.cases import CONTEXT_CONV, RELATIVE_ERROR, ConvCase
from support.exact import relative_error

MODES = {torch.float32: "tf32", torch.float16: "fp16"}
CASES = {case.name: case for case in CONTEXT_CONV}


@pytest.mark.parametrize("dtype", MODES, ids=str)
@pytest.mark.parametrize("case", CONTEXT_CONV, ids=str)
def test_forward(case: ConvCase, dtype: torch.dtype, poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, bias = case.inputs(generator, dtype=dtype)
    y = kernels.forward(x, weight, bias, case.relu, MODES[dtype], 90)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(y, exact.conv(x, weight, bias, case.relu)) <= RELATIVE_ERROR["context_conv", dtype]


@pytest.mark.parametrize("dtype", MODES, ids=str)
@pytest.mark.parametrize("case", CONTEXT_CONV, ids=str)
def test_backward(case: ConvCase, dtype: torch.dtype, poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, bias = case.inputs(generator, dtype=dtype)
    y = reference(x, weight, bias, True) if case.relu else None
    dy = torch.randn(case.images, case.out_channels, *case.size, generator=generator).to(dtype)
    gradients = kernels.backward(dy, x, weight, y, (True, True, True), MODES[dtype], 90)
    for gradient, wanted in zip(gradients, exact.conv_gradients(dy, x, weight, bias, y), strict=True):
        assert gradient is not None and gradient.dtype == dtype
        assert relative_error(gradient, wanted) <= RELATIVE_ERROR["context_conv", dtype]


def distinct(table: dict) -> list[plans.Tile]:
    tiles = [tile for entry in table.values() for tile in (entry if isinstance(entry, tuple) else (entry,))]
    return sorted(set(tiles), key=str)


@pytest.mark.parametrize("tile", distinct(plans._FORWARD), ids=str)
def test_forward_with_every_tile(tile: plans.Tile, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(direct_conv, "forward_tile", lambda *sizes: tile)
    x, weight, bias = ConvCase("", 2, 16, 20, 5, (13, 11)).inputs(generator)
    y = kernels.forward(x, weight, bias, True, "tf32", 90)
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= 1e-6


@pytest.mark.parametrize("tile", distinct(plans._DWEIGHT) + distinct(plans._DWEIGHT_SHORT), ids=str)
def test_dweight_with_every_tile(tile: plans.Tile, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setattr(direct_conv_weight, "dweight_tile", lambda *sizes: tile)
    x, weight, bias = ConvCase("", 2, 5, 20, 5, (13, 11)).inputs(generator)
    dy = torch.randn(2, 20, 13, 11, generator=generator)
    dweight = kernels.backward(dy, x, weight, None, (False, True, False), "tf32", 90)[1]
    assert dweight is not None
    assert relative_error(dweight, exact.conv_gradients(dy, x, weight, bias, None)[1]) <= 1e-6


def test_backward_in_many_runs_is_deterministic(poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, _ = CASES["many-pixels"].inputs(generator)
    dy = torch.randn(3, 6, 41, 43, generator=generator).contiguous(memory_format=torch.channels_last)
    add, _ = direct_conv_weight.dweight_launches(x, dy, torch.empty_like(weight), "tf32", 90)
    assert len(add.arguments["partial_ptr"]) > 3, "the case must be large enough to be split"
    once, again = (kernels.backward(dy, x, weight, None, (True, True, True), "tf32", 90) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)], ids=str)
def test_backward_makes_what_is_needed(needed: tuple[bool, bool, bool], generator: torch.Generator) -> None:
    x, weight, bias = CASES["image-9x9"].inputs(generator)
    y = reference(x, weight, bias, True)
    dy = torch.randn(y.shape, generator=generator)
    gradients = kernels.backward(dy, x, weight, y, needed, "tf32", 90)
    for gradient, wanted, need in zip(gradients, exact.conv_gradients(dy, x, weight, bias, y), needed, strict=True):
        assert (gradient is not None) is need
        assert gradient is None or relative_error(gradient, wanted) <= 1e-6


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "channels-first": lambda t: t.contiguous(),
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "every-second": lambda t: t.repeat_interleave(2, 0)[::2].repeat_interleave(2, 1)[:, 1::2],
    "expanded": lambda t: t[:1].expand_as(t),
    "offset": lambda t: (
        torch.cat([t.new_zeros(1), t.permute(0, 2, 3, 1).flatten()])[1:]
        .view(t.shape[0], *t.shape[2:], t.shape[1])
        .permute(0, 3, 1, 2)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: str, poisoned_memory: None, generator: torch.Generator) -> None:
    x, weight, bias = (
        LAYOUTS[layout](t) if t.ndim == 4 else t for t in ConvCase("", 2, 6, 7, 3, (5, 9)).inputs(generator)
    )
    y = kernels.forward(x, weight, bias, True, "tf32", 90)
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= 1e-6
    dy = LAYOUTS[layout](torch.randn(y.shape, generator=generator))
    gradients = kernels.backward(dy, x, weight, y, (True, True, True), "tf32", 90)
    for gradient, wanted in zip(gradients, exact.conv_gradients(dy, x, weight, bias, y), strict=True):
        assert relative_error(gradient, wanted) <= 1e-6


def test_an_image_sees_no_other(generator: torch.Generator) -> None:
    """The rows before and after an image in memory belong to its neighbors: NaN there must not affect it."""
    x, weight, bias = ConvCase("", 3, 4, 5, 7, (5, 6)).inputs(generator)
    x[0], x[2] = math.nan, math.nan
    y = kernels.forward(x, weight, bias, True, "tf32", 90)
    torch.testing.assert_close(y[1], reference(x[1:2], weight, bias, True)[0])
    assert y[0].isnan().all() and y[2].isnan().all(), "ReLU must keep NaN"
    dy = torch.zeros_like(y)
    dy[1] = 1.0
    dy[0] = math.nan
    dx = kernels.backward(dy, x, weight, None, (True, False, False), "tf32", 90)[0]
    assert dx is not None and dx[1].isfinite().all() and torch.equal(dx[2], torch.zeros_like(dx[2]))


def test_the_op_reaches_the_kernels(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    """The op on CUDA calls the kernels; the device is a mock with only a capability."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    x, weight, bias = CASES["image-9x9"].inputs(generator, dtype=torch.float16)
    y = ops._cuda(x, weight, bias, True)
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= 1e-3
    dy = torch.randn(y.shape, generator=generator).half()
    dx, dweight, dbias = ops._cuda_backward(dy, x, weight, y, [False, True, True])
    wanted = exact.conv_gradients(dy, x, weight, bias, y)
    assert dx.shape == (0,)
    assert relative_error(dweight, wanted[1]) <= 1e-3 and relative_error(dbias, wanted[2]) <= 1e-3
    with pytest.raises(TypeError, match="x must be float32, float16 or bfloat16 on CUDA, got torch.float64"):
        ops._cuda(x.double(), weight.double(), bias.double(), True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    with pytest.raises(RuntimeError, match="context_conv on .* capability 7.0, and the kernels need 8.0"):
        ops._cuda(x, weight, bias, True)


def test_too_long_a_row_is_refused() -> None:
    weight = torch.empty(8, 2**27, 3, 3, device="meta")
    x = torch.empty(1, 2**27, 2, 64, device="meta")
    with pytest.raises(ValueError, match=r"\(w \+ k\) C must be at most"):
        direct_conv.forward_launch(x, weight, weight[:, 0, 0, 0], x[:, :8], True, "fp16", 90)
