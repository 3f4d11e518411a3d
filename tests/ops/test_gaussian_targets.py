"""gaussian_targets against its reference, and the laws that the definition implies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_fast.ops import backend
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.reference.gaussian_targets import LOG_CUTOFF
from cpm_fast.reference.gaussian_targets import gaussian_targets as reference
from support.cases import GAUSSIAN_TARGETS, RELATIVE_ERROR, TargetsCase

RELEASE = GAUSSIAN_TARGETS[0]
BOUND = RELATIVE_ERROR["gaussian_targets", torch.float32]
# A cell this close to the border of a peak, relative to its squared distance, may be lit in float32 and dark in
# float64, or vice versa; one rounding each in the center, the offset, its square and the sum.
BORDER = 1e-5


def border_cells(parts: torch.Tensor, labeled: torch.Tensor, case: TargetsCase) -> torch.Tensor:
    """Return the cells [N, h, w] in which float32 may decide otherwise than float64."""
    height, width = case.size
    cells = [torch.arange(n, dtype=torch.float64) * case.stride + case.stride / 2 - 0.5 for n in (width, height)]
    offsets = [cells[axis] - parts[..., axis].double().cpu()[..., None] for axis in (0, 1)]
    squared = offsets[0].square()[..., None, :] + offsets[1].square()[..., :, None]  # [N, K, P, h, w]
    near = (squared / (2 * case.sigma**2 * LOG_CUTOFF) - 1).abs() < BORDER
    return (near & labeled.cpu()[..., None, None]).flatten(1, 2).any(1)


def assert_matches_oracle(maps: torch.Tensor, parts: torch.Tensor, labeled: torch.Tensor, case: TargetsCase) -> None:
    """Compare maps with float64, except for the few cells where float64 itself is on the border."""
    oracle = reference(parts.double().cpu(), labeled.cpu(), case.size, case.sigma, case.stride)
    assert maps.shape == oracle.shape
    assert maps.isfinite().all()
    border = border_cells(parts, labeled, case)[:, None].expand_as(oracle)
    assert border.double().mean().nan_to_num() < 0.01
    error = (maps.double().cpu() - oracle).masked_fill(border, 0.0)
    assert error.norm() <= BOUND * oracle.norm()


@pytest.mark.parametrize("case", GAUSSIAN_TARGETS, ids=str)
def test_matches_reference(case: TargetsCase, fast: str, poisoned_memory: None, generator: torch.Generator) -> None:
    parts, labeled = case.inputs(generator, fast)
    maps = gaussian_targets(parts, labeled, case.size, case.sigma, case.stride)
    assert maps.dtype == torch.float32 and maps.is_contiguous() and maps.device == parts.device
    assert_matches_oracle(maps, parts, labeled, case)
    same = reference(parts, labeled, case.size, case.sigma, case.stride)
    assert torch.equal(maps[:, :-1] > 0, same[:, :-1] > 0), "every backend must light the same cells in float32"


def test_matches_reference_on_the_border(fast: str) -> None:
    """Positions move, float by float, across the distance at which cell (0, 0) goes dark, in 64 directions."""
    case = TargetsCase("border", 64, 201, 1, (1, 1))
    cutoff = 2 * LOG_CUTOFF * case.sigma**2
    dy = torch.linspace(0, 20, 64)[:, None]
    edge = 3.5 + (cutoff - dy.square()).sqrt()
    x = (edge.view(torch.int32) + torch.arange(-100, 101, dtype=torch.int32)).view(torch.float32)  # [64, 201]
    parts = torch.stack([x, (3.5 + dy).expand_as(x)], -1).view(-1, 1, 1, 2).to(fast)
    labeled = torch.ones(len(parts), 1, 1, dtype=torch.bool, device=fast)
    lit = gaussian_targets(parts, labeled, case.size, case.sigma, case.stride)[:, 0] > 0
    assert torch.equal(lit, reference(parts, labeled, case.size, case.sigma, case.stride)[:, 0] > 0)
    squared = (3.5 - x).square() + (3.5 - (3.5 + dy)).square()
    assert (squared == torch.tensor(cutoff)).any(), "the walk must meet the border itself, which is lit"
    assert torch.equal(lit.cpu().view_as(squared), squared <= cutoff)


def test_matches_reference_strided_and_offset(fast: str, generator: torch.Generator) -> None:
    case = TargetsCase("strided", 4, 6, 10, (21, 22))
    parts, labeled = case.inputs(generator, fast)
    wanted = reference(parts[1:, 1::2, 2:9:3], labeled[1:, 1::2, 2:9:3], case.size, case.sigma, case.stride)
    maps = gaussian_targets(parts[1:, 1::2, 2:9:3], labeled[1:, 1::2, 2:9:3], case.size, case.sigma, case.stride)
    torch.testing.assert_close(maps, wanted, rtol=0, atol=1e-6)
    swapped = gaussian_targets(parts.transpose(0, 1), labeled.transpose(0, 1), case.size, case.sigma, case.stride)
    wanted = reference(parts.transpose(0, 1), labeled.transpose(0, 1), case.size, case.sigma, case.stride)
    torch.testing.assert_close(swapped, wanted, rtol=0, atol=1e-6)


def test_matches_reference_by_hand() -> None:
    """A part on the center of cell (2, 1): 1 there, exp(-64/98) beside it, dark beyond 2.66 cells."""
    parts, labeled = torch.tensor([[[[3.5 + 8, 3.5 + 16]]]]), torch.ones(1, 1, 1, dtype=torch.bool)
    for name in ("fast", "reference"):
        if name == "fast" and backend.native_missing("cpu"):
            continue
        with backend.use_backend(name):
            maps = gaussian_targets(parts, labeled, (6, 5), 7.0, 8.0)[0]
        row = [math.exp(-64 / 98), 1.0, math.exp(-64 / 98), math.exp(-256 / 98), 0.0]
        torch.testing.assert_close(maps[0, 2], torch.tensor(row))
        torch.testing.assert_close(maps[1, 2], 1 - torch.tensor(row))
        assert (maps[0] > 0).sum() == 18


def test_matches_reference_where_nothing_is_finite(fast: str) -> None:
    """A labeled part without a finite position counts as unlabeled, on every backend."""
    nowhere = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38], device=fast)
    parts = torch.full((2, 5, 1, 2), 20.0, device=fast)
    parts[0, :, 0, 0] = nowhere
    parts[1, :, 0, 1] = nowhere
    labeled = torch.ones(2, 5, 1, dtype=torch.bool, device=fast)
    for maps in (gaussian_targets(parts, labeled, (6, 7), 7.0, 8.0), reference(parts, labeled, (6, 7), 7.0, 8.0)):
        assert torch.equal(maps[:, 0], torch.zeros_like(maps[:, 0]))
        assert torch.equal(maps[:, 1], torch.ones_like(maps[:, 1]))


def test_matches_reference_on_any_number_of_threads(generator: torch.Generator) -> None:
    if backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    parts, labeled = GAUSSIAN_TARGETS[1].inputs(generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(gaussian_targets(parts, labeled, (46, 46), 7.0, 8.0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_gradient_matches_reference(fast: str, generator: torch.Generator) -> None:
    """There is no gradient: every entry raises by name, and none returns zeros."""
    parts, labeled = RELEASE.inputs(generator, fast)
    parts.requires_grad_()
    for name in backend.BACKENDS:
        with backend.use_backend(name), pytest.raises(RuntimeError, match="gaussian_targets has no gradient"):
            gaussian_targets(parts, labeled, (46, 46), 7.0, 8.0)
    maps = torch.ops.cpm_fast.gaussian_targets(parts, labeled, (46, 46), 7.0, 8.0)
    with pytest.raises(RuntimeError, match="gaussian_targets has no gradient"):
        maps.sum().backward()


REJECTED = {
    "parts-rank": (dict(parts=torch.zeros(1, 14, 2)), ValueError, r"parts must be \[N, K, P, 2\].*got \[1, 14, 2\]"),
    "parts-xyz": (dict(parts=torch.zeros(1, 1, 2, 3)), ValueError, r"parts must be \[N, K, P, 2\]"),
    "no-parts": (dict(parts=torch.zeros(1, 1, 0, 2), labeled=torch.ones(1, 1, 0).bool()), ValueError, "at least 1"),
    "parts-dtype": (dict(parts=torch.zeros(1, 1, 2, 2).double()), TypeError, r"parts must be torch.float32, got .*64"),
    "labeled-dtype": (dict(labeled=torch.ones(1, 1, 2)), TypeError, "labeled must be torch.bool, got torch.float32"),
    "labeled-shape": (dict(labeled=torch.ones(1, 2, 1).bool()), ValueError, r"labeled .* got \[1, 2, 1\]"),
    "labeled-device": (dict(labeled=torch.ones(1, 1, 2, device="meta").bool()), RuntimeError, "labeled .*got meta"),
    "size-zero": (dict(size=(0, 46)), ValueError, r"size must be \(h, w\).*got \(0, 46\)"),
    "size-huge": (dict(size=(46, 2**40)), ValueError, "size must be"),
    "size-three": (dict(size=(4, 4, 4)), ValueError, "size must be"),
    "sigma-zero": (dict(sigma=0.0), ValueError, "sigma must be .*got 0"),
    "sigma-negative": (dict(sigma=-7.0), ValueError, "sigma must be .*got -7"),
    "sigma-nan": (dict(sigma=math.nan), ValueError, "sigma must be .*got nan"),
    "stride-half": (dict(stride=0.5), ValueError, "stride must be .*got 0.5"),
    "stride-infinite": (dict(stride=math.inf), ValueError, "stride must be .*got inf"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str) -> None:
    changed, error, message = REJECTED[name]
    good = dict(parts=torch.zeros(1, 1, 2, 2), labeled=torch.ones(1, 1, 2).bool(), size=(46, 46), sigma=7.0, stride=8.0)
    gaussian_targets(**good)
    with pytest.raises(error, match=message):
        gaussian_targets(**{**good, **changed})


@pytest.mark.parametrize("case", GAUSSIAN_TARGETS[1:4], ids=str)
def test_opcheck(case: TargetsCase, fast: str, generator: torch.Generator) -> None:
    parts, labeled = case.inputs(generator, fast)
    op = torch.ops.cpm_fast.gaussian_targets.default
    torch.library.opcheck(op, (parts, labeled, case.size, case.sigma, case.stride))


@pytest.mark.slow
def test_compiles(fast: str, generator: torch.Generator) -> None:
    compiled = torch.compile(gaussian_targets, fullgraph=True, backend="aot_eager")
    for case in GAUSSIAN_TARGETS[:4]:
        parts, labeled = case.inputs(generator, fast)
        maps = compiled(parts, labeled, case.size, case.sigma, case.stride)
        assert torch.equal(maps, gaussian_targets(parts, labeled, case.size, case.sigma, case.stride))
    with backend.use_backend("reference"):
        torch.testing.assert_close(compiled(parts, labeled, case.size, case.sigma, case.stride), maps)


def test_autocast_keeps_float32(fast: str, generator: torch.Generator) -> None:
    parts, labeled = RELEASE.inputs(generator, fast)
    wanted = gaussian_targets(parts, labeled, RELEASE.size, 7.0, 8.0)
    with torch.autocast(fast, dtype=torch.bfloat16):
        assert torch.equal(gaussian_targets(parts, labeled, RELEASE.size, 7.0, 8.0), wanted)


coordinates = st.floats(-60.0, 260.0, width=32)
crowds = st.lists(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=3), min_size=1, max_size=4)


@pytest.mark.parametrize("name", backend.BACKENDS)
class TestLaws:
    """Laws that hold for any input: images of one crowd with three parts, maps of 25 x 23 cells."""

    size = (25, 23)

    def draw(self, name: str, parts: torch.Tensor, labeled: torch.Tensor | None = None) -> torch.Tensor:
        if name == "fast" and backend.native_missing("cpu"):
            pytest.skip(str(backend.native_missing("cpu")))
        labeled = torch.ones(parts.shape[:3], dtype=torch.bool) if labeled is None else labeled
        with backend.use_backend(name):
            return gaussian_targets(parts, labeled, self.size, 7.0, 8.0)

    @given(crowd=crowds)
    @settings(max_examples=25)
    def test_range_and_background(self, name: str, crowd: list) -> None:
        maps = self.draw(name, torch.tensor(crowd)[None])
        assert maps.min() >= 0 and maps.max() <= 1
        assert torch.equal(maps[:, -1], 1 - maps[:, :-1].amax(1))

    @given(crowd=crowds, cells=st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
    @settings(max_examples=25)
    def test_shift_by_whole_cells(self, name: str, crowd: list, cells: tuple[int, int]) -> None:
        # On a grid of 1/64 px the shift is exact, so border decisions are too.
        parts = (torch.tensor(crowd)[None] * 64).round() / 64
        (dx, dy), (height, width) = cells, self.size
        still, moved = self.draw(name, parts), self.draw(name, parts + torch.tensor([8.0 * dx, 8.0 * dy]))
        inner = still[..., max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
        there = moved[..., max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
        torch.testing.assert_close(there, inner, rtol=0, atol=1e-6)

    @given(crowd=crowds, order=st.randoms(use_true_random=False))
    @settings(max_examples=25)
    def test_order_of_people(self, name: str, crowd: list, order) -> None:
        shuffled = order.sample(crowd, len(crowd))
        maps = self.draw(name, torch.tensor(crowd)[None])
        torch.testing.assert_close(self.draw(name, torch.tensor(shuffled)[None]), maps, rtol=0, atol=1e-6)

    @given(crowd=crowds)
    @settings(max_examples=25)
    def test_unlabeled_equals_absent(self, name: str, crowd: list) -> None:
        parts = torch.tensor(crowd)[None]
        labeled = torch.ones(parts.shape[:3], dtype=torch.bool)
        labeled[:, -1] = False
        assert torch.equal(self.draw(name, parts, labeled), self.draw(name, parts[:, :-1]))

    @given(crowd=crowds)
    @settings(max_examples=25)
    def test_people_add_up(self, name: str, crowd: list) -> None:
        parts = torch.tensor(crowd)[None]
        alone = self.draw(name, parts.transpose(0, 1))[:, :-1].sum(0).clamp(max=1.0)
        torch.testing.assert_close(self.draw(name, parts)[0, :-1], alone, rtol=0, atol=1e-6)
