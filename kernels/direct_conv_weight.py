"""dweight and dbias of the direct form, by sums whose order depends only on the sizes.

dweight [O, k, k, C] is, for one row of the kernel, the product of dy^T [O, pixels] and the pixels' rows x[pixel, :] of
k C consecutive values (see `direct_conv.py`). There are few results and many pixels to add, so the pixels are split
into runs; each writes partial float32 sums, which a second pass adds in order. There are no atomics, so equal input
gives equal bits.

            pixels of a run                  depth of a row (k C)
         +-----------------+              +---------------------+
     out |      dy^T       |  times pixel | x[pixel + kh - p, :]|  ->  partial[run] [out, kh, depth]
         +-----------------+              +---------------------+

The ReLU's mask is applied once, by the pass over dy that adds up dbias. If it were applied on load, dy would come from
L2 together with y for every row of the kernel and every block of channels: half as many bytes again where L2 is the
bound, to save a pass over dy that takes 4 % of the time of dx and dweight (both predicted, over the 6-stage network).

Counts: as many FLOP as the forward pass; workspace at most 64 MiB, or one float32 copy of the weight if that is more.
Predicted on an H200: a third of peak in 16 bit, bound by L2; 1.0 ms per image for the 6-stage network at batch 32. tf32
operands need their pixels side by side, which they are not in memory, so one passes through registers: less than that.

Versions
    1  pointers and masks, pixels in one loop with carried (x, y), no division in it; not yet measured on a GPU
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cpm_fast.kernels.direct_conv import check_sizes, dot_precision
from cpm_fast.kernels.launch import Launch
from cpm_fast.kernels.plans import dweight_splits, dweight_tile, gate_splits, gate_tile

# Sums that one program of the second pass makes.
SUM_BLOCK = 128


@triton.jit(do_not_specialize=["pixels", "height", "width", "kernel", "run_pixels"])
def context_conv_dweight_kernel(
    x_ptr, dy_ptr, partial_ptr,
    pixels, height, width, in_channels, out_channels, kernel, run_pixels,
    PRECISION: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_ROW: tl.constexpr,
):  # fmt: skip
    """partial [runs, O, k, k, C] from x [pixels, C] and dy [pixels, O], all packed."""
    pad = kernel // 2
    row = kernel * in_channels
    out_blocks = tl.cdiv(out_channels, BLOCK_OUT)
    row_blocks = tl.cdiv(row, BLOCK_ROW)
    pid = tl.program_id(0)
    # Neighboring programs share their pixels in L2.
    i_out = (pid % out_blocks) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    pid = pid // out_blocks
    i_row = (pid % row_blocks) * BLOCK_ROW + tl.arange(0, BLOCK_ROW)
    pid = pid // row_blocks
    kh = pid % kernel
    i_run = (pid // kernel).to(tl.int64)
    m_out = i_out < out_channels
    m_row = i_row < row

    begin = i_run * run_pixels
    end = tl.minimum(begin + run_pixels, pixels)
    i_local = tl.arange(0, BLOCK_PIXELS)
    i_x = ((begin + i_local) % width).to(tl.int32)
    i_y = ((begin + i_local) // width % height).to(tl.int32)
    step_x = BLOCK_PIXELS % width
    step_y = BLOCK_PIXELS // width % height
    # Only the base of a block needs 64 bits; within the block 32 are enough.
    o_x = i_local * in_channels
    o_dy = i_local * out_channels
    x_ptr += ((kh - pad) * width.to(tl.int64) - pad) * in_channels
    acc = tl.zeros((BLOCK_OUT, BLOCK_ROW), dtype=tl.float32)
    for start in range(begin, end, BLOCK_PIXELS):
        m_pixel = start + i_local < end
        i_from = i_y + kh - pad
        inside = m_pixel & (i_from >= 0) & (i_from < height)
        # See the forward kernel: values of the row within the picture, multiples of 16 as the compiler sees it.
        first = (pad - i_x) * in_channels
        last = (pad - i_x + tl.where(inside, width, 0)) * in_channels
        m_x = (i_row[None, :] >= first[:, None]) & (i_row[None, :] < last[:, None]) & m_row[None, :]
        b_x = tl.load(x_ptr + start * in_channels + (o_x[:, None] + i_row[None, :]), mask=m_x, other=0.0)
        m_dy = m_pixel[:, None] & m_out[None, :]
        b_dy = tl.load(dy_ptr + start * out_channels + (o_dy[:, None] + i_out[None, :]), mask=m_dy, other=0.0)
        acc = tl.dot(tl.trans(b_dy), b_x, acc, input_precision=PRECISION)
        # (x, y) of the next block; both steps are below their size, so each carries at most once.
        i_x += step_x
        carry = i_x >= width
        i_x = tl.where(carry, i_x - width, i_x)
        i_y += step_y + carry.to(tl.int32)
        i_y = tl.where(i_y >= height, i_y - height, i_y)
    o_partial = ((i_run * out_channels + i_out)[:, None] * kernel + kh) * row + i_row[None, :]
    tl.store(partial_ptr + o_partial, acc, mask=m_out[:, None] & m_row[None, :])


@triton.jit(do_not_specialize=["pixels", "run_pixels"])
def context_conv_gate_kernel(
    dy_ptr, y_ptr, gated_ptr, partial_ptr,
    pixels, out_channels, run_pixels,
    RELU: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_OUT: tl.constexpr,
):  # fmt: skip
    """partial [runs, O], the sums of dy [pixels, O] where y > 0, which is also written to gated; or of all of dy."""
    out_blocks = tl.cdiv(out_channels, BLOCK_OUT)
    pid = tl.program_id(0)
    i_out = (pid % out_blocks) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    i_run = (pid // out_blocks).to(tl.int64)
    m_out = i_out < out_channels
    begin = i_run * run_pixels
    end = tl.minimum(begin + run_pixels, pixels)
    acc = tl.zeros((BLOCK_PIXELS, BLOCK_OUT), dtype=tl.float32)
    for start in range(begin, end, BLOCK_PIXELS):
        i_pixel = start + tl.arange(0, BLOCK_PIXELS)
        m_dy = (i_pixel < end)[:, None] & m_out[None, :]
        o_dy = i_pixel[:, None] * out_channels + i_out[None, :]
        b_dy = tl.load(dy_ptr + o_dy, mask=m_dy, other=0.0)
        if RELU:
            b_y = tl.load(y_ptr + o_dy, mask=m_dy, other=0.0)
            # As in PyTorch, NaN in y lets the gradient through.
            b_dy = tl.where(b_y <= 0, 0.0, b_dy)
            tl.store(gated_ptr + o_dy, b_dy, mask=m_dy)
        acc += b_dy.to(tl.float32)
    tl.store(partial_ptr + i_run * out_channels + i_out, tl.sum(acc, 0), mask=m_out)


@triton.jit(do_not_specialize=["runs", "count"])
def context_conv_sum_kernel(partial_ptr, sum_ptr, runs, count, BLOCK_RUNS: tl.constexpr, BLOCK: tl.constexpr):
    """sum [count] of partial [runs, count], in an order that the sizes alone decide."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK_RUNS, BLOCK), dtype=tl.float32)
    for start in range(0, runs, BLOCK_RUNS):
        i_run = start + tl.arange(0, BLOCK_RUNS)
        m = (i_run < runs)[:, None] & (i < count)[None, :]
        acc += tl.load(partial_ptr + (i_run[:, None] * count.to(tl.int64) + i[None, :]), mask=m, other=0.0)
    tl.store(sum_ptr + i, tl.sum(acc, 0).to(sum_ptr.dtype.element_ty), mask=i < count)


