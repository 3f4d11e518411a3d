"""The plan of convolutions on CUDA: direct, or spectral with a tile.

If a file has measurements of a convolution on the chip (`measured.py`), the fastest form in it is taken; no
file comes with the package yet. Otherwise times are predicted for an H200 from counts of bytes and operations: a launch
takes as long as the slowest of memory, L2 and tensor cores. The same predictions choose on other chips, whose ratios of
the three are similar.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from cpm_fast.kernels.fourier import Tiling, block_side, frequencies, tiling
from cpm_fast.kernels.plans import forward_tile, multiprocessors
from cpm_fast.kernels.spectral_plans import FORWARD_SPECTRA, arithmetic, padded_channels
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.measured import measured_plan
from cpm_fast.ops.spectral.checks import TILES

# FLOP/s of an H200 (NVIDIA's data sheet, dense); 3xTF32 takes three products of TF32.
PEAK_FLOPS = {"fp16": 989e12, "bf16": 989e12, "tf32": 495e12, "tf32x3": 165e12, "ieee": 67e12}
# The share of that which Triton's best matrix products reach, and products of the small blocks of a transform.
BEST_SHARE, TRANSFORM_SHARE = 0.7, 0.35
# Copies reach this much of 4.8 TB/s, and plain loads from L2 this much on Hopper, by published measurements.
MEMORY_BYTES_PER_S, L2_BYTES_PER_S = 4.3e12, 7e12
LAUNCH_S = 2e-6
# Types of maps and weights.
DTYPES = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "tf32": torch.float32,
    "tf32x3": torch.float32,
    "ieee": torch.float32,
}
# The chip that the times are of.
CAPABILITY = 90
MIN_KERNEL = 3
# Spectral only where it is clearly faster by the model.
MARGIN = 1.15


@dataclass(frozen=True)
class Step:
    """A launch: its name, and seconds that memory and tensor cores take at least."""

    name: str
    memory: float
    products: float

    @property
    def seconds(self) -> float:
        return max(self.memory, self.products) + LAUNCH_S


def direct_seconds(shape: ConvShape, mode: str) -> float:
    """Predict the seconds of the direct form: the slowest of tensor cores, L2 and memory, in whole rounds."""
    pixels = shape.images * shape.size[0] * shape.size[1]
    flops = 2 * pixels * shape.inputs * shape.outputs * shape.kernel**2
    tile = forward_tile(pixels, shape.inputs, shape.outputs, shape.kernel, mode, CAPABILITY)
    programs = -(-pixels // tile.pixels) * -(-shape.outputs // tile.out)
    rounds = -(-programs // multiprocessors(CAPABILITY)) * multiprocessors(CAPABILITY) / programs
    l2 = flops / 2 * (1 / tile.pixels + 1 / tile.out) * map_bytes(mode) / L2_BYTES_PER_S
    memory = map_bytes(mode) * pixels * (shape.inputs + shape.outputs) / MEMORY_BYTES_PER_S
    return max(memory, rounds * max(l2, flops / (BEST_SHARE * PEAK_FLOPS[mode]))) + LAUNCH_S


def spectral_steps(shape: ConvShape, tile: int, mode: str, training: bool) -> list[Step]:
    """Return the launches of the spectral form, forward; with `training` the transform of the weight too."""
    kind = arithmetic(DTYPES[mode], FORWARD_SPECTRA[mode], mode)
    tiles = tiling(tile, shape.kernel, *shape.size)
    count = shape.images * tiles.count
    inputs, outputs = padded_channels(shape.inputs), padded_channels(shape.outputs)
    maps = map_bytes(mode) * shape.images * shape.size[0] * shape.size[1]
    complex_bytes = 2 * kind.spectra.itemsize * frequencies(tile)
    product_bytes = 2 * kind.product.itemsize * frequencies(tile) * count * outputs
    weights = complex_bytes * shape.outputs * inputs
    steps = []
    if training:
        cells = Tiling(tile, shape.kernel, tiles.down, tiles.across)
        memory = (weights + map_bytes(mode) * shape.outputs * shape.inputs * shape.kernel**2) / MEMORY_BYTES_PER_S
        steps.append(Step("transform weight", memory, _transform(shape.outputs * inputs, shape.kernel, cells, mode)))
    steps.append(
        Step(
            "transform",
            (maps * shape.inputs + complex_bytes * count * inputs) / MEMORY_BYTES_PER_S,
            _transform(count * inputs, tile, tiles, mode),
        )
    )
    flops = 8 * frequencies(tile) * count * shape.outputs * inputs
    bytes_moved = complex_bytes * count * inputs + product_bytes + weights
    rate = BEST_SHARE * PEAK_FLOPS[kind.product_mode]
    steps.append(Step("product", bytes_moved / MEMORY_BYTES_PER_S, flops / rate))
    memory = (product_bytes + maps * shape.outputs) / MEMORY_BYTES_PER_S
    rows = max(tiles.down.step, tiles.across.step)
    steps.append(Step("inverse", memory, _transform(count * shape.outputs, rows, tiles, mode)))
    return steps


def spectral_seconds(shape: ConvShape, tile: int, mode: str, training: bool) -> float:
    """Predict the seconds of the spectral form with a tile, as `spectral_steps`."""
    return sum(step.seconds for step in spectral_steps(shape, tile, mode, training))


def spectra_bytes(shape: ConvShape, tile: int, mode: str) -> int:
    """Return the bytes of the weight's spectra."""
    return 2 * FORWARD_SPECTRA[mode].itemsize * frequencies(tile) * shape.outputs * padded_channels(shape.inputs)


