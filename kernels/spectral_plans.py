"""Types, blocks and tiles of the spectral kernels: static tables by arithmetic. Needs neither Triton nor a GPU.

None of these numbers has been measured on a GPU yet; they are the largest blocks that keep all accumulators in
registers, by what the compiler reports (`python benchmarks/studies/spectral_table.py` prints it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cpm_fast.kernels.plans import Tile, generation, measured_block, product_key, width

# Channels of spectra are padded to multiples of this, so that every row can be copied in 16 bytes.
CHANNELS = 16
# Most bytes of spectra of maps, unless one image needs more: larger batches run in parts.
WORKSPACE_BYTES = 1 << 30

# Spectra of 16-bit maps are fp16, whose range suffices for maps, but not for gradients, which keep the exponents of
# their arguments. Spectra of float32 maps are float32 in TF32 too: with 10 bits, results on trained networks were 2 to
# 3 times as far from float64 as direct TF32 (`benchmarks/results/spectra-study.json`; 1.2 times on random numbers),
# since sums over a tile gather in few frequencies, whose rounding nothing averages out.
FORWARD_SPECTRA = {
    "fp16": torch.float16,
    "bf16": torch.float16,
    "tf32": torch.float32,
    "tf32x3": torch.float32,
    "ieee": torch.float32,
}
BACKWARD_SPECTRA = {**FORWARD_SPECTRA, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Arithmetic:
    """The number types of the three steps.

    Args:
        spectra: the type that spectra of maps and weights are stored in.
        product: the type that their products are.
        transform: the type of Fourier matrices and of what they are multiplied with.
        transform_mode, product_mode: of `plans.MODES`, how the tensor cores multiply.
    """

    spectra: torch.dtype
    product: torch.dtype
    transform: torch.dtype
    transform_mode: str
    product_mode: str


def arithmetic(maps: torch.dtype, spectra: torch.dtype, mode: str) -> Arithmetic:
    """Return the types for maps (or weights) of one type and spectra of one type, in a mode of the former.

    float32 maps are transformed with the exactness of float32, and products are stored in float32, for any type of
    spectra; float32 spectra are multiplied in 3xTF32 in place of TF32, which would round them to 10 bits. For 16-bit
    maps, whose own rounding is part of the result, everything is rounded.
    """
    exact = "ieee" if mode == "ieee" else "tf32x3"
    multiplied = {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(spectra, exact)
    if maps == torch.float32:
        return Arithmetic(spectra, torch.float32, torch.float32, exact, multiplied)
    if spectra == torch.float16:
        return Arithmetic(spectra, spectra, torch.float16, "fp16", multiplied)
    return Arithmetic(spectra, spectra, torch.float32, "tf32", multiplied)


def padded_channels(channels: int) -> int:
    return -(-channels // CHANNELS) * CHANNELS


@dataclass(frozen=True)
class Block:
    """The block of one program of a transform.

    Args:
        rows: of a tile, transformed along x at a time; on the way back, rows that are written.
        cells: of a row, at a time; on the way back all.
        waves: frequencies along x; on the way back, how many at a time.
        channels: of the block.
        warps: threads / 32.
        stages: loads in flight.
    """

    rows: int
    cells: int
    waves: int
    channels: int
    warps: int
    stages: int


# By arithmetic and the frequencies of an axis, padded: 16 of tiles up to 32, 32 of larger ones. fp16 matrices are
# multiplied as they are; of float32 each operand is split in two, in registers, so blocks are smaller.
_TRANSFORM = {
    ("fp16", 16): Block(32, 32, 16, 16, 8, 2),
    ("fp16", 32): Block(16, 32, 16, 8, 8, 2),
    ("tf32", 16): Block(16, 32, 16, 16, 8, 2),
    ("tf32", 32): Block(16, 32, 16, 8, 8, 2),
    ("tf32x3", 16): Block(16, 32, 16, 16, 8, 2),
    # With loads in flight, the ReLU's mask spills registers on generation 80.
    ("tf32x3", 32): Block(16, 32, 16, 8, 8, 1),
    ("ieee", 16): Block(16, 32, 16, 8, 8, 2),
    ("ieee", 32): Block(16, 32, 8, 8, 8, 2),
}
_INVERSE = {
    ("fp16", 16): Block(32, 64, 16, 16, 8, 2),
    ("fp16", 32): Block(32, 64, 16, 8, 8, 2),
    ("tf32", 16): Block(32, 64, 16, 16, 8, 2),
    ("tf32", 32): Block(16, 64, 16, 8, 8, 1),
    ("tf32x3", 16): Block(32, 64, 16, 16, 8, 2),
    ("tf32x3", 32): Block(16, 64, 16, 8, 8, 1),
    ("ieee", 16): Block(16, 64, 16, 8, 8, 2),
    ("ieee", 32): Block(16, 64, 16, 8, 8, 2),
}
# Three sums each. Tiles of maps, output channels and, at a time, input channels.
_PRODUCT = {
    (90, "fp16"): (Tile(64, 128, 32, 8, 3), Tile(64, 64, 32, 8, 3)),
    (90, "tf32"): (Tile(64, 64, 32, 8, 3),),
    (90, "tf32x3"): (Tile(64, 64, 16, 8, 3),),
    (90, "ieee"): (Tile(64, 32, 16, 8, 3),),
    (80, "fp16"): (Tile(64, 128, 32, 8, 3), Tile(64, 64, 32, 8, 3)),
    (80, "tf32"): (Tile(64, 32, 32, 8, 3),),
    (80, "tf32x3"): (Tile(64, 32, 16, 8, 3),),
    (80, "ieee"): (Tile(64, 32, 16, 8, 3),),
}
# Tiles of maps at a time; output channels and input channels of the result.
_DWEIGHT = {
    (90, "fp16"): Tile(32, 64, 64, 8, 3),
    (90, "tf32"): Tile(32, 64, 64, 8, 3),
    (90, "tf32x3"): Tile(16, 64, 64, 8, 3),
    (90, "ieee"): Tile(16, 32, 32, 8, 3),
    (80, "fp16"): Tile(32, 64, 64, 8, 3),
    (80, "tf32"): Tile(32, 64, 32, 8, 3),
    (80, "tf32x3"): Tile(16, 64, 32, 8, 3),
    (80, "ieee"): Tile(16, 32, 32, 8, 3),
}


def transform_block(side: int, half: int, kind: Arithmetic) -> Block:
    """Return the forward transform's block, for tiles of `side` cells with `half` frequencies per axis, both padded."""
    block = _TRANSFORM[kind.transform_mode, half]
    return replace(block, rows=min(block.rows, side), cells=min(block.cells, side))


