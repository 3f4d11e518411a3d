"""Fixtures that every test may use, for instance devices and fresh random numbers; commands beside the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from support.beside import Beside, Outcome

# The first call of a compiled or fallback path may take seconds.
settings.register_profile("cpm_fast", deadline=None)
settings.load_profile("cpm_fast")

BESIDE = pytest.StashKey[Beside]()


def _beside(config: pytest.Config) -> Beside:
    if BESIDE not in config.stash:
        config.stash[BESIDE] = Beside()
    return config.stash[BESIDE]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that wait for a command beside the others last."""
    items.sort(key=lambda item: item.get_closest_marker("beside") is not None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the commands of the collected tests; a worker of pytest-xdist, which collects all, starts them later."""
    config = session.config
    if config.option.collectonly or hasattr(config, "workerinput"):
        return
    for item in session.items:
        if item.get_closest_marker("beside"):
            _beside(config).start(item)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop all commands."""
    if BESIDE in session.config.stash:
        session.config.stash[BESIDE].stop()


@pytest.fixture
def beside(request: pytest.FixtureRequest) -> Outcome | None:
    """Wait for the command of this test."""
    return _beside(request.config).start(request.node).result()


@pytest.fixture
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill new memory with NaN (integers: their largest value), which shows in a result that an op does not write."""

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


@pytest.fixture(params=["avx512_bf16", "avx512", "avx2", "portable"])
def simd(request: pytest.FixtureRequest) -> Iterator[str]:
    """Restrict native code to one instruction set."""
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
    """Provide a device with native code, and require the fast backend."""
    from cpm_fast.ops import backend

    missing = backend.native_missing(device)
    if missing is not None:
        pytest.skip(missing)
    with backend.use_backend("fast"):
        yield device


@pytest.fixture
def native_code() -> Iterator[None]:
    """Require native code on the CPU, with the fast backend."""
    from cpm_fast.ops import backend

    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    with backend.use_backend("fast"):
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread of PyTorch: the small networks and maps of tests are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def generator() -> torch.Generator:
    """Provide fresh random numbers; a failure prints the seed, and CPM_FAST_SEED repeats it."""
    seed = int(os.environ.get("CPM_FAST_SEED") or torch.seed() % 2**32)
    print(f"CPM_FAST_SEED={seed}")
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of research data that CPM_FAST_DATA names."""
    folder = os.environ.get("CPM_FAST_DATA")
    if not folder:
        pytest.skip("CPM_FAST_DATA is unset: it names the folder of research data")
    if not Path(folder).is_dir():
        pytest.skip(f"CPM_FAST_DATA is not a folder: {folder}")
    return Path(folder)
