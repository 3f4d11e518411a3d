"""Registration of ops with PyTorch: implementations by device, and errors in place of missing gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cpm_fast.ops import backend


def register_native(op: str, *, cpu: Callable[..., Any], cuda: Callable[..., Any]) -> None:
    """Register an op that native code computes in float32 on both devices, and that has no gradient.

    Implementations without their native code stay unregistered. Autocast brings 16-bit arguments to float32: half
    precision cannot tell pixels apart beyond 2048. It leaves float64 arguments alone.
    """
    for kind, implementation in (("cpu", cpu), ("cuda", cuda)):
        if backend.native_missing(kind) is None:
            torch.library.impl(f"cpm_fast::{op}", kind.upper(), implementation)
        torch.library.register_autocast(f"cpm_fast::{op}", kind, torch.float32)
    refuse_gradient(op, f"{op} has no gradient")


def refuse_gradient(op: str, message: str) -> None:
    """Register an error in place of an op's gradient."""

    def refuse(ctx: object, *gradients: torch.Tensor) -> None:
        raise RuntimeError(message)

    torch.library.register_autograd(f"cpm_fast::{op}", refuse)


def check_no_gradient(op: str, **tensors: torch.Tensor | None) -> None:
    """Refuse tensors that require a gradient, for an op that has none.

    Under `torch.no_grad` or `torch.inference_mode` nobody asks for one, and any tensor passes.

    Raises:
        RuntimeError: gradients are recorded, and a tensor requires one.
    """
    if not torch.is_grad_enabled():
        return
    for name, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad:
            raise RuntimeError(f"{op} has no gradient: {name} must not require one, pass {name}.detach()")