def dweight_launches(
    x: torch.Tensor, dy: torch.Tensor, dweight: torch.Tensor, mode: str, capability: int
) -> tuple[Launch, Launch]:
    """Return the two passes that write dweight [O, C, k, k] from x [N, C, h, w] and dy [N, O, h, w], gated if need be.

    Allocates the workspace on x's device. All are packed channels_last and of one dtype, none without elements.

    Args:
        x, dy, dweight: as above.
        mode: one of `plans.MODES`, that of the dtype; float32 has three.
        capability: of the device, 80 or 90 and so on.

    Raises:
        ValueError: a row of the picture or a kernel has too many values.
    """
    images, in_channels, height, width = x.shape
    out_channels, _, kernel, _ = dweight.shape
    check_sizes(width, kernel, in_channels, out_channels)
    pixels = images * height * width
    tile = dweight_tile(in_channels, out_channels, kernel, mode, capability)
    tiles = triton.cdiv(out_channels, tile.out) * triton.cdiv(kernel * in_channels, tile.depth) * kernel
    runs, run_pixels = _runs(pixels, tile.pixels, dweight_splits(tiles, pixels, tile, dweight.numel() * 4, capability))
    partial = torch.empty((runs, dweight.numel()), dtype=torch.float32, device=x.device)
    add = Launch(
        kernel=context_conv_dweight_kernel,
        programs=tiles * runs,
        arguments={
            "x_ptr": x, "dy_ptr": dy, "partial_ptr": partial,
            "pixels": pixels, "height": height, "width": width,
            "in_channels": in_channels, "out_channels": out_channels, "kernel": kernel, "run_pixels": run_pixels,
        },
        constants={
            "PRECISION": dot_precision(mode),
            "BLOCK_PIXELS": tile.pixels, "BLOCK_OUT": tile.out, "BLOCK_ROW": tile.depth,
        },
        warps=tile.warps,
        stages=tile.stages,
    )  # fmt: skip
    return add, sum_launch(partial, dweight)


