"""many_peaks against its reference, ties and NaN included."""

from __future__ import annotations

import math

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.reference.many_peaks import many_peaks as reference

NAN, INF = math.nan, math.inf
SHAPES = ((2, 40, 32), (1, 46, 61), (3, 1, 1), (2, 1, 77), (2, 77, 1), (0, 5, 6), (65, 9, 17))


def assert_same(result: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Compare to the last bit: comparisons do not round, and all backends round the fit's operations one by one."""
    for mine, theirs in zip(result, wanted, strict=True):
        assert mine.dtype == torch.float32 and mine.is_contiguous()
        torch.testing.assert_close(mine.cpu(), theirs.cpu(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("radius", [1, 4, 100])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple[int, ...], radius: int, fast: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    maps = torch.randn(shape, generator=generator).to(fast)
    assert_same(many_peaks(maps, 0.5, radius), reference(maps, 0.5, radius))
    # Few values, so that nearly every maximum is a tie.
    maps = (maps * 1.2).round()
    assert_same(many_peaks(maps, -1.0, radius), reference(maps, -1.0, radius))
    assert_same(many_peaks(maps, -INF, radius), reference(maps, -INF, radius))
    assert many_peaks(maps, INF, radius)[1].isneginf().all()


def test_matches_reference_where_nothing_is_finite(fast: str, generator: torch.Generator) -> None:
    values = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1e-45, 3e38, 1.0])
    maps = values[torch.randint(8, (300, 5, 6), generator=generator)].to(fast)
    for threshold in (-INF, 0.0, 1.0):
        assert_same(many_peaks(maps, threshold, 1), reference(maps, threshold, 1))
    assert many_peaks(maps * NAN, -INF, 1)[1].isneginf().all()


def test_matches_reference_strided_and_offset(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(4, 6, 30, 31, generator=generator).to(fast)[1:, 2, 3:, 1:29:2].mT
    assert_same(many_peaks(maps, 0.0, 2), reference(maps, 0.0, 2))


def test_every_peak_is_the_highest_about_it(fast: str, generator: torch.Generator) -> None:
    """There is a peak for every cell that is the highest within the radius, and no other peak."""
    maps = torch.rand(1, 21, 34, generator=generator)
    points, scores = many_peaks(maps.to(fast), 0.3, 2)
    count = int(scores.isfinite().sum())
    assert 0 < count <= 7 * 12 and scores[0, :count].diff().le(0).all()
    cells = {tuple(cell) for cell in points[0, :count].round().long().tolist()}
    assert len(cells) == count
    for y in range(21):
        for x in range(34):
            near = maps[0, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            assert ((x, y) in cells) == bool(maps[0, y, x] > 0.3 and maps[0, y, x] == near.max())


def test_gradient_matches_reference(fast: str) -> None:
    """There is no gradient: every entry raises by name, and none returns zeros."""
    maps = torch.rand(1, 5, 5, device=fast, requires_grad=True)
    for name in backend.BACKENDS:
        with backend.use_backend(name), pytest.raises(RuntimeError, match="many_peaks has no gradient"):
            many_peaks(maps, 0.0, 1)
    with pytest.raises(RuntimeError, match="many_peaks has no gradient"):
        torch.ops.cpm_fast.many_peaks(maps, 0.0, 1)[1].sum().backward()


FINE = torch.zeros(1, 5, 5)
REJECTED = {
    "rank": ((torch.zeros(4, 5), 0.0, 1), ValueError, r"maps must be \[N, H, W\].*got \[4, 5\]"),
    "no-rows": ((torch.zeros(1, 0, 5), 0.0, 1), ValueError, "H and W 1 to 32768"),
    "wide": ((torch.zeros(1, 1, 32769), 0.0, 1), ValueError, "H and W 1 to 32768"),
    "dtype": ((FINE.double(), 0.0, 1), TypeError, "maps must be torch.float32, got torch.float64"),
    "threshold": ((FINE, NAN, 1), ValueError, "threshold must be a number, got nan"),
    "no-radius": ((FINE, 0.0, 0), ValueError, "radius must be 1 to 32768 cells, got 0"),
    "negative-radius": ((FINE, 0.0, -1), ValueError, "radius must be 1 to 32768 cells, got -1"),
    "large-radius": ((FINE, 0.0, 1 << 40), ValueError, "radius must be 1 to 32768 cells"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str) -> None:
    arguments, error, message = REJECTED[name]
    with pytest.raises(error, match=message):
        many_peaks(*arguments)


def test_opcheck(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(2, 8, 9, generator=generator).to(fast)
    torch.library.opcheck(torch.ops.cpm_fast.many_peaks.default, (maps, 0.5, 2))


@pytest.mark.slow
def test_compiles(fast: str, generator: torch.Generator) -> None:
    compiled = torch.compile(many_peaks, fullgraph=True, backend="aot_eager")
    for shape in SHAPES[:4]:
        maps = torch.randn(shape, generator=generator).to(fast)
        assert_same(compiled(maps, 0.5, 1), many_peaks(maps, 0.5, 1))
    with backend.use_backend("reference"):
        assert_same(compiled(maps, 0.5, 1), reference(maps, 0.5, 1))


def test_autocast_keeps_float32(fast: str, generator: torch.Generator) -> None:
    maps = torch.randn(1, 30, 31, generator=generator).to(fast)
    wanted = many_peaks(maps, 0.5, 1)
    with torch.autocast(fast, dtype=torch.bfloat16):
        assert_same(many_peaks(maps, 0.5, 1), wanted)
