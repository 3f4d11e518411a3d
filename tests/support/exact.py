"""Convolution and its gradients in float64, and the error of a result."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Exact(NamedTuple):
    """A result in float64, and the norm that it would have if no terms of a sum cancelled.

    Rounding is relative to the terms. If there are few sums, all may come out near 0 by chance, and ReLU may leave one
    of them: an error relative to that one has no bound.
    """

    value: torch.Tensor
    size: float


def conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> Exact:
    """Compute the convolution of x [N, C, h, w] by weight [O, C, k, k] and bias [O], on their device."""
    inputs = [tensor.detach().double() for tensor in (x, weight, bias)]
    y = _linear(*inputs)
    return Exact(y.relu() if relu else y, _root(_linear(*(tensor.square() for tensor in inputs))))


def conv_gradients(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor | None
) -> tuple[Exact, ...]:
    """Compute dx, dweight and dbias of dy [N, O, h, w], where y > 0 if given: the mask of the tested code itself."""
    gated = dy.double() if y is None else dy.double() * (y > 0)
    inputs = [tensor.detach().double() for tensor in (x, weight, bias)]

    def gradients(gated: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        inputs = [tensor.requires_grad_() for tensor in inputs]
        return torch.autograd.grad(_linear(*inputs), inputs, gated)

    squares = gradients(gated.square(), [tensor.square() for tensor in inputs])
    return tuple(Exact(value, _root(square)) for value, square in zip(gradients(gated, inputs), squares, strict=True))


def relative_error(found: torch.Tensor | None, wanted: Exact | torch.Tensor) -> float:
    """Return ||found - wanted|| over the larger of ||wanted|| and its size; shapes must agree, values be finite."""
    value, size = wanted if isinstance(wanted, Exact) else (wanted.double(), 0.0)
    assert found is not None and found.shape == value.shape and found.isfinite().all()
    if not value.numel():
        return 0.0
    return float((found.detach().double().to(value.device) - value).norm() / max(float(value.norm()), size, 1e-30))


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if not x.shape[1]:  # from no channels PyTorch makes a map without channels
        return bias[:, None, None].expand(len(x), len(bias), *x.shape[2:])
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _root(squares: torch.Tensor) -> float:
    return float(squares.sum().sqrt())
