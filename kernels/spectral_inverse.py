"""Spectra to tiles of a channels_last map, as products with real Fourier matrices on the tensor cores.

The steps of `spectral_transform.py` run in reverse: along y, a transposition in shared memory, along x. Only output
cells are computed; bias and ReLU are applied here.

    spectrum [F, tile, 2, channel]  ->  [(kx, channel), ky]  .  [ky, row]  ->  [(row, channel), kx]  .  [kx, x]

A gradient of a weight [O, C, k, k] comes back as O maps of k x k cells.

Counts of the 9x9 layers @ 184 on tiles of 32, an image: 0.47 G multiplications, 17 MB (fp16) read and 17 MB written.
Bound by memory in every mode but 3xTF32.

Versions
    1  matrix products per tile, spectra through memory; not yet measured on a GPU
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cpm_fast.kernels.direct_conv import dot_precision
from cpm_fast.kernels.fourier import Axis, Tiling, inverse_matrices
from cpm_fast.kernels.launch import Launch
from cpm_fast.kernels.spectral_plans import Arithmetic, inverse_block
from cpm_fast.kernels.spectral_transform import check_row, matrix, turned


@triton.jit(
    do_not_specialize=[
        "tiles", "height", "width", "tiles_down", "tiles_across", "step_y", "step_x", "half", "relu",
    ]
)  # fmt: skip
def spectral_conv_inverse_kernel(
    spectra_ptr, bias_ptr, down_ptr, across_ptr, y_ptr,
    tiles, height, width, channels, padded_channels, tiles_down, tiles_across, step_y, step_x, half, relu,
    BIAS: tl.constexpr, PRECISION: tl.constexpr, HALF: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_WAVES: tl.constexpr, BLOCK_CHANNELS: tl.constexpr,
):  # fmt: skip
    """y [N, h, w, C], packed, of spectra [F, tiles, 2, C'], plus bias [C] if BIAS; step x step cells of each tile."""
    row_blocks: tl.constexpr = DOWN // BLOCK_ROWS
    channel_blocks = tl.cdiv(channels, BLOCK_CHANNELS)
    pid = tl.program_id(0)
    # Neighboring programs read the same spectra.
    row = pid % row_blocks * BLOCK_ROWS
    channel = pid // row_blocks % channel_blocks * BLOCK_CHANNELS
    tile = (pid // (row_blocks * channel_blocks)).to(tl.int64)
    image = tile // (tiles_down * tiles_across)
    top = (tile // tiles_across % tiles_down).to(tl.int32) * step_y
    left = (tile % tiles_across).to(tl.int32) * step_x

    i_wave = tl.arange(0, BLOCK_WAVES * BLOCK_CHANNELS) // BLOCK_CHANNELS
    i_channel = channel + tl.arange(0, BLOCK_WAVES * BLOCK_CHANNELS) % BLOCK_CHANNELS
    i_ky = tl.arange(0, HALF)
    i_x = tl.arange(0, ACROSS)
    dtype: tl.constexpr = down_ptr.dtype.element_ty
    b_down_c = matrix(down_ptr, i_ky, row + tl.arange(0, BLOCK_ROWS), DOWN)
    b_down_s = matrix(down_ptr + HALF * DOWN, i_ky, row + tl.arange(0, BLOCK_ROWS), DOWN)
    size = tiles.to(tl.int64) * 2 * padded_channels
    spectra_ptr += tile * 2 * padded_channels
    edge_y = (i_ky == 0)[None, :]
    acc = tl.zeros((BLOCK_ROWS * BLOCK_CHANNELS, ACROSS), dtype=tl.float32)
    for start in range(0, HALF, BLOCK_WAVES):
        i_kx = start + i_wave
        edge_x = (i_kx == 0)[:, None]
        m = ((i_kx < half) & (i_channel < channels))[:, None] & (i_ky < half)[None, :]
        p_ptr = spectra_ptr + ((i_kx * size + i_channel)[:, None] + (i_ky * half * size)[None, :])
        q_ptr = p_ptr + half * half * size
        pr = tl.load(p_ptr, mask=m, other=0.0).to(tl.float32)
        pi = tl.load(p_ptr + padded_channels, mask=m, other=0.0).to(tl.float32)
        qr = tl.load(q_ptr, mask=m, other=0.0).to(tl.float32)
        qi = tl.load(q_ptr + padded_channels, mask=m, other=0.0).to(tl.float32)
        cc = tl.where(edge_x | edge_y, pr, 0.5 * (pr + qr)).to(dtype)
        sc = tl.where(edge_x, -pi, tl.where(edge_y, qr, 0.5 * (qi - pi))).to(dtype)
        cs = tl.where(edge_x, qr, tl.where(edge_y, -pi, -0.5 * (pi + qi))).to(dtype)
        ss = tl.where(edge_x | edge_y, -qi, 0.5 * (qr - pr)).to(dtype)
        b_c = tl.dot(cc, b_down_c, input_precision=PRECISION)
        b_c = tl.dot(sc, b_down_s, b_c, input_precision=PRECISION).to(dtype)
        b_s = tl.dot(cs, b_down_c, input_precision=PRECISION)
        b_s = tl.dot(ss, b_down_s, b_s, input_precision=PRECISION).to(dtype)
        b_c = turned(b_c, BLOCK_WAVES, BLOCK_CHANNELS, BLOCK_ROWS)
        b_s = turned(b_s, BLOCK_WAVES, BLOCK_CHANNELS, BLOCK_ROWS)
        i_across = start + tl.arange(0, BLOCK_WAVES)
        acc = tl.dot(b_c, matrix(across_ptr, i_across, i_x, ACROSS), acc, input_precision=PRECISION)
        acc = tl.dot(b_s, matrix(across_ptr + HALF * ACROSS, i_across, i_x, ACROSS), acc, input_precision=PRECISION)

    i_row = row + tl.arange(0, BLOCK_ROWS * BLOCK_CHANNELS) // BLOCK_CHANNELS
    i_channel = channel + tl.arange(0, BLOCK_ROWS * BLOCK_CHANNELS) % BLOCK_CHANNELS
    if BIAS:
        acc += tl.load(bias_ptr + i_channel, mask=i_channel < channels, other=0.0).to(tl.float32)[:, None]
    # This comparison keeps NaN.
    acc = tl.where((relu != 0) & (acc < 0), 0.0, acc)
    m_row = (i_row < step_y) & (top + i_row < height) & (i_channel < channels)
    m = m_row[:, None] & ((i_x < step_x) & (left + i_x < width))[None, :]
    o = (i_row * (width * channels) + i_channel)[:, None] + (i_x * channels)[None, :]
    y_ptr += ((image * height + top) * width + left) * channels
    tl.store(y_ptr + o, acc.to(y_ptr.dtype.element_ty), mask=m)


def inverse_launch(
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    y: torch.Tensor,
    relu: bool,
    tiles: Tiling,
    arithmetic: Arithmetic,
) -> Launch:
    """Return the launch that writes y [N, C, h, w], packed channels_last, of spectra [F, N tiles, 2, C'], times 1 / t.

    Args:
        spectra, bias: bias [C] of any type, or None for none.
        y: with elements.
        relu: whether max(0, .) follows.
        tiles: of y.
        arithmetic: see `spectral_plans`.
    """
    kind, device = arithmetic.transform, y.device
    matrices = [
        inverse_matrices(tiles.tile, axis.origin, axis.step, scale, False, kind, device)
        for axis, scale in ((tiles.down, 1.0), (tiles.across, 1 / tiles.tile))
    ]
    return _inverse(spectra, bias, y, relu, tiles, matrices, arithmetic)


def weight_inverse_launch(spectra: torch.Tensor, dweight: torch.Tensor, tile: int, arithmetic: Arithmetic) -> Launch:
    """Return the launch that writes dweight [O, C, k, k], packed channels_last, of conjugated spectra [F, O, 2, C']."""
    kernel = dweight.shape[-1]
    whole = Tiling(tile, kernel, Axis(1, kernel, 0), Axis(1, kernel, 0))
    kind, device = arithmetic.transform, dweight.device
    matrix = inverse_matrices(tile, -(kernel // 2), kernel, 1.0, True, kind, device)
    return _inverse(spectra, None, dweight, False, whole, [matrix, matrix], arithmetic)


def _inverse(
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    y: torch.Tensor,
    relu: bool,
    tiles: Tiling,
    matrices: list[torch.Tensor],
    arithmetic: Arithmetic,
) -> Launch:
    images, channels, height, width = y.shape
    check_row(tiles.tile, width, channels)
    half, down = matrices[0].shape[1:]
    across = matrices[1].shape[2]
    block = inverse_block(half, down, across, arithmetic)
    return Launch(
        kernel=spectral_conv_inverse_kernel,
        programs=images * tiles.count * triton.cdiv(channels, block.channels) * (down // block.rows),
        arguments={
            "spectra_ptr": spectra, "bias_ptr": spectra if bias is None else bias,
            "down_ptr": matrices[0], "across_ptr": matrices[1], "y_ptr": y,
            "tiles": images * tiles.count, "height": height, "width": width,
            "channels": channels, "padded_channels": spectra.shape[-1],
            "tiles_down": tiles.down.count, "tiles_across": tiles.across.count,
            "step_y": tiles.down.step, "step_x": tiles.across.step, "half": tiles.tile // 2, "relu": int(relu),
        },
        constants={
            "BIAS": int(bias is not None), "PRECISION": dot_precision(arithmetic.transform_mode),
            "HALF": half, "DOWN": down, "ACROSS": across,
            "BLOCK_ROWS": block.rows, "BLOCK_WAVES": block.waves, "BLOCK_CHANNELS": block.channels,
        },
        warps=block.warps,
        stages=block.stages,
    )  # fmt: skip
