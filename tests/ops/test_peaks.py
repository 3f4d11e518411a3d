"""peaks against its reference, ties and NaN included."""

from __future__ import annotations

import math

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.peaks import peaks
from cpm_fast.reference.peaks import peaks as reference

NAN, INF = math.nan, math.inf
SHAPES = (
    (2, 14, 46, 46),
    (1, 15, 368, 368),
    (3, 2, 1, 1),
    (2, 3, 1, 77),
    (2, 3, 77, 1),
    (5, 1, 7, 61),
    (0, 3, 5, 6),
    (3, 0, 5, 6),
    (65, 2, 9, 17),
)


def assert_same(result: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Compare to the last bit: a maximum does not round, and all backends round the fit's operations one by one."""
    for mine, theirs in zip(result, wanted, strict=True):
        assert mine.dtype == torch.float32 and mine.is_contiguous()
        torch.testing.assert_close(mine.cpu(), theirs.cpu(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("refine", [False, True], ids=["whole", "refined"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], refine: bool, fast: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    maps = torch.randn(shape, generator=generator).to(fast)
    assert_same(peaks(maps, refine), reference(maps, refine))
    # Few values, so that nearly every maximum is a tie.
    maps = (maps * 1.2).round()
    assert_same(peaks(maps, refine), reference(maps, refine))
    assert_same(peaks(-maps.abs() - 1, refine), reference(-maps.abs() - 1, refine))


@pytest.mark.parametrize("refine", [False, True], ids=["whole", "refined"])
def test_matches_reference_where_nothing_is_finite(refine: bool, fast: str, generator: torch.Generator) -> None:
    """Numbers, infinities and NaN are mixed; -0 and 0 are a tie, and a map of NaN has no peak."""
    values = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0])
    maps = torch.empty(40, 50, 3, 4)
    for i in range(40):
        few = values[torch.randint(10, (1 + i % 4,), generator=generator)]
        maps[i] = few[torch.randint(len(few), (50, 3, 4), generator=generator)]
    maps[0, 0] = NAN
    points, scores = peaks(maps.to(fast), refine)
    assert_same((points, scores), reference(maps.to(fast), refine))
    assert points[0, 0].isnan().all() and scores[0, 0].isnan()


def test_matches_reference_strided_and_offset(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(4, 6, 30, 31, generator=generator).to(fast)[1:, ::2, 3:, 1:29:2].transpose(0, 1).mT
    assert_same(peaks(maps, True), reference(maps, True))


def test_gradient_matches_reference(fast: str) -> None:
    """There is no gradient: every entry raises by name, and none returns zeros."""
    maps = torch.rand(1, 2, 5, 5, device=fast, requires_grad=True)
    for name in backend.BACKENDS:
        with backend.use_backend(name), pytest.raises(RuntimeError, match="peaks has no gradient"):
            peaks(maps, True)
    with pytest.raises(RuntimeError, match="peaks has no gradient"):
        torch.ops.cpm_fast.peaks(maps, True)[1].sum().backward()


REJECTED = {
    "rank": (torch.zeros(3, 4, 5), ValueError, r"maps must be \[N, M, H, W\].*got \[3, 4, 5\]"),
    "no-rows": (torch.zeros(1, 2, 0, 5), ValueError, "H and W 1 to 32768"),
    "no-columns": (torch.zeros(1, 2, 5, 0), ValueError, "H and W 1 to 32768"),
    "wide": (torch.zeros(1, 1, 1, 32769), ValueError, "H and W 1 to 32768"),
    "dtype": (torch.zeros(1, 2, 5, 5).double(), TypeError, "maps must be torch.float32, got torch.float64"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str) -> None:
    maps, error, message = REJECTED[name]
    with pytest.raises(error, match=message):
        peaks(maps, True)


@pytest.mark.parametrize("refine", [False, True], ids=["whole", "refined"])
def test_opcheck(refine: bool, fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(2, 3, 8, 9, generator=generator).to(fast)
    torch.library.opcheck(torch.ops.cpm_fast.peaks.default, (maps, refine))


@pytest.mark.slow
def test_compiles(fast: str, generator: torch.Generator) -> None:
    compiled = torch.compile(peaks, fullgraph=True, backend="aot_eager")
    for shape in SHAPES[:4]:
        maps = torch.randn(shape, generator=generator).to(fast)
        assert_same(compiled(maps, True), peaks(maps, True))
    with backend.use_backend("reference"):
        assert_same(compiled(maps, True), reference(maps, True))


def test_autocast_keeps_float32(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(1, 2, 30, 31, generator=generator).to(fast)
    wanted = peaks(maps, True)
    with torch.autocast(fast, dtype=torch.bfloat16):
        assert_same(peaks(maps, True), wanted)
