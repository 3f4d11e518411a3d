"""Same-size convolution by overlap-save tiles in the frequency domain, as the fast code does it, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

BLOCK = 16


def unit_frequencies(tile: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The t*t/2 + 2 frequencies (ky, kx) that spectra hold, in their order, two [F] int64.

    Columns kx of 0 and t/2, whose x transforms are real, down to ky = t/2; then whole columns 1 to t/2 - 1.
    """
    half = torch.arange(tile // 2 + 1)
    ky = [half, half, *[torch.arange(tile)] * (tile // 2 - 1)]
    kx = [0, tile // 2, *range(1, tile // 2)]
    return torch.cat(ky), torch.cat([torch.full_like(rows, column) for rows, column in zip(ky, kx, strict=True)])


def transform_weight(weight: torch.Tensor, tile: int, adjoint: bool) -> torch.Tensor:
    """Spectra [F, ceil(O / 16), C, 2, 16] of weight [O, C, k, k] on t x t tiles, times 1 / (2 t^2).

    The kernel is laid about cell 0 of the tile and turned, so that a product of spectra is the network's correlation.
    With adjoint, of the convolution that takes a gradient of its output to one of its input: C and O change places,
    and the kernel is not turned.
    """
    if adjoint:
        weight = weight.transpose(0, 1).flip(2, 3)
    outputs, inputs, kernel, _ = weight.shape
    padded = F.pad(weight.flip(2, 3), (0, tile - kernel, 0, tile - kernel)).roll((-(kernel // 2),) * 2, (2, 3))
    ky, kx = unit_frequencies(tile)
    spectra = torch.fft.fft2(padded)[..., ky, kx] / (2 * tile**2)  # [O, C, F]
    blocks = -(-outputs // BLOCK)
    spectra = F.pad(
        torch.view_as_real(spectra), (0, 0, 0, 0, 0, 0, 0, blocks * BLOCK - outputs)
    )  # [16 blocks, C, F, 2]
    return spectra.reshape(blocks, BLOCK, inputs, -1, 2).permute(3, 0, 2, 4, 1).contiguous()


def spectral_conv(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    kernel: int,
    pool: tuple[int, int] | None = None,
) -> torch.Tensor:
    """x [N, C, h, w] through a convolution whose weight has been transformed, plus bias [O], then ReLU if asked.

    With pool of (side, padding) the maximum of windows two cells apart follows; h and w are even.

    Tiles of t x t cells overlap by k - 1; of the circular convolution of each, the middle t - k + 1 rows and columns
    are outputs.
    """
    images, _, height, width = x.shape
    tile, outputs, radius = round((2 * len(spectra) - 4) ** 0.5), len(bias), kernel // 2
    step = tile - 2 * radius
    down, across = -(-height // step), -(-width // step)
    if images == 0:
        return x.new_empty(0, outputs, *(side // 2 if pool else side for side in (height, width)))
    padded = F.pad(x, (radius, across * step + radius - width, radius, down * step + radius - height))
    tiles = padded.unfold(2, tile, step).unfold(3, tile, step)  # [N, C, down, across, t, t]
    ky, kx = unit_frequencies(tile)
    weight = torch.view_as_complex(spectra.permute(0, 1, 4, 2, 3).flatten(1, 2)[:, :outputs].contiguous())  # [F, O, C]
    products = torch.einsum("ncyxf,foc->noyxf", torch.fft.fft2(tiles)[..., ky, kx], weight)
    half = products.new_zeros(*products.shape[:-1], tile, tile // 2 + 1)
    # Columns 0 and t/2 are Hermitian along y, so their lower rows follow from the upper ones.
    outer = (kx == 0) | (kx == tile // 2)
    half[..., -ky[outer] % tile, kx[outer]] = products[..., outer].conj()
    half[..., ky, kx] = products
    y = torch.fft.irfft2(half, s=(tile, tile)) * (2 * tile**2)
    y = y[..., radius : radius + step, radius : radius + step]  # [N, O, down, across, m, m]
    y = y.transpose(3, 4).reshape(images, outputs, down * step, across * step)[..., :height, :width]
    y = y + bias[:, None, None]
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y


def spectral_weight_gradient(
    gradient: torch.Tensor, x: torch.Tensor, out: torch.Tensor | None, kernel: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients in weight [O, C, k, k] and bias [O], where no gradient comes through ReLU but out is above 0."""
    gradient = gradient if out is None else gradient * (out > 0)
    shape = (gradient.shape[1], x.shape[1], kernel, kernel)
    return conv2d_weight(x, shape, gradient, padding=kernel // 2), gradient.sum((0, 2, 3))