def choose_cuda_tile(shape: ConvShape, mode: str, training: bool = False, most_bytes: int | None = None) -> int | None:
    """Return the tile of the fastest spectral form as measured, or by the model; None: direct is faster.

    Args:
        shape: of the convolution.
        mode: one of `plans.MODES`.
        training: whether the weight is transformed at every call.
        most_bytes: that spectra of the weight may take.

    Raises:
        ValueError: the file of measurements is damaged; names it.
    """
    measured = {
        tile: milliseconds
        for tile, milliseconds in measured_plan().milliseconds(shape, mode, training).items()
        if tile is None or most_bytes is None or spectra_bytes(shape, tile, mode) <= most_bytes
    }
    if measured:
        return min(measured, key=measured.__getitem__)
    return predicted_tile(shape, mode, training, most_bytes)


@lru_cache(maxsize=4096)
def predicted_tile(shape: ConvShape, mode: str, training: bool, most_bytes: int | None) -> int | None:
    """Return the tile as `choose_cuda_tile` does, but by the model alone."""
    height, width = shape.size
    if shape.kernel < MIN_KERNEL or not shape.images * height * width * shape.inputs * shape.outputs:
        return None
    fitting = [
        tile
        for tile in TILES
        if tile > shape.kernel and (most_bytes is None or spectra_bytes(shape, tile, mode) <= most_bytes)
    ]
    if not fitting:
        return None
    best = min(fitting, key=lambda tile: spectral_seconds(shape, tile, mode, training))
    return best if MARGIN * spectral_seconds(shape, best, mode, training) < direct_seconds(shape, mode) else None


def prediction_source() -> str:
    """Return the origin of a plan's milliseconds, in words."""
    plan = measured_plan()
    counts = "for an H200, from counts; not measured"
    return f"as measured on {plan.chip}, {plan.origin}; what is not in it {counts}" if plan.origin else counts


def map_bytes(mode: str) -> int:
    """Return the bytes of one value of a map."""
    return DTYPES[mode].itemsize


def _transform(tiles: int, rows: int, tiling: Tiling, mode: str) -> float:
    """Return the tensor cores' seconds for `tiles` tiles of one channel, of which `rows` rows are not zero."""
    half, side = block_side(tiling.tile // 2), block_side(rows)
    # Along x to t coefficients, and along y four products of half of them.
    products = side * side * 2 * half + side * 4 * half * half
    kind = arithmetic(DTYPES[mode], FORWARD_SPECTRA[mode], mode)
    return 2 * tiles * products / (TRANSFORM_SHARE * PEAK_FLOPS[kind.transform_mode])


@dataclass(frozen=True)
class CudaPlan:
    """The plan of an engine's convolutions on CUDA in a mode, with weights transformed beforehand."""

    mode: str

    def tile(self, shape: ConvShape, most_bytes: int | None = None) -> int | None:
        return choose_cuda_tile(shape, self.mode, False, most_bytes)

    def spectra_bytes(self, shape: ConvShape, tile: int) -> int:
        return spectra_bytes(shape, tile, self.mode)

    def spectra_dtype(self) -> torch.dtype:
        return FORWARD_SPECTRA[self.mode]

    def milliseconds(self, shape: ConvShape, tile: int | None) -> float:
        """Return the milliseconds, measured or predicted for an H200; of the direct form if tile is None."""
        measured = measured_plan().milliseconds(shape, self.mode, training=False)
        if tile in measured:
            return measured[tile]
        seconds = direct_seconds(shape, self.mode) if tile is None else spectral_seconds(shape, tile, self.mode, False)
        return 1e3 * seconds
