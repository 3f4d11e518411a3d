"""The simplest peer: overlap-save convolution in about twenty lines of torch.fft."""

from __future__ import annotations

from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness.timing import seconds_a_call
from cpm_fast.model.layers import Layer

# Tile sides that are fast to transform; one tile of 60 holds a 46 x 46 map.
TILES = (24, 32, 54, 60)
# Below it the direct convolution is faster on every tile.
SMALLEST_KERNEL = 5


def spectra(weight: torch.Tensor, tile: int) -> torch.Tensor:
    """Transform weight [O, C, k, k] to complex [F, C, O], conjugated, since the network computes a correlation."""
    return torch.fft.rfft2(weight, s=(tile, tile)).conj().flatten(2).permute(2, 1, 0).contiguous()


def fourier_conv(x: torch.Tensor, filters: torch.Tensor, kernel: int, tile: int) -> torch.Tensor:
    """Convolve x [N, C, h, w] at the same size with filters [F, C, O], by tiles that keep m = tile - k + 1 cells."""
    (n, _, h, w), m = x.shape, tile - kernel + 1
    down, across = -(-h // m), -(-w // m)
    before = kernel // 2
    padded = F.pad(x, [before, across * m + kernel - 1 - before - w, before, down * m + kernel - 1 - before - h])
    tiles = padded.unfold(2, tile, m).unfold(3, tile, m)  # [N, C, down, across, t, t]
    signal = torch.fft.rfft2(tiles).flatten(4).permute(4, 0, 2, 3, 1).flatten(1, 3)  # [F, N down across, C]
    mixed = (signal @ filters).view(-1, n, down, across, filters.shape[2])
    spectrum = mixed.permute(1, 4, 2, 3, 0).unflatten(4, (tile, tile // 2 + 1))
    y = torch.fft.irfft2(spectrum, s=(tile, tile))[..., :m, :m]  # [N, O, down, across, m, m]
    return y.permute(0, 1, 2, 4, 3, 5).reshape(n, -1, down * m, across * m)[:, :, :h, :w]


@lru_cache(maxsize=64)
@torch.no_grad()
def fastest_tile(layer: Layer, batch: int) -> tuple[int, bool]:
    """Return the fastest tile for a layer's shape, and whether it beats PyTorch's own convolution."""
    x = torch.randn(batch, layer.in_channels, *layer.size)
    weight = torch.randn(layer.channels, layer.in_channels, layer.kernel, layer.kernel)
    times = {}
    for tile in TILES:
        filters = spectra(weight, tile)
        times[tile] = seconds_a_call(partial(fourier_conv, x, filters, layer.kernel, tile), 1, "cpu")
    tile = min(times, key=lambda side: times[side])
    direct = seconds_a_call(lambda: F.conv2d(x, weight, padding=layer.kernel // 2), 1, "cpu")
    return tile, times[tile] < direct


class FourierConv(nn.Module):
    """A convolution layer on tiles of one side; when its weights stay the same, their spectra are computed once."""

    def __init__(self, conv: nn.Conv2d, tile: int, training: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.kernel, self.tile = conv.weight, conv.bias, conv.kernel_size[0], tile
        self.filters = None if training else spectra(self.weight.detach(), tile)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        filters = spectra(self.weight, self.tile) if self.filters is None else self.filters
        assert self.bias is not None
        return fourier_conv(x, filters, self.kernel, self.tile) + self.bias[:, None, None]
