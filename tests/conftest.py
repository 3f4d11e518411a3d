"""Fixtures that every test may use: poisoned memory, devices, one thread, research data, fresh random numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# The first call of a compiled or fallback path may take seconds.
settings.register_profile("cpm_fast", deadline=None)
settings.load_profile("cpm_fast")


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that an op allocates and forgets to write comes out as NaN (integers: their largest value)."""

    def poisoned(allocate):
        def allocate_poisoned(*args, **kwargs):
            tensor = allocate(*args, **kwargs)
            if tensor.is_floating_point() or tensor.is_complex():
                return tensor.fill_(float("nan"))
            return tensor if tensor.dtype == torch.bool else tensor.fill_(torch.iinfo(tensor.dtype).max)

        return allocate_poisoned

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch.Tensor, "new_empty"),
        (torch, "empty_strided"),
        (torch.Tensor, "new_empty_strided"),
    ):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture(params=["avx512", "avx2", "portable"])
def simd(request: pytest.FixtureRequest) -> Iterator[str]:
    """Native code held to one instruction set."""
    from cpm_fast.ops import backend

    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    native = backend.native()
    if request.param not in native.simd_choices().split():
        pytest.skip(f"this machine has no {request.param}")
    before = native.simd()
    native.use_simd(request.param)
    with backend.use_backend("fast"):
        yield request.param
    native.use_simd(before)


@pytest.fixture
def fast(device: str) -> Iterator[str]:
    """A device on which native code is there, with the fast backend demanded."""
    from cpm_fast.ops import backend

    missing = backend.native_missing(device)
    if missing is not None:
        pytest.skip(missing)
    with backend.use_backend("fast"):
        yield device


@pytest.fixture
def native_code() -> Iterator[None]:
    """Native code on the CPU, with the fast backend demanded."""
    from cpm_fast.ops import backend

    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    with backend.use_backend("fast"):
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of PyTorch: networks and maps as small as those of tests are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> torch.Generator:
    """Fresh random numbers each run; the seed is printed with a failure, and CPM_FAST_SEED repeats it."""
    seed = int(os.environ.get("CPM_FAST_SEED") or torch.seed() % 2**32)
    print(f"CPM_FAST_SEED={seed}")
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of research data that CPM_FAST_DATA names."""
    folder = os.environ.get("CPM_FAST_DATA")
    if not folder:
        pytest.skip("CPM_FAST_DATA is unset: it names the folder of research data")
    if not Path(folder).is_dir():
        pytest.skip(f"CPM_FAST_DATA is not a folder: {folder}")
    return Path(folder)
