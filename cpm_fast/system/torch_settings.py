"""Settings of PyTorch that hold while something of ours runs, and go back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Every module in evaluation mode for a while, then each as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Whether convolutions and matrix products of fp32 tensors on CUDA may round their inputs to TF32.

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


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """PyTorch's CPU threads, as they are if None."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
