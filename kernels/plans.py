"""The tiles of convolutions: static tables by arithmetic, chosen by shape. Needs neither Triton nor a GPU.

Blocks measured on the chip, if a file has any, take precedence over the tables (`cpm_fast.ops.plans.measured`).
None of these numbers has been measured on a GPU yet. They follow from what the compiler reports (the largest tiles that
keep all accumulators in registers, with Triton 3.6 and 3.9; `python benchmarks/studies/kernel_table.py` prints it) and
from traffic: a program reads (pixels + out) * depth values from L2 for 2 * pixels * out * depth FLOP, so 256 x 128 in
16 bit needs 7 TB/s at 600 TFLOP/s, about the rate of L2 on Hopper. Smaller tiles need more; they fill the chip at small
batches and waste fewer channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODES = ("fp16", "bf16", "tf32", "tf32x3", "ieee")
# Counts of A100 and H200; fixed, so that a generation's chips add in the same order.
MULTIPROCESSORS = {80: 108, 90: 132}
# Rows of k C values up to this long take one block, so that the loop over rows becomes the pipelined one.
SHORT_ROW = 32
# Channels in multiples of this load in copies of 16 bytes: Triton sees of an argument only whether 16 divides it.
ALIGNED_CHANNELS = 16
# Partial sums of dweight or dbias, at most, unless a single set of them needs more.
WORKSPACE_BYTES = 64 << 20


@dataclass(frozen=True)
class Tile:
    """The block of one program.

    Args:
        pixels: forward: pixels of the output block; dweight: pixels added at a time.
        out: output channels of the block.
        depth: forward: values of a kernel row added at a time; dweight: values of a kernel row in the block.
        warps: threads / 32.
        stages: loads in flight.
    """

    pixels: int
    out: int
    depth: int
    warps: int
    stages: int


# The key of a block: "direct" or "product", width of the mode, rows (pixels, or tiles of maps), input channels, output
# channels and k; 0 where the choice does not depend on it.
BlockKey = tuple[str, str, int, int, int, int]
LAUNCHES = ("direct", "product")
_measured: Mapping[BlockKey, Tile] = {}

# Forward and dx, largest first. 3xTF32 splits each operand in two, in registers, so its tiles are smaller; "ieee" has
# no tensor cores to feed. On generation 80 tiles stay below 99 KB of shared memory, all that its smaller chips have.
_FORWARD = {
    (90, "fp16"): (Tile(256, 128, 32, 8, 4), Tile(128, 64, 64, 8, 4), Tile(64, 32, 64, 4, 4)),
    (90, "tf32"): (Tile(128, 128, 32, 8, 4), Tile(128, 64, 32, 8, 4), Tile(64, 32, 32, 4, 4)),
    (90, "tf32x3"): (Tile(128, 128, 32, 8, 3), Tile(128, 64, 32, 8, 3), Tile(64, 32, 32, 4, 3)),
    (90, "ieee"): (Tile(64, 64, 16, 8, 3),),
    (80, "fp16"): (Tile(128, 128, 32, 8, 4), Tile(128, 64, 32, 8, 4), Tile(64, 32, 64, 4, 4)),
    (80, "tf32"): (Tile(128, 128, 32, 8, 3), Tile(128, 64, 32, 8, 4), Tile(64, 32, 32, 4, 4)),
    (80, "tf32x3"): (Tile(64, 64, 32, 8, 3), Tile(64, 32, 32, 8, 3)),
    (80, "ieee"): (Tile(64, 64, 16, 8, 3),),
}
# Rows of one block: conv1 (27 values of 3 channels) and dx of the belief layers (15); loads pass through registers.
_FORWARD_SHORT = {
    "fp16": Tile(128, 64, SHORT_ROW, 8, 2),
    "tf32": Tile(128, 64, SHORT_ROW, 8, 2),
    "tf32x3": Tile(64, 64, SHORT_ROW, 8, 2),
    "ieee": Tile(64, 32, SHORT_ROW, 8, 2),
}
# dweight, for many output channels and for few; 64 are the fewest that Hopper's instruction takes.
_DWEIGHT = {
    (90, "fp16"): (Tile(64, 128, 128, 8, 3), Tile(64, 64, 128, 8, 3)),
    (90, "tf32"): (Tile(32, 128, 128, 8, 3), Tile(32, 64, 128, 8, 3)),
    (90, "tf32x3"): (Tile(32, 64, 128, 8, 2),),
    (90, "ieee"): (Tile(16, 64, 32, 4, 3),),
    (80, "fp16"): (Tile(64, 128, 128, 8, 3), Tile(64, 64, 128, 8, 3)),
    (80, "tf32"): (Tile(32, 128, 128, 8, 3), Tile(32, 64, 128, 8, 3)),
    (80, "tf32x3"): (Tile(32, 64, 64, 8, 2),),
    (80, "ieee"): (Tile(16, 64, 32, 4, 3),),
}
_DWEIGHT_SHORT = {
    "fp16": Tile(64, 128, SHORT_ROW, 8, 3),
    "tf32": Tile(32, 128, SHORT_ROW, 8, 3),
    "tf32x3": Tile(32, 64, SHORT_ROW, 8, 2),
    "ieee": Tile(16, 64, SHORT_ROW, 4, 3),
}


def forward_tile(pixels: int, in_channels: int, out_channels: int, kernel: int, mode: str, capability: int) -> Tile:
    """Return the tile of a convolution's forward pass, and of its dx, which is one with the channels swapped.

    The tile with the least traffic for the busiest multiprocessor: rounds of programs, times pixels + out.

    Args:
        pixels: N h w.
        in_channels, out_channels, kernel: C, O and k.
        mode: one of MODES.
        capability: of the device, 80 or 90 and so on.
    """
    measured = measured_block(direct_key(mode, pixels, in_channels, out_channels, kernel))
    if measured is not None:
        return measured
    if kernel * in_channels <= SHORT_ROW:
        return _FORWARD_SHORT[width(mode)]
    tiles = forward_tiles(mode, capability)
    if in_channels % ALIGNED_CHANNELS:
        # Its loads pass through registers, of which larger tiles have none to spare.
        return tiles[-1]

    def traffic(tile: Tile) -> int:
        programs = -(-pixels // tile.pixels) * -(-out_channels // tile.out)
        return -(-programs // multiprocessors(capability)) * (tile.pixels + tile.out)

    return min(tiles, key=traffic)


def forward_tiles(mode: str, capability: int) -> tuple[Tile, ...]:
    """Return the tiles that `forward_tile` chooses from, largest first."""
    return _FORWARD[generation(capability), width(mode)]


def use_measured_blocks(blocks: Mapping[BlockKey, Tile]) -> Mapping[BlockKey, Tile]:
    """Give these blocks precedence over the tables in every thread, and return the previous ones."""
    global _measured
    before, _measured = _measured, blocks
    return before


def measured_block(key: BlockKey) -> Tile | None:
    return _measured.get(key)


def direct_key(mode: str, pixels: int, in_channels: int, out_channels: int, kernel: int) -> BlockKey:
    """Return the key of a forward pass, or of a dx with the channels swapped; arguments as of `forward_tile`."""
    return ("direct", width(mode), pixels, in_channels, out_channels, kernel)


def product_key(mode: str, tiles: int, out_channels: int) -> BlockKey:
    """Return the key of a product of spectra; arguments as of `spectral_plans.product_tile`."""
    return ("product", width(mode), tiles, 0, out_channels, 0)


def dweight_tile(in_channels: int, out_channels: int, kernel: int, mode: str, capability: int) -> Tile:
    """Return the tile of a convolution's dweight; arguments as of `forward_tile`."""
    if kernel * in_channels <= SHORT_ROW:
        return _DWEIGHT_SHORT[width(mode)]
    tiles = _DWEIGHT[generation(capability), width(mode)]
    return tiles[-1] if out_channels <= tiles[-1].out else tiles[0]


