"""What is right: convolutions in float64, forward and backward, from their definition."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _shifted(x: torch.Tensor, kernel: int, row: int, column: int) -> torch.Tensor:
    """x [N, C, h + k - 1, w + k - 1] at one offset of the window: [N, C, h w]."""
    h, w = x.shape[2] - kernel + 1, x.shape[3] - kernel + 1
    return x[:, :, row : row + h, column : column + w].flatten(2)


class ExactConvolution(torch.autograd.Function):
    """Same-size k x k convolution of x [N, C, h, w] by weight [O, C, k, k] as k^2 matrix products.

    PyTorch's own float64 convolution takes four times as long, and gigabytes for its columns.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        kernel = weight.shape[2]
        padded = F.pad(x, [kernel // 2] * 4)
        y = x.new_zeros(len(x), len(weight), x.shape[2] * x.shape[3])
        for row in range(kernel):
            for column in range(kernel):
                filters = weight[:, :, row, column].expand(len(x), -1, -1)
                y.baddbmm_(filters, _shifted(padded, kernel, row, column))
        return y.view(len(x), len(weight), *x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        x, weight = ctx.saved_tensors
        dy, kernel = gradients[0].flatten(2), weight.shape[2]
        dweight = torch.empty_like(weight)
        padded = F.pad(x, [kernel // 2] * 4)
        for row in range(kernel):
            for column in range(kernel):
                dweight[:, :, row, column] = (dy @ _shifted(padded, kernel, row, column).mT).sum(0)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = ExactConvolution.apply(gradients[0], weight.flip(2, 3).transpose(0, 1))
        return dx, dweight


class ExactConv(nn.Module):
    """A convolution layer in float64."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().double())
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.detach().double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = ExactConvolution.apply(x, self.weight)
        return y + self.bias[:, None, None]
