"""The oracle: convolutions in float64, forward and backward, from their definition."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _columns(padded: torch.Tensor, kernel: int, row: int) -> torch.Tensor:
    """Return padded [C, h + k - 1, w + k - 1] under one row of the window: [C k, h w]."""
    h = padded.shape[1] - kernel + 1
    return padded[:, row : row + h].unfold(2, kernel, 1).permute(0, 3, 1, 2).flatten(2).flatten(0, 1)


class ExactConvolution(torch.autograd.Function):
    """Same-size k x k convolution of x [N, C, h, w] by weight [O, C, k, k] as k matrix products per image.

    PyTorch's own float64 convolution takes several times as long, and gigabytes for its columns.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        kernel = weight.shape[2]
        padded = F.pad(x, [kernel // 2] * 4)
        y = x.new_zeros(len(x), len(weight), x.shape[2] * x.shape[3])
        for image in range(len(x)):
            for row in range(kernel):
                y[image].addmm_(weight[:, :, row].flatten(1), _columns(padded[image], kernel, row))
        return y.view(len(x), len(weight), *x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        x, weight = ctx.saved_tensors
        dy, kernel = gradients[0].flatten(2), weight.shape[2]
        dweight = torch.zeros_like(weight)
        padded = F.pad(x, [kernel // 2] * 4)
        for image in range(len(x)):
            for row in range(kernel):
                product = dy[image] @ _columns(padded[image], kernel, row).mT  # [O, C k]
                dweight[:, :, row] += product.view(len(weight), -1, kernel)
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
