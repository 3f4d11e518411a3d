"""Checks that the tests of `batch_norm` and `conv_norm_pool` share; both ops return y first, then two statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

Op = Callable[..., Any]


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the relative error of a tensor against float64."""
    return float((found.detach().double() - wanted).norm() / wanted.norm().clamp(min=1e-30))


def check_op(op: Op, x: torch.Tensor, weights: Sequence[torch.Tensor], *settings: Any) -> None:
    """Run opcheck with gradients of the weights."""
    torch.library.opcheck(op, (x, *(weight.detach().clone().requires_grad_() for weight in weights), *settings))


def check_compiles(function: Op, *arguments: Any) -> None:
    """Compile an op whole, and compare y."""
    compiled = torch.compile(lambda *given: function(*given)[0] + 1, fullgraph=True)
    found, wanted = compiled(*arguments), function(*arguments)[0] + 1
    assert found.dtype == wanted.dtype and torch.allclose(found, wanted)


def check_refuses_gradients(backward: Op, y: torch.Tensor, *arguments: Any) -> None:
    """Call a backward op, which takes the gradient first, with gradients that do not fit y."""
    with pytest.raises(ValueError, match=rf"dy must be \[{y.shape[0]}, .*\] as y is, got \[{y.shape[0]}, .*, 1\]"):
        backward(torch.ones_like(y[..., :1]), *arguments)
    with pytest.raises(TypeError, match=f"dy must be {y.dtype} as y is, got torch.float64"):
        backward(torch.ones_like(y, dtype=torch.float64), *arguments)
    assert len(backward(torch.ones_like(y), *arguments)) == 3
