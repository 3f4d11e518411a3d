"""Tiles of a channels_last map to spectra, as products with real Fourier matrices on the tensor cores.

A program takes one tile and a block of channels. It first transforms along x, rows of the tile side by side with the
channels, then transposes the block in shared memory and transforms along y. The sums and differences of the four
results, cosines and sines by cosines and sines, are the complex spectrum (`fourier.py`). `spectral_inverse.py` has the
inverse.

    x [(row, channel), t]  .  [t, kx]   ->   [(kx, channel), row]  .  [row, ky]   ->   spectrum [F, tile, 2, channel]

A spectrum is [F, tiles, 2, C']: frequency, tile, real and imaginary part, and channels padded with zeros to a multiple
of 16, so that a frequency's values are a matrix. A weight [O, C, k, k] is transformed as O maps of k x k cells.

Counts of the 9x9 layers @ 184 on tiles of 32, an image: 64 tiles x 128 channels x 2 t^3 = 0.54 G multiplications, 17 MB
read and 17 MB (fp16) written. Bound by memory in every mode but 3xTF32.

Versions
    1  matrix products per tile, spectra through memory; not yet measured on a GPU
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cpm_fast.kernels.direct_conv import dot_precision
from cpm_fast.kernels.fourier import Axis, Tiling, forward_matrices
from cpm_fast.kernels.launch import Launch
from cpm_fast.kernels.spectral_plans import Arithmetic, transform_block

# So that offsets within a tile fit 32 bits.
MAX_TILE_VALUES = 2**30


@triton.jit
def matrix(ptr, i_row, i_column, COLUMNS: tl.constexpr):
    return tl.load(ptr + i_row[:, None] * COLUMNS + i_column[None, :])


@triton.jit
def turned(block, FIRST: tl.constexpr, CHANNELS: tl.constexpr, LAST: tl.constexpr):
    """[(first, channel), last] -> [(last, channel), first]."""
    return block.reshape(FIRST, CHANNELS, LAST).permute(2, 1, 0).reshape(LAST * CHANNELS, FIRST)


@triton.jit(
    do_not_specialize=[
        "tiles", "height", "width", "tiles_down", "tiles_across", "step_y", "step_x", "origin_y", "origin_x",
        "first_y", "first_x", "last_y", "last_x", "half",
    ]
)  # fmt: skip
def spectral_conv_transform_kernel(
    x_ptr, gate_ptr, down_ptr, across_ptr, spectra_ptr, sums_ptr,
    tiles, height, width, channels, padded_channels, tiles_down, tiles_across,
    step_y, step_x, origin_y, origin_x, first_y, first_x, last_y, last_x, half,
    GATE: tl.constexpr, SUMS: tl.constexpr, PRECISION: tl.constexpr, SIDE: tl.constexpr, HALF: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_CELLS: tl.constexpr, BLOCK_WAVES: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """spectra [F, tiles, 2, C'] of cells first to last of the tiles of x [N, h, w, C], packed, where gate > 0 if GATE.

    With SUMS also sums [tiles, C], over the cells of each tile that are outputs.
    """
    wave_blocks: tl.constexpr = HALF // BLOCK_WAVES
    channel_blocks = tl.cdiv(padded_channels, BLOCK_CHANNELS)
    pid = tl.program_id(0)
    # Neighboring programs read the same cells.
    wave = pid % wave_blocks * BLOCK_WAVES
    channel = pid // wave_blocks % channel_blocks * BLOCK_CHANNELS
    tile = (pid // (wave_blocks * channel_blocks)).to(tl.int64)
    image = tile // (tiles_down * tiles_across)
    top = (tile // tiles_across % tiles_down).to(tl.int32) * step_y - origin_y
    left = (tile % tiles_across).to(tl.int32) * step_x - origin_x

    i_row = tl.arange(0, BLOCK_ROWS * BLOCK_CHANNELS) // BLOCK_CHANNELS
    i_channel = channel + tl.arange(0, BLOCK_ROWS * BLOCK_CHANNELS) % BLOCK_CHANNELS
    i_cell = tl.arange(0, BLOCK_CELLS)
    i_ky = tl.arange(0, HALF)
    dtype: tl.constexpr = down_ptr.dtype.element_ty
    # Only the base of a tile needs 64 bits; within the tile 32 are enough.
    o_tile = ((image * height + top) * width + left) * channels
    cc = tl.zeros((BLOCK_WAVES * BLOCK_CHANNELS, HALF), dtype=tl.float32)
    cs = tl.zeros((BLOCK_WAVES * BLOCK_CHANNELS, HALF), dtype=tl.float32)
    sc = tl.zeros((BLOCK_WAVES * BLOCK_CHANNELS, HALF), dtype=tl.float32)
    ss = tl.zeros((BLOCK_WAVES * BLOCK_CHANNELS, HALF), dtype=tl.float32)
    total = tl.zeros((BLOCK_ROWS * BLOCK_CHANNELS,), dtype=tl.float32)
    for start in range(0, SIDE, BLOCK_ROWS):
        row = start + i_row
        m_row = (row >= first_y) & (row < last_y) & (top + row >= 0) & (top + row < height) & (i_channel < channels)
        b_c = tl.zeros((BLOCK_ROWS * BLOCK_CHANNELS, BLOCK_WAVES), dtype=tl.float32)
        b_s = tl.zeros((BLOCK_ROWS * BLOCK_CHANNELS, BLOCK_WAVES), dtype=tl.float32)
        for cell in tl.static_range(0, SIDE, BLOCK_CELLS):
            i_x = cell + i_cell
            m_x = (i_x >= first_x) & (i_x < last_x) & (left + i_x >= 0) & (left + i_x < width)
            m = m_row[:, None] & m_x[None, :]
            o_x = (row * (width * channels) + i_channel)[:, None] + (i_x * channels)[None, :]
            b_x = tl.load(x_ptr + o_tile + o_x, mask=m, other=0.0)
            if GATE:
                # As in PyTorch, NaN in the gate lets the gradient through.
                b_x = tl.where(tl.load(gate_ptr + o_tile + o_x, mask=m, other=0.0) <= 0, 0.0, b_x)
            if SUMS:
                m_out_y = (row >= origin_y) & (row < origin_y + step_y)
                m_out_x = (i_x >= origin_x) & (i_x < origin_x + step_x)
                total += tl.sum(tl.where(m_out_y[:, None] & m_out_x[None, :], b_x.to(tl.float32), 0.0), 1)
            b_x = b_x.to(dtype)
            i_kx = wave + tl.arange(0, BLOCK_WAVES)
            b_c = tl.dot(b_x, matrix(across_ptr, i_x, i_kx, HALF), b_c, input_precision=PRECISION)
            b_s = tl.dot(b_x, matrix(across_ptr + SIDE * HALF, i_x, i_kx, HALF), b_s, input_precision=PRECISION)
        b_c, b_s = b_c.to(dtype), b_s.to(dtype)
        b_c = turned(b_c, BLOCK_ROWS, BLOCK_CHANNELS, BLOCK_WAVES)
        b_s = turned(b_s, BLOCK_ROWS, BLOCK_CHANNELS, BLOCK_WAVES)
        b_down_c = matrix(down_ptr, start + tl.arange(0, BLOCK_ROWS), i_ky, HALF)
        b_down_s = matrix(down_ptr + SIDE * HALF, start + tl.arange(0, BLOCK_ROWS), i_ky, HALF)
        cc = tl.dot(b_c, b_down_c, cc, input_precision=PRECISION)
        sc = tl.dot(b_c, b_down_s, sc, input_precision=PRECISION)
        cs = tl.dot(b_s, b_down_c, cs, input_precision=PRECISION)
        ss = tl.dot(b_s, b_down_s, ss, input_precision=PRECISION)

    i_kx = wave + tl.arange(0, BLOCK_WAVES * BLOCK_CHANNELS) // BLOCK_CHANNELS
    i_channel = channel + tl.arange(0, BLOCK_WAVES * BLOCK_CHANNELS) % BLOCK_CHANNELS
    edge_x, edge_y = (i_kx == 0)[:, None], (i_ky == 0)[None, :]
    m = ((i_kx < half) & (i_channel < padded_channels))[:, None] & (i_ky < half)[None, :]
    # A frequency's values: tiles x 2 x C'.
    size = tiles.to(tl.int64) * 2 * padded_channels
    spectra_ptr += tile * 2 * padded_channels
    o = (i_kx * size + i_channel)[:, None] + (i_ky * half * size)[None, :]
    element: tl.constexpr = spectra_ptr.dtype.element_ty
    tl.store(spectra_ptr + o, tl.where(edge_x | edge_y, cc, cc - ss).to(element), mask=m)
    b_i = tl.where(edge_x, -sc, tl.where(edge_y, -cs, -(sc + cs)))
    tl.store(spectra_ptr + padded_channels + o, b_i.to(element), mask=m)
    spectra_ptr += half * half * size
    tl.store(spectra_ptr + o, tl.where(edge_x, cs, tl.where(edge_y, sc, cc + ss)).to(element), mask=m)
    tl.store(spectra_ptr + padded_channels + o, tl.where(edge_x | edge_y, -ss, sc - cs).to(element), mask=m)
    if SUMS:
        i_channel = channel + tl.arange(0, BLOCK_CHANNELS)
        b_sums = tl.sum(total.reshape(BLOCK_ROWS, BLOCK_CHANNELS), 0)
        tl.store(sums_ptr + tile * channels + i_channel, b_sums, mask=i_channel < tl.where(wave == 0, channels, 0))


def transform_launch(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    sums: torch.Tensor | None,
    tiles: Tiling,
    arithmetic: Arithmetic,
    outputs_only: bool = False,
) -> Launch:
    """Return the launch that writes spectra [F, N tiles, 2, C'] of x [N, C, h, w], packed channels_last, times 1 / t.

    Args:
        x: with elements.
        gate: like x; counts as 0 where this is not above 0.
        spectra: of the arithmetic's type.
        sums: [N tiles, C] float32, the sums of each tile's outputs, for the gradient of a bias.
        tiles: of x.
        arithmetic: see `spectral_plans`.
        outputs_only: of each tile only the cells that are its outputs, and conjugated: what the gradient of a weight
            multiplies with whole tiles of the other map.
    """
    down, across = tiles.down, tiles.across
    first = (down.origin, across.origin) if outputs_only else (0, 0)
    last = (down.origin + down.step, across.origin + across.step) if outputs_only else (tiles.tile, tiles.tile)
    kind, device = arithmetic.transform, x.device
    matrices = [
        forward_matrices(tiles.tile, 0, tiles.tile, scale, outputs_only, kind, device)
        for scale in (1.0, 1 / tiles.tile)
    ]
    return _transform(x, gate, spectra, sums, tiles, matrices, (*first, *last), arithmetic)


def weight_launch(
    weight: torch.Tensor, spectra: torch.Tensor, tile: int, turned: bool, arithmetic: Arithmetic
) -> Launch:
    """Return the launch that writes spectra [F, O, 2, C'] of weight [O, C, k, k], packed channels_last, with elements.

    Args:
        turned: of a convolution, which turns the kernel; otherwise of the correlation that the network computes.
    """
    kernel = weight.shape[-1]
    whole = Tiling(tile, kernel, Axis(1, kernel, 0), Axis(1, kernel, 0))
    kind, device = arithmetic.transform, weight.device
    matrix = forward_matrices(tile, -(kernel // 2), kernel, 1.0, not turned, kind, device)
    return _transform(weight, None, spectra, None, whole, [matrix, matrix], (0, 0, kernel, kernel), arithmetic)


def _transform(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    spectra: torch.Tensor,
    sums: torch.Tensor | None,
    tiles: Tiling,
    matrices: list[torch.Tensor],
    cells: tuple[int, int, int, int],
    arithmetic: Arithmetic,
) -> Launch:
    images, channels, height, width = x.shape
    check_row(tiles.tile, width, channels)
    padded = spectra.shape[-1]
    side, half = matrices[0].shape[1:]
    block = transform_block(side, half, arithmetic)
    down, across = tiles.down, tiles.across
    return Launch(
        kernel=spectral_conv_transform_kernel,
        programs=images * tiles.count * triton.cdiv(padded, block.channels) * (half // block.waves),
        arguments={
            "x_ptr": x, "gate_ptr": x if gate is None else gate,
            "down_ptr": matrices[0], "across_ptr": matrices[1],
            "spectra_ptr": spectra, "sums_ptr": spectra if sums is None else sums,
            "tiles": images * tiles.count, "height": height, "width": width,
            "channels": channels, "padded_channels": padded,
            "tiles_down": down.count, "tiles_across": across.count,
            "step_y": down.step, "step_x": across.step, "origin_y": down.origin, "origin_x": across.origin,
            "first_y": cells[0], "first_x": cells[1], "last_y": cells[2], "last_x": cells[3], "half": tiles.tile // 2,
        },
        constants={
            "GATE": int(gate is not None), "SUMS": int(sums is not None),
            "PRECISION": dot_precision(arithmetic.transform_mode), "SIDE": side, "HALF": half,
            "BLOCK_ROWS": block.rows, "BLOCK_CELLS": block.cells,
            "BLOCK_WAVES": block.waves, "BLOCK_CHANNELS": block.channels,
        },
        warps=block.warps,
        stages=block.stages,
    )  # fmt: skip


def check_row(tile: int, width: int, channels: int) -> None:
    if tile * width * channels > MAX_TILE_VALUES:
        raise ValueError(
            f"t w C must be at most {MAX_TILE_VALUES} for the spectral kernels, got {tile * width * channels}"
        )