def gate_tile(out_channels: int) -> Tile:
    """Return the tile of the pass that masks dy and adds up dbias: rows of whole cache lines, 8 KB or more."""
    return Tile(32, 128 if out_channels > 32 else 32, 1, 4, 2)


def dweight_splits(tiles: int, pixels: int, tile: Tile, set_bytes: int, capability: int) -> int:
    """Return the number of runs into which the pixels are split; each writes its own partial sums.

    There are two programs per multiprocessor, each with sixteen blocks of pixels or more, so writing is a small part.

    Args:
        tiles: blocks of the result.
        pixels: N h w, at least 1.
        tile: of the plan.
        set_bytes: of one set of partial sums; all together stay within WORKSPACE_BYTES.
        capability: of the device.
    """
    return _splits(2 * multiprocessors(capability), tiles, pixels, 16 * tile.pixels, set_bytes)


def gate_splits(tiles: int, pixels: int, tile: Tile, set_bytes: int, capability: int) -> int:
    """Return the runs of dbias, as `dweight_splits`: four programs per multiprocessor, each with two blocks or more."""
    return _splits(4 * multiprocessors(capability), tiles, pixels, 2 * tile.pixels, set_bytes)


def multiprocessors(capability: int) -> int:
    return MULTIPROCESSORS[generation(capability)]


def _splits(programs: int, tiles: int, pixels: int, least_pixels: int, set_bytes: int) -> int:
    return max(1, min(-(-programs // tiles), pixels // least_pixels, WORKSPACE_BYTES // set_bytes))


def generation(capability: int) -> int:
    """Return 90 for Hopper and large Blackwell chips, else 80; small ones (120) have the shared memory of 80."""
    return 90 if 90 <= capability < 120 else 80


def width(mode: str) -> str:
    """Return the mode's width; bf16 has that of fp16."""
    return "fp16" if mode == "bf16" else mode
