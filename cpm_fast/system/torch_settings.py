"""Settings of PyTorch that hold during a block, and are restored afterward."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch

from cpm_fast.system.fork_lock import fork_lock
from cpm_fast.system.numbers import is_whole

# Models in evaluation mode within blocks of any thread: how many blocks, and the modes of the modules before the first.
_evaluated: WeakKeyDictionary[torch.nn.Module, tuple[int, list[tuple[torch.nn.Module, bool]]]] = WeakKeyDictionary()
_evaluating = fork_lock()


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Hold every module in evaluation mode within the block, then restore each.

    Blocks of several threads may overlap: the last one restores.
    """
    with _evaluating:
        blocks, modes = _evaluated.get(model) or (0, [(module, module.training) for module in model.modules()])
        _evaluated[model] = blocks + 1, modes
        model.eval()
    try:
        yield
    finally:
        with _evaluating:
            blocks, modes = _evaluated.pop(model, (0, []))
            if blocks > 1:
                _evaluated[model] = blocks - 1, modes
            else:
                _restore(modes)


def _restore(modes: list[tuple[torch.nn.Module, bool]]) -> None:
    for module, mode in modes:
        module.training = mode


def _end_blocks() -> None:
    """End the blocks of threads that the child of a fork does not have."""
    for _, modes in list(_evaluated.values()):
        _restore(modes)
    _evaluated.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_blocks)


def tf32(allowed: bool, device: torch.device) -> AbstractContextManager[None]:
    """Set whether convolutions and matrix products of fp32 tensors on CUDA may round their inputs to TF32.

    PyTorch's default allows it in the former. Nothing to do on other devices.
    """
    return _tf32(allowed) if device.type == "cuda" else nullcontext()


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    flags = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        with cudnn.flags(**flags, allow_tf32=allowed):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


# Threads that the caller of this thread asked for; None: as many as PyTorch has.
_asked_threads: ContextVar[int | None] = ContextVar("cpm_fast_threads", default=None)
# More than any machine has; every thread gets memory of its own.
MOST_THREADS = 1024


def check_threads(threads: int | None) -> None:
    """Raise ValueError unless threads is None or a possible number of CPU threads."""
    if threads is None:
        return
    if not is_whole(threads) or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads must be a whole number from 1 to {MOST_THREADS}, got {threads!r}")


def cpu_threads(count: int | None) -> AbstractContextManager[None]:
    """Let our native ops use at most `count` CPU threads in this thread; None changes nothing.

    PyTorch's own number belongs to the whole process and stays as it is.
    """
    return nullcontext() if count is None else _asked(count)


@contextmanager
def _asked(count: int) -> Iterator[None]:
    before = _asked_threads.set(count)
    try:
        yield
    finally:
        _asked_threads.reset(before)


def wanted_threads() -> int:
    """Return the number of CPU threads that this thread's ops should use, before the machine's limits."""
    asked = _asked_threads.get()
    return torch.get_num_threads() if asked is None else asked
