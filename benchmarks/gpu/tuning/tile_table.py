"""Step: measure blocks, warps and stages of the longest kernels, for the plan of this chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial

import torch

from benchmarks.gpu.tuning import forms
from benchmarks.gpu.tuning.plan_table import INFERENCE, REHEARSED, capability_of, shapes
from benchmarks.gpu.tuning.tried import Call, tried
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from cpm_fast.kernels import plans, spectral_plans
from cpm_fast.kernels.fourier import frequencies, tiling
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import DTYPES, choose_cuda_tile

MODES = ("bf16", "tf32x3")
REHEARSED_CAPABILITY = 90
REHEARSED_TILES = dict(zip(REHEARSED, (16, None), strict=True))


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    """Return the direct form where the plan uses it, else the product of spectra, its longest kernel."""
    need_device(device)
    for shape, tile, mode in kernels(device):
        key = key_of(shape, tile, mode)
        if tile is None:
            yield Case(f"direct {key}", partial(direct, shape, mode, key, device))
        else:
            yield Case(f"product {tile} {shape.inputs} {key}", partial(product, shape, tile, mode, key, device))


def kernels(device: str) -> Iterator[tuple[ConvShape, int | None, str]]:
    """Return the convolutions, each with the tile of its form (None: direct) and the arithmetic."""
    for mode in MODES:
        wanted = [shape for name, batch in INFERENCE[:2] for shape in shapes(name, batch, joined=True)]
        for shape in dict.fromkeys(REHEARSED if device == "cpu" else wanted):
            yield shape, REHEARSED_TILES[shape] if device == "cpu" else choose_cuda_tile(shape, mode), mode


def forms_pixels(shape: ConvShape) -> int:
    return shape.images * shape.size[0] * shape.size[1]


def arithmetic_of(mode: str) -> spectral_plans.Arithmetic:
    return spectral_plans.arithmetic(DTYPES[mode], spectral_plans.FORWARD_SPECTRA[mode], mode)


def key_of(shape: ConvShape, tile: int | None, mode: str) -> plans.BlockKey:
    """Return the key of the direct form, or of the product of spectra on a tile."""
    if tile is None:
        return plans.direct_key(mode, forms_pixels(shape), shape.inputs, shape.outputs, shape.kernel)
    count = shape.images * tiling(tile, shape.kernel, *shape.size).count
    return plans.product_key(arithmetic_of(mode).product_mode, count, spectral_plans.padded_channels(shape.outputs))


def blocks_of(shape: ConvShape, tile: int | None, mode: str, capability: int) -> list[plans.Tile]:
    """Return the blocks to try for the direct form, or for the product of spectra on a tile."""
    if tile is None:
        sizes = (forms_pixels(shape), shape.inputs, shape.outputs, shape.kernel, mode, capability)
        return variants_of(plans.forward_tile(*sizes), plans.forward_tiles(mode, capability))
    key, kind = key_of(shape, tile, mode), arithmetic_of(mode)
    own = spectral_plans.product_tile(key[2], key[4], kind, capability)
    return variants_of(own, spectral_plans.product_tiles(kind, capability))


def variants_of(tile: plans.Tile, others: tuple[plans.Tile, ...]) -> list[plans.Tile]:
    """Return the plan's own block first, then similar ones, then the other blocks of the table."""
    relatives = [
        replace(tile, warps=4 if tile.warps == 8 else 8),
        replace(tile, stages=tile.stages - 1),
        replace(tile, stages=tile.stages + 1),
        replace(tile, pixels=max(32, tile.pixels // 2)),
        replace(tile, depth=2 * tile.depth, stages=max(2, tile.stages - 1)),
    ]
    return list(dict.fromkeys(each for each in (tile, *relatives, *others) if each.stages > 0))


def direct(shape: ConvShape, mode: str, key: plans.BlockKey, device: str) -> Values:
    capability = capability_of(device)
    blocks = blocks_of(shape, None, mode, capability or REHEARSED_CAPABILITY)
    inputs = forms.Inputs.draw(shape, mode, device)

    def make(block: plans.Tile) -> Call:
        return with_block(key, block, forms.forward(inputs, None, mode, capability))

    return {"block": list(key), **chosen(tried({named(each): partial(make, each) for each in blocks}, mode, device))}


def product(shape: ConvShape, tile: int, mode: str, key: plans.BlockKey, device: str) -> Values:
    count, outputs, inputs = key[2], key[4], spectral_plans.padded_channels(shape.inputs)
    capability, kind = capability_of(device), arithmetic_of(mode)
    few = capability is None
    waves = 8 if few else frequencies(tile)
    dtype = torch.float32 if few else kind.spectra
    x, weight = (torch.randn(waves, each, 2, inputs, device=device).to(dtype) for each in (count, outputs))
    blocks = blocks_of(shape, tile, mode, capability or REHEARSED_CAPABILITY)

    def make(block: plans.Tile) -> Call:
        if capability is None:
            return lambda: [torch.einsum("ftci,foci->ftco", x, weight)]
        from cpm_fast.kernels.spectral_product import product_launch

        y = x.new_empty((*x.shape[:3], outputs), dtype=kind.product)

        def launch() -> list[torch.Tensor]:
            product_launch(x, weight, y, kind, capability).run()
            return [y]

        return with_block(key, block, launch)

    return {
        "block": list(key),
        **chosen(tried({named(each): partial(make, each) for each in blocks}, kind.product_mode, device)),
    }


def with_block(key: plans.BlockKey, block: plans.Tile, call: Call) -> Call:
    """Return the call with that block in place of the plan's."""

    def run() -> list[torch.Tensor]:
        before = plans.use_measured_blocks({key: block})
        try:
            return call()
        finally:
            plans.use_measured_blocks(before)

    return run


def named(block: plans.Tile) -> str:
    return " ".join(f"{value}" for value in asdict(block).values())


def chosen(values: Values) -> Values:
    """Return the entry with the fastest block, by its five numbers."""
    times = values["milliseconds"]
    best = min(times, key=times.__getitem__) if times else None
    return {**values, "best": None if best is None else [int(part) for part in best.split()]}
