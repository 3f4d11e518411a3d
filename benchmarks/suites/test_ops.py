"""The ops as pytest-benchmark groups, on the timed cases of tests/support/cases.py: pytest benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from support.cases import (
    CONTEXT_CONV_LARGE,
    GAUSSIAN_TARGETS_TIMED,
    RELATIVE_ERROR,
    RESIZE_MERGE_TIMED,
    ConvCase,
    MergeCase,
    TargetsCase,
)


@pytest.mark.benchmark(group="gaussian_targets")
@pytest.mark.parametrize("case", GAUSSIAN_TARGETS_TIMED, ids=str)
@pytest.mark.parametrize("name", backend.BACKENDS)
def test_gaussian_targets(benchmark: BenchmarkFixture, name: str, case: TargetsCase) -> None:
    if name == "fast" and backend.native_missing("cpu"):
        pytest.skip(str(backend.native_missing("cpu")))
    parts, labeled = case.inputs(torch.Generator().manual_seed(torch.seed() % 2**32))
    with backend.use_backend("reference"):
        wanted = gaussian_targets(parts, labeled, case.size, case.sigma, case.stride)
    with backend.use_backend(name):
        maps = benchmark(gaussian_targets, parts, labeled, case.size, case.sigma, case.stride)
    bound = RELATIVE_ERROR["gaussian_targets", torch.float32]
    assert (maps - wanted).norm() <= 2 * bound * wanted.norm()


@pytest.fixture(params=["reference", "cpu", "cuda"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Provide backend and device; missing ones skip with the reason."""
    if request.param == "reference":
        return "reference", "cpu"
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if backend.native_missing(request.param):
        pytest.skip(str(backend.native_missing(request.param)))
    return "fast", request.param


def run(benchmark: BenchmarkFixture, place: tuple[str, str], op: Callable[..., Any], *arguments: Any) -> Any:
    """Time an op, including a GPU's work, and return its result."""

    def finished() -> Any:
        result = op(*arguments)
        if place[1] == "cuda":
            torch.cuda.synchronize()
        return result

    with backend.use_backend(place[0]):
        return benchmark(finished)


def fresh(case: MergeCase, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return case.inputs(torch.Generator().manual_seed(torch.seed() % 2**32), device)


@pytest.mark.benchmark(group="resize_merge")
@pytest.mark.parametrize("case", RESIZE_MERGE_TIMED, ids=str)
def test_resize_merge(benchmark: BenchmarkFixture, place: tuple[str, str], case: MergeCase) -> None:
    maps, frames = fresh(case, place[1])
    merged = run(benchmark, place, resize_merge, maps, frames, case.size)
    with backend.use_backend("reference"):
        wanted = resize_merge(maps, frames, case.size)
    assert (merged - wanted).norm() <= 2 * RELATIVE_ERROR["resize_merge", torch.float32] * wanted.norm()


@pytest.mark.benchmark(group="peaks")
@pytest.mark.parametrize("case", RESIZE_MERGE_TIMED, ids=str)
def test_peaks(benchmark: BenchmarkFixture, place: tuple[str, str], case: MergeCase) -> None:
    maps = torch.rand(case.images, case.parts, *case.size, device=place[1])
    points, scores = run(benchmark, place, peaks, maps, False)
    index = maps.flatten(2).argmax(-1)
    assert torch.equal(points[..., 1] * case.size[1] + points[..., 0], index.float())
    assert torch.equal(scores, maps.flatten(2).amax(-1))


@pytest.mark.benchmark(group="merge_peaks")
@pytest.mark.parametrize("case", RESIZE_MERGE_TIMED, ids=str)
def test_merge_peaks(benchmark: BenchmarkFixture, place: tuple[str, str], case: MergeCase) -> None:
    maps, frames = fresh(case, place[1])
    found = run(benchmark, place, merge_peaks, maps, frames, case.size, True)
    with backend.use_backend(place[0]):
        wanted = peaks(resize_merge(maps, frames, case.size)[:, :-1], True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


@pytest.mark.benchmark(group="context_conv")
@pytest.mark.parametrize("case", CONTEXT_CONV_LARGE, ids=str)
def test_context_conv(benchmark: BenchmarkFixture, place: tuple[str, str], case: ConvCase) -> None:
    if place[1] == "cuda" and (missing := backend.triton_missing("cuda", torch.cuda.current_device())):
        pytest.skip(missing)
    x, weight, bias = case.inputs(torch.Generator().manual_seed(torch.seed() % 2**32), place[1])
    out = run(benchmark, place, context_conv, x, weight, bias, case.relu)
    with backend.use_backend("reference"):
        wanted = context_conv(x.double(), weight.double(), bias.double(), case.relu)
    # PyTorch's convolutions on CUDA are TF32 by default, and ours follow its setting.
    bound = RELATIVE_ERROR["context_conv", "tf32" if place[1] == "cuda" else torch.float32]
    assert (out - wanted).norm() <= bound * wanted.norm()
