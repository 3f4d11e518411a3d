"""Products of spectra: for each frequency a complex matrix product over channels, or over tiles for dweight.

Spectra are [F, rows, 2, C'], so that the values of a frequency are two matrices, real and imaginary parts. Three sums
are kept: real times real, imaginary times imaginary, and the mixed ones; the difference of the first two comes last, so
no operand has to be negated before the tensor cores. Two entries of F hold two real frequencies each (0 and t/2 along
both axes) in place of a complex one: their products are the first two sums themselves, the second with the stored sign
of imaginary parts.

      x [tiles, in, 2] of a frequency  .  weight [out, in, 2]^T   ->   y [tiles, out, 2]           (forward, dx)
      dy [tiles, out, 2]^T  .  conj x [tiles, in, 2]              ->   conj dweight [out, in, 2]   (dweight)

Counts of the 9x9 layers @ 184 on tiles of 32, an image: 512 frequencies x 64 tiles x 128 x 128 x 4 = 2.1 G
multiplications, a twentieth of the direct form's 45; 17 + 17 MB in fp16, and 34 MB of weights a batch. Bound by memory
in 16 bit and tf32, by the tensor cores in 3xTF32.

Versions
    1  pointers and masks, one loop over channels; not yet measured on a GPU
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cpm_fast.kernels.direct_conv import dot_precision
from cpm_fast.kernels.launch import Launch
from cpm_fast.kernels.spectral_plans import Arithmetic, dweight_tile, product_tile


@triton.jit(do_not_specialize=["tiles", "out_channels", "real_pair"])
def spectral_conv_product_kernel(
    x_ptr, weight_ptr, y_ptr,
    tiles, padded_in, out_channels, padded_out, real_pair,
    PRECISION: tl.constexpr, BLOCK_TILES: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """y [F, tiles, 2, O'] of x [F, tiles, 2, C'] and weight [F, O, 2, C']; `real_pair`: F / 2."""
    out_blocks = tl.cdiv(padded_out, BLOCK_OUT)
    tile_blocks = tl.cdiv(tiles, BLOCK_TILES)
    pid = tl.program_id(0)
    # Neighboring programs share their tiles in L2, and those of one frequency share its weights.
    i_out = pid % out_blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    pid = pid // out_blocks
    i_tile = pid % tile_blocks * BLOCK_TILES + tl.arange(0, BLOCK_TILES)
    frequency = (pid // tile_blocks).to(tl.int64)
    m_tile, m_out = i_tile < tiles, i_out < out_channels
    x_ptr += frequency * tiles * 2 * padded_in
    weight_ptr += frequency * out_channels * 2 * padded_in
    y_ptr += frequency * tiles * 2 * padded_out
    o_x = i_tile.to(tl.int64) * 2 * padded_in
    o_weight = i_out * 2 * padded_in
    rr = tl.zeros((BLOCK_TILES, BLOCK_OUT), dtype=tl.float32)
    ii = tl.zeros((BLOCK_TILES, BLOCK_OUT), dtype=tl.float32)
    ri = tl.zeros((BLOCK_TILES, BLOCK_OUT), dtype=tl.float32)
    for start in range(0, padded_in, BLOCK_IN):
        i_in = start + tl.arange(0, BLOCK_IN)
        m_in = i_in < padded_in
        m_x, m_weight = m_tile[:, None] & m_in[None, :], m_in[:, None] & m_out[None, :]
        p_x = x_ptr + (o_x[:, None] + i_in[None, :])
        p_weight = weight_ptr + (o_weight[None, :] + i_in[:, None])
        b_xr = tl.load(p_x, mask=m_x, other=0.0)
        b_xi = tl.load(p_x + padded_in, mask=m_x, other=0.0)
        b_wr = tl.load(p_weight, mask=m_weight, other=0.0)
        b_wi = tl.load(p_weight + padded_in, mask=m_weight, other=0.0)
        rr = tl.dot(b_xr, b_wr, rr, input_precision=PRECISION)
        ii = tl.dot(b_xi, b_wi, ii, input_precision=PRECISION)
        ri = tl.dot(b_xr, b_wi, ri, input_precision=PRECISION)
        ri = tl.dot(b_xi, b_wr, ri, input_precision=PRECISION)
    pair = frequency % real_pair == 0
    m_y = m_tile[:, None] & (i_out < padded_out)[None, :]
    p_y = y_ptr + (i_tile.to(tl.int64)[:, None] * 2 * padded_out + i_out[None, :])
    element: tl.constexpr = y_ptr.dtype.element_ty
    tl.store(p_y, tl.where(pair, rr, rr - ii).to(element), mask=m_y)
    tl.store(p_y + padded_out, tl.where(pair, -ii, ri).to(element), mask=m_y)


@triton.jit(do_not_specialize=["tiles", "out_channels", "real_pair"])
def spectral_conv_dweight_kernel(
    x_ptr, dy_ptr, dweight_ptr,
    tiles, padded_in, out_channels, padded_out, real_pair,
    ADD: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_TILES: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """dweight [F, O, 2, C'] float32 of x [F, tiles, 2, C'] and dy [F, tiles, 2, O']; plus what is there with ADD."""
    out_blocks = tl.cdiv(out_channels, BLOCK_OUT)
    in_blocks = tl.cdiv(padded_in, BLOCK_IN)
    pid = tl.program_id(0)
    i_out = pid % out_blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    pid = pid // out_blocks
    i_in = pid % in_blocks * BLOCK_IN + tl.arange(0, BLOCK_IN)
    frequency = (pid // in_blocks).to(tl.int64)
    m_out, m_in = i_out < out_channels, i_in < padded_in
    x_ptr += frequency * tiles * 2 * padded_in
    dy_ptr += frequency * tiles * 2 * padded_out
    dweight_ptr += frequency * out_channels * 2 * padded_in
    rr = tl.zeros((BLOCK_OUT, BLOCK_IN), dtype=tl.float32)
    ii = tl.zeros((BLOCK_OUT, BLOCK_IN), dtype=tl.float32)
    ri = tl.zeros((BLOCK_OUT, BLOCK_IN), dtype=tl.float32)
    for start in range(0, tiles, BLOCK_TILES):
        i_tile = start + tl.arange(0, BLOCK_TILES)
        m_tile = i_tile < tiles
        m_x, m_dy = m_tile[:, None] & m_in[None, :], m_tile[:, None] & m_out[None, :]
        p_x = x_ptr + (i_tile.to(tl.int64)[:, None] * 2 * padded_in + i_in[None, :])
        p_dy = dy_ptr + (i_tile.to(tl.int64)[:, None] * 2 * padded_out + i_out[None, :])
        b_xr = tl.load(p_x, mask=m_x, other=0.0)
        b_xi = tl.load(p_x + padded_in, mask=m_x, other=0.0)
        b_dr = tl.trans(tl.load(p_dy, mask=m_dy, other=0.0))
        b_di = tl.trans(tl.load(p_dy + padded_out, mask=m_dy, other=0.0))
        rr = tl.dot(b_dr, b_xr, rr, input_precision=PRECISION)
        ii = tl.dot(b_di, b_xi, ii, input_precision=PRECISION)
        ri = tl.dot(b_dr, b_xi, ri, input_precision=PRECISION)
        ri = tl.dot(b_di, b_xr, ri, input_precision=PRECISION)
    pair = frequency % real_pair == 0
    b_r, b_i = tl.where(pair, rr, rr - ii), tl.where(pair, -ii, ri)
    m = m_out[:, None] & m_in[None, :]
    p = dweight_ptr + (i_out[:, None] * 2 * padded_in + i_in[None, :])
    if ADD:
        b_r += tl.load(p, mask=m, other=0.0)
        b_i += tl.load(p + padded_in, mask=m, other=0.0)
    tl.store(p, b_r, mask=m)
    tl.store(p + padded_in, b_i, mask=m)


def product_launch(
    x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, capability: int
) -> Launch:
    """Return the launch that writes y [F, tiles, 2, O'] of x [F, tiles, 2, C'] and weight [F, O, 2, C'] of its type."""
    count, tiles, _, padded_in = x.shape
    out_channels, padded_out = weight.shape[1], y.shape[-1]
    tile = product_tile(tiles, padded_out, arithmetic, capability)
    return Launch(
        kernel=spectral_conv_product_kernel,
        programs=count * triton.cdiv(tiles, tile.pixels) * triton.cdiv(padded_out, tile.out),
        arguments={
            "x_ptr": x,
            "weight_ptr": weight,
            "y_ptr": y,
            "tiles": tiles,
            "padded_in": padded_in,
            "out_channels": out_channels,
            "padded_out": padded_out,
            "real_pair": count // 2,
        },
        constants={
            "PRECISION": dot_precision(arithmetic.product_mode),
            "BLOCK_TILES": tile.pixels,
            "BLOCK_OUT": tile.out,
            "BLOCK_IN": tile.depth,
        },
        warps=tile.warps,
        stages=tile.stages,
    )


def dweight_launch(
    x: torch.Tensor, dy: torch.Tensor, dweight: torch.Tensor, add: bool, arithmetic: Arithmetic, capability: int
) -> Launch:
    """Return the launch that writes the conjugate of dweight [F, O, 2, C'] float32, or adds it to what is there.

    Args:
        x: [F, tiles, 2, C'], conjugated, of the cells that are outputs only.
        dy: [F, tiles, 2, O'], of whole tiles, of the type of x.
    """
    count, tiles, _, padded_in = x.shape
    out_channels = dweight.shape[1]
    tile = dweight_tile(arithmetic, capability)
    return Launch(
        kernel=spectral_conv_dweight_kernel,
        programs=count * triton.cdiv(out_channels, tile.out) * triton.cdiv(padded_in, tile.depth),
        arguments={
            "x_ptr": x,
            "dy_ptr": dy,
            "dweight_ptr": dweight,
            "tiles": tiles,
            "padded_in": padded_in,
            "out_channels": out_channels,
            "padded_out": dy.shape[-1],
            "real_pair": count // 2,
        },
        constants={
            "ADD": int(add),
            "PRECISION": dot_precision(arithmetic.product_mode),
            "BLOCK_TILES": tile.pixels,
            "BLOCK_OUT": tile.out,
            "BLOCK_IN": tile.depth,
        },
        warps=tile.warps,
        stages=tile.stages,
    )