def gate_launches(
    dy: torch.Tensor, y: torch.Tensor | None, gated: torch.Tensor | None, dbias: torch.Tensor, capability: int
) -> tuple[Launch, Launch]:
    """Return the two passes that write dbias [O] from dy [N, O, h, w], and gated, dy where y > 0, if there is a ReLU.

    Args:
        dy: packed channels_last, with elements.
        y, gated: like dy, or both None without a ReLU.
        dbias: of the dtype of dy.
        capability: of the device, 80 or 90 and so on.
    """
    images, out_channels, height, width = dy.shape
    pixels = images * height * width
    tile = gate_tile(out_channels)
    tiles = triton.cdiv(out_channels, tile.out)
    runs, run_pixels = _runs(pixels, tile.pixels, gate_splits(tiles, pixels, tile, out_channels * 4, capability))
    partial = torch.empty((runs, out_channels), dtype=torch.float32, device=dy.device)
    add = Launch(
        kernel=context_conv_gate_kernel,
        programs=tiles * runs,
        arguments={
            "dy_ptr": dy,
            "y_ptr": dy if y is None else y,
            "gated_ptr": dy if gated is None else gated,
            "partial_ptr": partial,
            "pixels": pixels,
            "out_channels": out_channels,
            "run_pixels": run_pixels,
        },
        constants={"RELU": int(y is not None), "BLOCK_PIXELS": tile.pixels, "BLOCK_OUT": tile.out},
        warps=tile.warps,
        stages=tile.stages,
    )
    return add, sum_launch(partial, dbias)


def _runs(pixels: int, block: int, count: int) -> tuple[int, int]:
    """Return the number of runs, about `count`, and their pixels, in whole blocks; no run is empty."""
    run_pixels = triton.cdiv(triton.cdiv(pixels, count), block) * block
    return triton.cdiv(pixels, run_pixels), run_pixels


def sum_launch(partial: torch.Tensor, total: torch.Tensor) -> Launch:
    return Launch(
        kernel=context_conv_sum_kernel,
        programs=triton.cdiv(total.numel(), SUM_BLOCK),
        arguments={"partial_ptr": partial, "sum_ptr": total, "runs": len(partial), "count": total.numel()},
        # With few sums of many runs (dbias), a program reads more runs at a time, to wait for memory less often.
        constants={"BLOCK_RUNS": 64 if len(partial) > 64 else 8, "BLOCK": SUM_BLOCK},
        warps=4,
        stages=1,
    )
