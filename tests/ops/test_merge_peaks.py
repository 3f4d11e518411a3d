"""merge_peaks equals the materialized path of its own backend index for index, and the reference within rounding."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_fast.ops import backend
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.reference.merge_peaks import merge_peaks as reference
from cpm_fast.reference.resize_merge import resize_merge as resize_reference
from support.cases import RELATIVE_ERROR, RESIZE_MERGE, MergeCase

NAN, INF = math.nan, math.inf
Found = tuple[torch.Tensor, torch.Tensor]


def assert_same(found: Found, wanted: Found) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def materialized(maps: torch.Tensor, frames: torch.Tensor, size: tuple[int, int], refine: bool) -> Found:
    return peaks(resize_merge(maps, frames, size)[:, :-1], refine)


@pytest.mark.parametrize("refine", [False, True], ids=["whole", "refined"])
@pytest.mark.parametrize("case", RESIZE_MERGE, ids=str)
def test_matches_reference(
    case: MergeCase, refine: bool, fast: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    maps, frames = case.inputs(generator, fast)
    found = merge_peaks(maps, frames, case.size, refine)
    assert found[0].shape == (case.images, case.parts, 2) and found[1].shape == (case.images, case.parts)
    assert all(values.dtype == torch.float32 and values.is_contiguous() for values in found)
    assert_same(found, materialized(maps, frames, case.size, refine))
    _, scores = reference(maps.double().cpu(), frames.cpu(), case.size, refine)
    assert (found[1].cpu() - scores).norm() <= RELATIVE_ERROR["merge_peaks", torch.float32] * scores.norm()
    if not refine and len(maps):
        # At a near tie in float64, float32 may choose the other pixel, which must then be equally high.
        oracle = resize_reference(maps.double().cpu(), frames.cpu(), case.size)[:, :-1].flatten(2)
        x, y = found[0].cpu().long().unbind(-1)
        there = oracle.gather(2, (y * case.size[1] + x)[..., None])[..., 0]
        assert (scores - there).abs().max() <= RELATIVE_ERROR["merge_peaks", torch.float32] * scores.abs().max()


@pytest.mark.parametrize("kind", ["noise", "plateaus", "negative", "flat"])
@pytest.mark.parametrize("case", RESIZE_MERGE[1:9], ids=str)
def test_matches_materialized(case: MergeCase, kind: str, fast: str, generator: torch.Generator) -> None:
    maps, frames = case.inputs(generator, fast)
    noise = torch.randn(maps.shape, generator=generator).to(fast)
    maps = {"noise": noise, "plateaus": noise.round(), "negative": -1 - noise.abs(), "flat": noise * 0 + 0.1}[kind]
    for refine in (False, True):
        found = merge_peaks(maps, frames, case.size, refine)
        assert_same(found, materialized(maps, frames, case.size, refine))
        if fast == "cpu":
            assert_same(found, reference(maps, frames, case.size, refine))


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38, 1e-45], ids=str)
def test_matches_materialized_where_nothing_is_finite(bad: float, fast: str, generator: torch.Generator) -> None:
    case = MergeCase("bad-cells", 2, (1.0, 0.8), 3, (12, 11), (48, 50))
    maps, frames = case.inputs(generator, fast)
    maps[0, 1, 0, 5, 6] = bad
    maps[0, 0, 1] = bad
    maps[1, :, 2, ::3, ::4] = bad
    for refine in (False, True):
        found = merge_peaks(maps, frames, case.size, refine)
        assert_same(found, materialized(maps, frames, case.size, refine))
        if fast == "cpu":
            assert_same(found, reference(maps, frames, case.size, refine))
    if math.isnan(bad):
        # Scale 0 of that part covers the whole output.
        assert found[0][0, 1].isnan().all() and found[1][0, 1].isnan() and found[1][0, 0].isfinite()


@given(data=st.data())
@settings(max_examples=60)
def test_matches_materialized_on_anything(data) -> None:
    if backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    side, pixels = st.integers(1, 9), st.integers(1, 40)
    shape = (1, data.draw(st.integers(1, 3)), 2, data.draw(side), data.draw(side))
    value = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, NAN, INF, -INF]) | st.floats(-2, 2, width=32)
    count = math.prod(shape)
    maps = torch.tensor(data.draw(st.lists(value, min_size=count, max_size=count))).view(shape)
    scale, offset = st.floats(-1.5, 1.5) | st.just(0.0), st.floats(-10, 10) | st.sampled_from([1e300, -0.5])
    frames = [[data.draw(scale), data.draw(scale), data.draw(offset), data.draw(offset)] for _ in range(shape[1])]
    size = (data.draw(pixels), data.draw(pixels))
    arguments = (maps, torch.tensor(frames, dtype=torch.float64), size, data.draw(st.booleans()))
    with backend.use_backend("fast"):
        found = merge_peaks(*arguments)
        assert_same(found, materialized(*arguments))
    assert_same(found, reference(*arguments))


def test_background_is_not_looked_at(fast: str, generator: torch.Generator) -> None:
    maps, frames = RESIZE_MERGE[3].inputs(generator, fast)
    found = merge_peaks(maps, frames, (50, 51), True)
    maps[:, :, -1] = NAN
    assert_same(merge_peaks(maps, frames, (50, 51), True), found)
    points, scores = merge_peaks(maps[:, :, -1:], frames, (50, 51), True)
    assert points.shape == (3, 0, 2) and scores.shape == (3, 0)


def test_strided_and_offset(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(4, 6, 5, 21, 22, generator=generator).to(fast)[1:, ::2, 1:, 2:19:3].transpose(3, 4)
    frames = (torch.rand(4, 6, 4, generator=generator, dtype=torch.float64).to(fast) * 0.3)[1:, ::2]
    wanted = merge_peaks(maps.contiguous(), frames.contiguous(), (31, 30), True)
    assert_same(merge_peaks(maps, frames, (31, 30), True), wanted)


def test_several_python_threads_and_any_number_of_ours(generator: torch.Generator) -> None:
    if backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    case = RESIZE_MERGE[1]
    inputs = [case.inputs(generator) for _ in range(6)]
    wanted = [merge_peaks(*each, case.size, True) for each in inputs]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                for found, same in zip(
                    pool.map(lambda each: merge_peaks(*each, case.size, True), inputs), wanted, strict=True
                ):
                    assert_same(found, same)
    finally:
        torch.set_num_threads(before)


def test_gradient_matches_reference(fast: str, generator: torch.Generator) -> None:
    """There is no gradient: every entry raises by name, and none returns zeros."""
    maps, frames = RESIZE_MERGE[3].inputs(generator, fast)
    maps.requires_grad_()
    for name in backend.BACKENDS:
        with backend.use_backend(name), pytest.raises(RuntimeError, match="merge_peaks has no gradient"):
            merge_peaks(maps, frames, (9, 9), True)
    with pytest.raises(RuntimeError, match="merge_peaks has no gradient"):
        torch.ops.cpm_fast.merge_peaks(maps, frames, (9, 9), True)[1].sum().backward()


REJECTED = {
    "maps-rank": (dict(maps=torch.zeros(2, 3, 4, 5)), ValueError, r"maps must be \[N, S, P\+1, h, w\].*got \[2, 3"),
    "no-scales": (dict(maps=torch.zeros(1, 0, 3, 4, 4)), ValueError, "S 1 to 32.*got"),
    "maps-dtype": (dict(maps=torch.zeros(1, 2, 3, 4, 4).half()), TypeError, "maps must be torch.float32.*float16"),
    "frames-dtype": (dict(frames=torch.ones(2, 4)), TypeError, "frames must be torch.float64"),
    "frames-images": (dict(frames=torch.ones(2, 2, 4).double()), ValueError, r"frames must be .*got \[2, 2, 4\]"),
    "frames-nan": (dict(frames=torch.full((2, 4), NAN).double()), ValueError, "frames must be finite"),
    "frames-device": (dict(frames=torch.ones(2, 4, device="meta").double()), RuntimeError, "frames .*got meta"),
    "size-zero": (dict(size=(8, 0)), ValueError, r"size must be \(H, W\).*got \(8, 0\)"),
    "size-negative": (dict(size=(-8, 8)), ValueError, r"size must be"),
}


@pytest.mark.parametrize("backend_name", backend.BACKENDS)
@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str, backend_name: str) -> None:
    if backend_name == "fast" and backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    changed, error, message = REJECTED[name]
    good = dict(
        maps=torch.zeros(1, 2, 3, 4, 4), frames=torch.full((2, 4), 0.5, dtype=torch.float64), size=(8, 8), refine=True
    )
    with backend.use_backend(backend_name):
        merge_peaks(**good)
        with pytest.raises(error, match=message):
            merge_peaks(**{**good, **changed})


@pytest.mark.parametrize("case", RESIZE_MERGE[3:6], ids=str)
def test_opcheck(case: MergeCase, fast: str, generator: torch.Generator) -> None:
    arguments = (*case.inputs(generator, fast), case.size, True)
    torch.library.opcheck(torch.ops.cpm_fast.merge_peaks.default, arguments)


@pytest.mark.slow
def test_compiles(fast: str, generator: torch.Generator) -> None:
    compiled = torch.compile(merge_peaks, fullgraph=True, backend="aot_eager")
    for case in RESIZE_MERGE[3:6]:
        maps, frames = case.inputs(generator, fast)
        assert_same(compiled(maps, frames, case.size, True), merge_peaks(maps, frames, case.size, True))
    with backend.use_backend("reference"):
        assert_same(compiled(maps, frames, case.size, True), reference(maps, frames, case.size, True))


def test_autocast_keeps_float32(fast: str, generator: torch.Generator) -> None:
    maps, frames = RESIZE_MERGE[3].inputs(generator, fast)
    wanted = merge_peaks(maps, frames, (20, 20), True)
    with torch.autocast(fast, dtype=torch.bfloat16):
        assert_same(merge_peaks(maps, frames, (20, 20), True), wanted)
