"""Tiles of a map and the real Fourier matrices for both directions; needs neither Triton nor a GPU.

On each axis a real tile has t real coefficients, t even: cosines 0 to t/2 - 1, and sines. Sine 0 is always zero, so the
cosine t/2 takes its place. Both axes together give four blocks of t/2 x t/2: cosine or sine down, by cosine or sine
across. Sums and differences of the four are the complex spectrum (`spectral_transform.py`).

                cosines      sines
              +-----------+-----------+
      cosines | cc        | cs        |      frequency (ky, kx):   cc - ss,  -(sc + cs) i
              +-----------+-----------+      frequency (-ky, kx):  cc + ss,    (sc - cs) i
        sines | sc        | ss        |
              +-----------+-----------+
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

# The least side of a matrix of the tensor cores, and so of a block of coefficients or of cells.
LEAST_SIDE = 16


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of a map: `count` of them, `step` cells apart.

    A tile's cell 0 is `origin` cells before the first of the `step` outputs that it gives.
    """

    count: int
    step: int
    origin: int


@dataclass(frozen=True)
class Tiling:
    """Overlapping t x t tiles of a map for a k x k kernel; `tile` must be even and above `kernel`."""

    tile: int
    kernel: int
    down: Axis
    across: Axis

    @property
    def count(self) -> int:
        """Tiles of one image."""
        return self.down.count * self.across.count


def tiling(tile: int, kernel: int, height: int, width: int) -> Tiling:
    """Tile a map: one tile along an axis that fits, whose border wraps around into zeros; else steps of t - k + 1."""
    radius = kernel // 2

    def axis(side: int) -> Axis:
        if side <= tile - radius:
            return Axis(1, side, 0)
        step = tile - 2 * radius
        return Axis(-(-side // step), step, radius)

    return Tiling(tile, kernel, axis(height), axis(width))


def frequencies(tile: int) -> int:
    """Return the complex numbers of a spectrum: t^2 / 2; the first of each half holds two real frequencies."""
    return tile * tile // 2


def block_side(cells: int) -> int:
    """Return the side of the block that holds so many cells or coefficients."""
    return max(LEAST_SIDE, 1 << (cells - 1).bit_length())


# Never freed, 16 KB at most each: captured graphs hold their addresses.
@cache
def forward_matrices(
    tile: int, first: int, count: int, scale: float, reverse: bool, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Cells first to first + count - 1 of a tile to coefficients: [2, cells, t/2], cosines and sines, in blocks.

    Args:
        tile: t.
        first, count: the cells; those before 0 are at the end of the tile.
        scale: of all values.
        reverse: of the tile mirrored about cell 0, which conjugates its spectrum.
        dtype, device: of the result.
    """
    cosines, sines = _waves(tile, first, count, reverse)
    return _blocks(torch.stack([cosines, sines]).mul(scale), dtype, device)


@cache
def inverse_matrices(
    tile: int, first: int, count: int, scale: float, reverse: bool, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Coefficients to cells first to first + count - 1 of a tile: [2, t/2, cells] in blocks; as `forward_matrices`."""
    cosines, sines = _waves(tile, first, count, reverse)
    # Every frequency except 0 and t/2 also represents its conjugate.
    weights = torch.full((tile // 2,), 2.0, dtype=torch.float64)
    weights[0] = 1.0
    return _blocks(torch.stack([cosines, sines]).mul(weights * scale).transpose(1, 2), dtype, device)


def _waves(tile: int, first: int, count: int, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """[count, t/2] float64 each."""
    cells, wave = torch.arange(first, first + count), torch.arange(tile // 2)
    turns = (cells[:, None] * wave) % tile
    angles = turns.double() * (2 * math.pi / tile)
    sines = angles.sin() * (-1 if reverse else 1)
    sines[:, 0] = 1 - 2 * (cells % 2).double()
    return angles.cos(), sines


def _blocks(matrices: torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Pad with zeros to the sides of blocks."""
    _, rows, columns = matrices.shape
    padded = matrices.new_zeros((2, block_side(rows), block_side(columns)))
    padded[:, :rows, :columns] = matrices
    return padded.to(device=device, dtype=dtype)
