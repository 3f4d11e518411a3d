"""Settings of PyTorch that hold during a block, and are restored afterward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from cpm_fast.system.numbers import is_whole


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Hold every module in evaluation mode within the block, then restore each."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Set whether convolutions and matrix products of fp32 tensors on CUDA may round their inputs to TF32.

    PyTorch's default allows it in the former. Nothing to do on other devices.
    """
    if device.type != "cuda":
        yield
        return
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


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let our native ops use at most `count` CPU threads in this thread; None changes nothing.

    PyTorch's own number belongs to the whole process and stays as it is.
    """
    if count is None:
        yield
        return
    before = _asked_threads.set(count)
    try:
        yield
    finally:
        _asked_threads.reset(before)


def wanted_threads() -> int:
    """Return the number of CPU threads that this thread's ops should use, before the machine's limits."""
    asked = _asked_threads.get()
    return torch.get_num_threads() if asked is None else asked
