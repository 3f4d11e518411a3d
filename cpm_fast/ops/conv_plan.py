"""Which algorithm a convolution takes on the CPU: direct, or spectral on which tile.

The cost of the spectral form is a sum of four counts times what each took, fitted to measurements (2 threads, AVX-512,
all layers of `cpm6` and `compact`, batches of 1, 8 and 16). The constants matter through their ratios only, so they
choose well on other machines too; `Engine(tune=True)` measures instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from cpm_fast.ops.spectral_conv import BLOCK, TILES

# Milliseconds: a GFLOP of the product, a GB of weight spectra, 1e9 butterflies of the transforms, a GB of maps.
PRODUCT, WEIGHTS, TRANSFORMS, MAPS = 5.5, 13.7, 22.3, 263.0
# Milliseconds a GFLOP of PyTorch's direct convolution.
DIRECT = 5.2
# Below this kernel PyTorch's own convolution is as fast or faster.
MIN_KERNEL = 5
# Spectral only where it is clearly faster by the model, which errs by up to 30 %.
MARGIN = 1.3


@dataclass(frozen=True)
class ConvShape:
    """A same-size convolution of N images: C to O channels, k x k, on h x w cells."""

    images: int
    inputs: int
    outputs: int
    kernel: int
    size: tuple[int, int]

    @property
    def direct_milliseconds(self) -> float:
        height, width = self.size
        return DIRECT * 2e-9 * self.images * self.inputs * self.outputs * self.kernel**2 * height * width

    def spectra_bytes(self, tile: int) -> int:
        return 8 * (tile * tile // 2 + 2) * self.inputs * _padded(self.outputs)

    def spectral_milliseconds(self, tile: int) -> float:
        tiles = self.images * math.prod(_tiles(side, self.kernel, tile) for side in self.size)
        channels = _padded(self.inputs) + _padded(self.outputs)
        product = 8e-9 * (tile * tile // 2 + 2) * tiles * self.inputs * _padded(self.outputs)
        butterflies = 1e-9 * tiles * tile**2 * math.log2(tile) * channels
        maps = 4e-9 * self.images * math.prod(self.size) * (self.inputs + self.outputs)
        return PRODUCT * product + WEIGHTS * 1e-9 * self.spectra_bytes(tile) + TRANSFORMS * butterflies + MAPS * maps


@lru_cache(maxsize=4096)
def choose_tile(shape: ConvShape, most_bytes: int | None = None) -> int | None:
    """The tile of the fastest spectral form whose spectra take at most so many bytes; None: direct is faster."""
    if shape.kernel < MIN_KERNEL or not shape.images * math.prod(shape.size):
        return None
    fitting = [
        tile
        for tile in TILES
        if tile > shape.kernel and (most_bytes is None or shape.spectra_bytes(tile) <= most_bytes)
    ]
    if not fitting:
        return None
    best = min(fitting, key=shape.spectral_milliseconds)
    return best if MARGIN * shape.spectral_milliseconds(best) < shape.direct_milliseconds else None


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _tiles(side: int, kernel: int, tile: int) -> int:
    return 1 if side <= tile - kernel // 2 else -(-side // (tile - kernel + 1))
