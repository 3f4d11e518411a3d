"""The plan of convolutions on the CPU: direct, by minimal filtering, or spectral with a tile.

The layers of the released network stand in a table, as measured. For others the cost of either form is a sum of counts
times what each took, fitted to 1,725 measurements of 217 layers: those of `cpm6`, `flic`, `vgg` and of `compact` in
several widths and sizes, at batches of 1 to 16, and kernels of 3 to 13 on maps of 12 to 64 cells (bound calls, two
threads, AVX-512). Half of the predictions are within 10 %; the form chosen costs 1.5 % more than the best on average.
Minimal filtering has the cost of its products and of its transformed maps, fitted to 28 layers of 3x3 kernels on two
Zen 5 cores. With weights of bfloat16, products cost half where the processor has products of pairs; 0.51 to 0.57 was
measured for layers of 16 to 96 inputs there. Products of spectra cost 0.6; 0.57 to 0.61 was measured for layers of 48
to 128 inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.spectral.checks import TILES
from cpm_fast.reference.direct_conv import BLOCK
from cpm_fast.reference.winograd_conv import SIDE, STEP

# Milliseconds: a GFLOP of the product, 1e9 multiplications of the y transforms of weights, 1e9 butterflies of those of
# maps, a GB of maps, a call.
PRODUCT, WEIGHTS, BUTTERFLIES, MAPS, CALL = 3.79, 16.9, 27.1, 79.3, 0.011
# Milliseconds of the direct form: a GFLOP, a GB of maps, a call.
DIRECT, DIRECT_MAPS, DIRECT_CALL = 4.42, 8.9, 0.007
# Milliseconds of the form by minimal filtering: a GB of transformed maps. A GFLOP takes as long as in the direct form.
WINOGRAD_MAPS = 38.0
MIN_KERNEL = 3
# The form by minimal filtering stands beside the tiles of the spectral form: its own tiles have 6 cells.
WINOGRAD, WINOGRAD_KERNEL = 6, 3
# The instruction set with products of pairs of bfloat16, and their time compared with products of float32: in the
# direct form and minimal filtering, and of spectra.
PAIR_SIMD, PAIRS, SPECTRAL_PAIRS = "avx512_bf16", 0.5, 0.6

# (kernel, inputs, outputs, map side) -> tile for up to MOST_FEW images, and for more, which larger tiles pay for. One
# image's 11x11 128->128 is 10 % faster on a tile of 36, whose spectra are 100 MB more: 0.1 s of the first call.
MEASURED = {
    (9, 3, 256, 368): (54, 54),
    (9, 128, 128, 184): (54, 54),
    (9, 128, 128, 92): (32, 54),
    (9, 32, 512, 46): (24, 54),
    (5, 128, 32, 46): (20, 48),
    (5, 128, 160, 46): (20, 48),
    (11, 48, 128, 46): (22, 54),
    (11, 128, 128, 46): (22, 54),
}
MOST_FEW = 3


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
        return self.direct_milliseconds_by(1.0)

    def direct_milliseconds_by(self, share: float) -> float:
        """Predict the milliseconds where products take this share of the time of those of float32."""
        cells = self.images * math.prod(self.size)
        products = 2e-9 * cells * self.inputs * _padded(self.outputs) * self.kernel**2
        return DIRECT * share * products + DIRECT_MAPS * 4e-9 * cells * (self.inputs + self.outputs) + DIRECT_CALL

    def spectra_bytes(self, tile: int) -> int:
        return 4 * tile * self.kernel * self.inputs * _padded(self.outputs)

    def winograd_milliseconds(self, share: float) -> float:
        """Predict the milliseconds where products take this share of the time of those of float32."""
        tiles = self.images * math.prod(-(-side // STEP) for side in self.size)
        values = 1e-9 * SIDE**2 * tiles
        products = 2 * values * self.inputs * _padded(self.outputs)
        maps = 4 * values * (_padded(self.inputs) + _padded(self.outputs))
        return DIRECT * share * products + WINOGRAD_MAPS * maps + CALL

    def spectral_milliseconds(self, tile: int, share: float = 1.0) -> float:
        """Predict the milliseconds where products take this share of the time of those of float32."""
        tiles = self.images * math.prod(_tiles(side, self.kernel, tile) for side in self.size)
        channels = _padded(self.inputs) + _padded(self.outputs)
        product = 8e-9 * (tile * tile // 2 + 2) * tiles * self.inputs * _padded(self.outputs)
        butterflies = 1e-9 * tiles * tile**2 * math.log2(tile) * channels
        maps = 4e-9 * self.images * math.prod(self.size) * (self.inputs + self.outputs)
        weights = 1e-9 * (tile * tile // 2 + 2) * self.inputs * _padded(self.outputs) * (self.kernel // 2 + 4)
        return PRODUCT * share * product + WEIGHTS * weights + BUTTERFLIES * butterflies + MAPS * maps + CALL


@lru_cache(maxsize=4096)
def choose_tile(
    shape: ConvShape, most_bytes: int | None = None, direct_share: float = 1.0, spectral_share: float = 1.0
) -> int | None:
    """Return the tile of the fastest spectral form; None: direct is faster.

    Args:
        shape: of the convolution.
        most_bytes: that spectra of float32 may take.
        direct_share: time of the direct form's products, compared with float32.
        spectral_share: likewise of the spectral form's.
    """
    fitting = [tile for tile in fitting_tiles(shape) if most_bytes is None or shape.spectra_bytes(tile) <= most_bytes]
    if not fitting:
        return None
    few, many = MEASURED.get((shape.kernel, shape.inputs, shape.outputs, max(shape.size)), (0, 0))
    measured = few if shape.images <= MOST_FEW else many
    if measured in fitting:
        return measured
    costs = {tile: shape.spectral_milliseconds(tile, spectral_share) for tile in fitting}
    best = min(fitting, key=costs.__getitem__)
    return best if costs[best] < shape.direct_milliseconds_by(direct_share) else None


def fitting_tiles(shape: ConvShape) -> list[int]:
    """Return the tile sizes allowed for this layer."""
    if shape.kernel < MIN_KERNEL or not shape.images * math.prod(shape.size):
        return []
    return [tile for tile in TILES if tile > shape.kernel]


def fitting_forms(shape: ConvShape) -> list[int]:
    """Return the tile sizes allowed for this layer, and WINOGRAD if minimal filtering fits it."""
    return [*([WINOGRAD] if shape.kernel == WINOGRAD_KERNEL and fitting_tiles(shape) else []), *fitting_tiles(shape)]


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _tiles(side: int, kernel: int, tile: int) -> int:
    return 1 if side <= tile - kernel // 2 else -(-side // (tile - kernel + 1))


class CpuPlan:
    """The plan of an engine's convolutions on the CPU; `CudaPlan` has the same methods.

    Args:
        dtype: of weights, float32 or bfloat16.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    @property
    def direct_share(self) -> float:
        """Return the time of the direct form's products, compared with float32."""
        return PAIRS if self.has_pairs else 1.0

    @property
    def spectral_share(self) -> float:
        """Return the time of the spectral form's products, compared with float32."""
        return SPECTRAL_PAIRS if self.has_pairs else 1.0

    @property
    def has_pairs(self) -> bool:
        """Return whether products are those of pairs of bfloat16."""
        return self.dtype == torch.bfloat16 and backend.native().simd() == PAIR_SIMD

    def tile(self, shape: ConvShape, most_bytes: int | None = None) -> int | None:
        floats = None if most_bytes is None else most_bytes * torch.float32.itemsize // self.dtype.itemsize
        tile = choose_tile(shape, floats, self.direct_share, self.spectral_share)
        if WINOGRAD not in fitting_forms(shape):
            return tile
        fits = most_bytes is None or self.spectra_bytes(shape, WINOGRAD) <= most_bytes
        faster = CpuPlan.milliseconds(self, shape, WINOGRAD) < CpuPlan.milliseconds(self, shape, tile)
        return WINOGRAD if fits and faster else tile

    def spectra_bytes(self, shape: ConvShape, tile: int) -> int:
        """Return the bytes of a transformed weight."""
        if tile == WINOGRAD:
            inputs = -(-shape.inputs // 2) * 2 if self.dtype == torch.bfloat16 else shape.inputs
            return SIDE**2 * inputs * _padded(shape.outputs) * self.dtype.itemsize
        return shape.spectra_bytes(tile) * self.dtype.itemsize // torch.float32.itemsize

    def spectra_dtype(self) -> torch.dtype:
        return self.dtype

    def milliseconds(self, shape: ConvShape, tile: int | None) -> float:
        """Return the predicted milliseconds, of the direct form if tile is None."""
        if tile is None:
            return shape.direct_milliseconds_by(self.direct_share)
        if tile == WINOGRAD:
            return shape.winograd_milliseconds(self.direct_share)
        return shape.spectral_milliseconds(tile, self.spectral_share)
