"""resize_merge against its reference: values, pixels outside, values that are not finite, and refused arguments."""

from __future__ import annotations

import math

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.reference.resize_merge import resize_merge as reference
from support.cases import RELATIVE_ERROR, RESIZE_MERGE, MergeCase

BOUND = RELATIVE_ERROR["resize_merge", torch.float32]
NAN, INF = math.nan, math.inf


def assert_same(merged: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare to the last bit on the CPU, with equal NaN; a GPU may round otherwise."""
    tolerance = 0.0 if merged.device.type == "cpu" else 1e-6
    torch.testing.assert_close(merged.cpu(), wanted.cpu(), rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("case", RESIZE_MERGE, ids=str)
@pytest.mark.parametrize("kind", ["peaks", "noise"])
def test_matches_reference(
    case: MergeCase, kind: str, fast: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    maps, frames = case.inputs(generator, fast)
    if kind == "noise":
        maps = torch.randn(maps.shape, generator=generator).to(fast)
    merged = resize_merge(maps, frames, case.size)
    oracle = reference(maps.double().cpu(), frames.cpu(), case.size)
    assert merged.shape == oracle.shape and merged.dtype == torch.float32 and merged.is_contiguous()
    assert (merged.double().cpu() - oracle).norm() <= BOUND * oracle.norm()
    assert_same(merged, reference(maps, frames, case.size))


def test_matches_reference_strided_and_offset(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(4, 6, 5, 21, 22, generator=generator).to(fast)[1:, ::2, 1:, 2:19:3].transpose(3, 4)
    frames = (torch.rand(4, 6, 4, generator=generator, dtype=torch.float64).to(fast) * 0.3)[1:, ::2]
    assert_same(resize_merge(maps, frames, (31, 30)), reference(maps, frames, (31, 30)))
    frames = frames[0].T.contiguous().T
    assert_same(resize_merge(maps, frames, (31, 30)), reference(maps, frames, (31, 30)))


def test_matches_reference_outside(fast: str, generator: torch.Generator) -> None:
    """Frames whose crop covers a part of the output, none of it, or mirrors it."""
    maps = 2 + torch.rand(1, 4, 3, 5, 5, generator=generator).to(fast)
    frames = torch.tensor(
        [[1.0, 1.0, -3.0, -3.0], [0.5, 0.5, 40.0, 0.0], [-0.5, 0.5, 6.0, -1.0], [1e300, 1.0, -1e300, 0.0]],
        dtype=torch.float64,
        device=fast,
    )
    merged = resize_merge(maps, frames, (13, 14))
    assert_same(merged, reference(maps, frames, (13, 14)))
    # No crop reaches the last row and column.
    assert (merged[0, :2, -1, -1] == 0).all() and merged[0, 2, -1, -1] == 1


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38], ids=str)
def test_matches_reference_where_nothing_is_finite(bad: float, fast: str, generator: torch.Generator) -> None:
    """A bad cell reaches the pixels whose taps include it, and no others."""
    case = MergeCase("bad-cell", 1, (1.0, 0.8), 2, (12, 12), (48, 48))
    maps, frames = case.inputs(generator, fast)
    maps[0, 1, 0, 5, 6] = bad
    merged = resize_merge(maps, frames, case.size)
    assert_same(merged, reference(maps, frames, case.size))
    if not math.isfinite(bad):
        reached = ~merged[0, 0].isfinite()
        assert 0 < reached.sum() <= (4 / 0.8 * 4 + 1) ** 2 and merged[0, 1:].isfinite().all()


def test_matches_reference_on_any_number_of_threads(generator: torch.Generator) -> None:
    if backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    maps, frames = RESIZE_MERGE[4].inputs(generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(resize_merge(maps, frames, RESIZE_MERGE[4].size))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_gradient_matches_reference(fast: str, generator: torch.Generator) -> None:
    """There is no gradient: every entry raises by name, and none returns zeros."""
    maps, frames = RESIZE_MERGE[3].inputs(generator, fast)
    maps.requires_grad_()
    for name in backend.BACKENDS:
        with backend.use_backend(name), pytest.raises(RuntimeError, match="resize_merge has no gradient"):
            resize_merge(maps, frames, (9, 9))
    with pytest.raises(RuntimeError, match="resize_merge has no gradient"):
        torch.ops.cpm_fast.resize_merge(maps, frames, (9, 9)).sum().backward()


REJECTED = {
    "maps-rank": (dict(maps=torch.zeros(2, 3, 4, 5)), ValueError, r"maps must be \[N, S, P\+1, h, w\].*got \[2, 3"),
    "no-maps": (dict(maps=torch.zeros(1, 2, 0, 4, 4)), ValueError, "P.1 of at least 1"),
    "no-scales": (dict(maps=torch.zeros(1, 0, 3, 4, 4)), ValueError, "S 1 to 32.*got"),
    "many-scales": (dict(maps=torch.zeros(1, 33, 3, 4, 4)), ValueError, "S 1 to 32.*got"),
    "no-cells": (dict(maps=torch.zeros(1, 2, 3, 0, 4)), ValueError, "h and w 1 to 32768"),
    "maps-dtype": (dict(maps=torch.zeros(1, 2, 3, 4, 4).double()), TypeError, "maps must be torch.float32.*float64"),
    "frames-dtype": (dict(frames=torch.ones(2, 4)), TypeError, "frames must be torch.float64, got torch.float32"),
    "frames-scales": (dict(frames=torch.ones(3, 4).double()), ValueError, r"frames must be \[2, 4\] or \[1, 2, 4\]"),
    "frames-images": (dict(frames=torch.ones(2, 2, 4).double()), ValueError, r"frames must be .*got \[2, 2, 4\]"),
    "frames-nan": (dict(frames=torch.full((2, 4), NAN).double()), ValueError, "frames must be finite"),
    "frames-inf": (dict(frames=torch.tensor([[1, 1, 0, 0], [1, INF, 0, 0]]).double()), ValueError, "must be finite"),
    "frames-device": (dict(frames=torch.ones(2, 4, device="meta").double()), RuntimeError, "frames .*got meta"),
    "size-zero": (dict(size=(0, 8)), ValueError, r"size must be \(H, W\).*got \(0, 8\)"),
    "size-negative": (dict(size=(8, -8)), ValueError, r"size must be"),
    "size-huge": (dict(size=(8, 2**40)), ValueError, "size must be"),
    "size-one": (dict(size=(8,)), ValueError, "size must be"),
}


@pytest.mark.parametrize("backend_name", backend.BACKENDS)
@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str, backend_name: str) -> None:
    if backend_name == "fast" and backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    changed, error, message = REJECTED[name]
    good = dict(maps=torch.zeros(1, 2, 3, 4, 4), frames=torch.full((2, 4), 0.5, dtype=torch.float64), size=(8, 8))
    with backend.use_backend(backend_name):
        resize_merge(**good)
        with pytest.raises(error, match=message):
            resize_merge(**{**good, **changed})


@pytest.mark.parametrize("case", RESIZE_MERGE[3:6], ids=str)
def test_opcheck(case: MergeCase, fast: str, generator: torch.Generator) -> None:
    torch.library.opcheck(torch.ops.cpm_fast.resize_merge.default, (*case.inputs(generator, fast), case.size))


@pytest.mark.slow
def test_compiles(fast: str, generator: torch.Generator) -> None:
    compiled = torch.compile(resize_merge, fullgraph=True, backend="aot_eager")
    for case in RESIZE_MERGE[3:6]:
        maps, frames = case.inputs(generator, fast)
        merged = compiled(maps, frames, case.size)
        assert torch.equal(merged, resize_merge(maps, frames, case.size))
    with backend.use_backend("reference"):
        assert_same(compiled(maps, frames, case.size), merged)
    if fast == "cpu":
        with pytest.raises(ValueError, match="frames must be finite"):
            compiled(maps, frames * NAN, case.size)


def test_autocast_keeps_float32(fast: str, generator: torch.Generator) -> None:
    maps, frames = RESIZE_MERGE[3].inputs(generator, fast)
    wanted = resize_merge(maps, frames, (20, 20))
    with torch.autocast(fast, dtype=torch.bfloat16):
        assert torch.equal(resize_merge(maps, frames, (20, 20)), wanted)