def inverse_block(half: int, down: int, across: int, kind: Arithmetic) -> Block:
    """Return the inverse transform's block, from `half` frequencies per axis to down x across cells, all padded."""
    block = _INVERSE[kind.transform_mode, half]
    return replace(block, rows=min(block.rows, down), cells=across)


def product_tile(tiles: int, out_channels: int, kind: Arithmetic, capability: int) -> Tile:
    """Return the tile of a product, `pixels` being tiles of maps and `depth` input channels at a time.

    Args:
        tiles: of all maps together.
        out_channels: padded.
        kind: of the spectra.
        capability: of the device, 80 or 90 and so on.
    """
    measured = measured_block(product_key(kind.product_mode, tiles, out_channels))
    if measured is not None:
        return measured
    choices = product_tiles(kind, capability)
    return choices[0] if out_channels > choices[-1].out else choices[-1]


def product_tiles(kind: Arithmetic, capability: int) -> tuple[Tile, ...]:
    """Return the tiles that `product_tile` chooses from, largest first."""
    return _PRODUCT[generation(capability), width(kind.product_mode)]


def dweight_tile(kind: Arithmetic, capability: int) -> Tile:
    """Return the tile of dweight, `pixels` being tiles of maps at a time and `depth` input channels of the result."""
    return _DWEIGHT[generation(capability), width(kind.product_mode)]
