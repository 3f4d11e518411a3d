"""Same-size convolution by overlap-save tiles in the frequency domain, as the fast code does it, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

from cpm_fast.reference.direct_conv import BLOCK


def transform_weight(weight: torch.Tensor, tile: int, adjoint: bool) -> torch.Tensor:
    """Compute spectra [t/2, ceil(O / 16), C, k, 2, 16] of weight [O, C, k, k] on t x t tiles: of its rows, along x.

    The kernel is laid about cell 0 of the tile and turned, so that a product of spectra is the network's correlation;
    its rows come in the order of cells. With adjoint, of the convolution that takes a gradient of its output to one of
    its input: C and O change places, and the kernel is not turned. All is times 1 / (2 t^2). Columns 0 and t/2, which
    are real, stand first, as real and imaginary part of one.
    """
    if adjoint:
        weight = weight.transpose(0, 1).flip(2, 3)
    outputs, kernel = len(weight), weight.shape[-1]
    padded = F.pad(weight.flip(2, 3), (0, tile - kernel)).roll(-(kernel // 2), 3)
    # FFTs of nothing are refused.
    found = torch.fft.rfft(padded) if padded.numel() else padded[..., : tile // 2 + 1].to(torch.complex64)
    rows = found / (2 * tile**2)  # [O, C, k, t/2 + 1]
    real = torch.complex(rows[..., 0].real, rows[..., -1].real)
    rows = torch.view_as_real(torch.cat((real[..., None], rows[..., 1:-1]), dim=-1))  # [O, C, k, t/2, 2]
    blocks = -(-outputs // BLOCK)
    rows = F.pad(rows, (0,) * 9 + (blocks * BLOCK - outputs,))
    return rows.reshape(blocks, BLOCK, *rows.shape[1:]).permute(4, 0, 2, 3, 5, 1).contiguous()


def whole_spectra(spectra: torch.Tensor) -> torch.Tensor:
    """Return the half spectra [16 blocks, C, t, t/2 + 1] that spectra of rows stand for, times 1 / (2 t^2)."""
    tile, blocks, inputs, kernel = 2 * len(spectra), *spectra.shape[1:4]
    rows = torch.view_as_complex(spectra.permute(1, 5, 2, 3, 0, 4).contiguous())
    rows = rows.reshape(blocks * BLOCK, inputs, kernel, tile // 2)
    first, last = rows[..., :1].real, rows[..., :1].imag
    columns = F.pad(torch.cat((first, rows[..., 1:], last), dim=-1), (0, 0, 0, tile - kernel))
    return torch.fft.fft(columns.roll(-(kernel // 2), 2), dim=2)


def spectral_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Convolve x [N, C, h, w] with a transformed weight, add bias [O], then apply ReLU if `relu`.

    With pool of (side, padding) the maximum of windows two cells apart follows; h and w are even.

    Tiles of t x t cells overlap by k - 1; of the circular convolution of each, the middle t - k + 1 rows and columns
    are outputs.
    """
    images, _, height, width = x.shape
    tile, outputs, radius = 2 * len(spectra), len(bias), kernel // 2
    step = tile - 2 * radius
    down, across = -(-height // step), -(-width // step)
    if images == 0:
        return x.new_empty(0, outputs, *(side // 2 if pool else side for side in (height, width)))
    padded = F.pad(x, (radius, across * step + radius - width, radius, down * step + radius - height))
    tiles = padded.unfold(2, tile, step).unfold(3, tile, step)  # [N, C, down, across, t, t]
    products = torch.einsum("ncyxij,ocij->noyxij", torch.fft.rfft2(tiles), whole_spectra(spectra)[:outputs])
    y = torch.fft.irfft2(products, s=(tile, tile)) * (2 * tile**2)
    y = y[..., radius : radius + step, radius : radius + step]  # [N, O, down, across, m, m]
    y = y.transpose(3, 4).reshape(images, outputs, down * step, across * step)[..., :height, :width]
    y = y + bias[:, None, None]
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y


def spectral_weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, out: torch.Tensor | None, kernel: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients in weight [O, C, k, k] and bias [O], where gradients pass ReLU only if out is above 0."""
    gradient = gradient if out is None else gradient * (out > 0)
    shape = (gradient.shape[1], x.shape[1], kernel, kernel)
    return conv2d_weight(x, shape, gradient, padding=kernel // 2), gradient.sum((0, 2, 3))
