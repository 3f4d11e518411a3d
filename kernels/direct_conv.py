"""The direct form of `context_conv`: same-size k x k convolution, bias and ReLU, as an implicit matrix product.

In channels_last the k C values that one row of the kernel meets lie side by side in memory, x[n, y, x-p .. x+p, :], and
so do those of a weight, [O, k, k, C]. A program therefore walks k rows and, in each, blocks of consecutive values: both
pointers only advance, a picture's border is an interval of the row, and 3 channels fill a block as well as 128 do.

           depth of a row (k C)                       out
         +---------------------+                  +---------+
    pixel| x[pixel + kh - p, :]|  times  weight^T |         | depth  ->  y [pixels, out], fp32, k rows added
         +---------------------+                  +---------+

Counts for the 6-stage network at 368 x 368, an image, 16-bit storage: 9x9 3->256 (both trunks' first layer at once)
@ 368, 16.8 GFLOP and 70 MB; in each of two trunks 9x9 128->128 @ 184, 89.9 GFLOP and 17 MB, and @ 92, 22.5 and 4.3 MB;
ten 11x11 128->128 @ 46, 8.4 GFLOP and 5.0 MB each; five 48->128, 3.1 each; 9x9 32->512 @ 46, 2.8. In all 351 GFLOP and
0.3 GB, so the tensor cores and, with plain loads, L2 decide. Predicted on an H200 (989 TFLOP/s dense in 16 bit): 40 to
60 % of peak where the widest tile fills the chip (`plans.py` says why), 0.7 ms per image for the network at batch 32;
conv1, whose 27 values per row fill a small tile, a third of peak.

Versions
    1  pointers and masks, two nested loops of which the inner is pipelined; not yet measured on a GPU
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cpm_fast.kernels.launch import Launch
from cpm_fast.kernels.plans import SHORT_ROW, forward_tile

# So that offsets within a row of the picture and within a block of 256 channels fit 32 bits.
MAX_ROW_VALUES = 2**30
MAX_KERNEL_VALUES = 2**22


@triton.jit
def _row_block(
    acc, x_ptr, o_x, weight_ptr, o_weight, i_row, first, last, m_out, row,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """acc [pixels, out] plus one block of consecutive values of a kernel row."""
    m_row = i_row < row
    m_x = (i_row[None, :] >= first[:, None]) & (i_row[None, :] < last[:, None]) & m_row[None, :]
    b_x = tl.load(x_ptr + (o_x[:, None] + i_row[None, :]), mask=m_x, other=0.0)
    m_weight = m_row[:, None] & m_out[None, :]
    b_weight = tl.load(weight_ptr + (o_weight[None, :] + i_row[:, None]), mask=m_weight, other=0.0)
    return tl.dot(b_x, b_weight, acc, input_precision=PRECISION)


@triton.jit(do_not_specialize=["pixels", "height", "width", "kernel", "relu"])
def context_conv_forward_kernel(
    x_ptr, weight_ptr, bias_ptr, y_ptr,
    pixels, height, width, in_channels, out_channels, kernel, relu,
    SHORT: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_ROW: tl.constexpr,
):  # fmt: skip
    """y [pixels, O] from x [pixels, C] and weight [O, k, k, C], all packed; SHORT: a row of the kernel is one block."""
    out_blocks = tl.cdiv(out_channels, BLOCK_OUT)
    pid = tl.program_id(0)
    # Neighboring programs share their pixels, the larger operand, in L2.
    pixel = (pid // out_blocks).to(tl.int64) * BLOCK_PIXELS
    out = pid % out_blocks * BLOCK_OUT
    i_pixel = pixel + tl.arange(0, BLOCK_PIXELS)
    i_out = out + tl.arange(0, BLOCK_OUT)
    m_out = i_out < out_channels
    i_x = (i_pixel % width).to(tl.int32)
    i_y = (i_pixel // width % height).to(tl.int32)
    pad = kernel // 2
    row = kernel * in_channels
    # Only the base of a block needs 64 bits; within the block 32 are enough.
    o_x = tl.arange(0, BLOCK_PIXELS) * in_channels
    o_weight = tl.arange(0, BLOCK_OUT) * (kernel * row)
    weight_ptr += out.to(tl.int64) * (kernel * row)
    x_ptr += (pixel - pad) * in_channels
    first = (pad - i_x) * in_channels
    acc = tl.zeros((BLOCK_PIXELS, BLOCK_OUT), dtype=tl.float32)
    for kh in range(0, kernel):
        i_from = i_y + kh - pad
        inside = (i_pixel < pixels) & (i_from >= 0) & (i_from < height)
        # The values first <= i < last of a kernel row lie in the picture; a row above or below it has none. The product
        # is outside tl.where, beyond which the compiler does not see that it is a multiple of 16, as it must for copies
        # of 16 bytes.
        last = (pad - i_x + tl.where(inside, width, 0)) * in_channels
        row_x_ptr = x_ptr + (kh - pad) * width.to(tl.int64) * in_channels
        row_weight_ptr = weight_ptr + kh * row
        if SHORT:
            acc = _row_block(
                acc, row_x_ptr, o_x, row_weight_ptr, o_weight, tl.arange(0, BLOCK_ROW), first, last, m_out, row,
                PRECISION,
            )  # fmt: skip
        else:
            for start in range(0, row, BLOCK_ROW):
                acc = _row_block(
                    acc, row_x_ptr, o_x, row_weight_ptr, o_weight, start + tl.arange(0, BLOCK_ROW), first, last, m_out,
                    row, PRECISION,
                )  # fmt: skip
    b_y = acc + tl.load(bias_ptr + i_out, mask=m_out, other=0.0).to(tl.float32)[None, :]
    # This comparison keeps NaN.
    b_y = tl.where((relu != 0) & (b_y < 0), 0.0, b_y)
    m_y = (i_pixel < pixels)[:, None] & m_out[None, :]
    o_y = tl.arange(0, BLOCK_PIXELS)[:, None] * out_channels + i_out[None, :]
    tl.store(y_ptr + pixel * out_channels + o_y, b_y.to(y_ptr.dtype.element_ty), mask=m_y)


def forward_launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    y: torch.Tensor,
    relu: bool,
    mode: str,
    capability: int,
) -> Launch:
    """Make the launch that writes y [N, O, h, w] from x [N, C, h, w] and weight [O, C, k, k], all packed channels_last.

    Args:
        x, weight, bias, y: of one dtype, none without elements.
        relu: whether max(0, .) follows.
        mode: one of `plans.MODES`, that of the dtype; float32 has three.
        capability: of the device, 80 or 90 and so on.

    Raises:
        ValueError: a row of the picture or a kernel has too many values.
    """
    images, in_channels, height, width = x.shape
    out_channels, _, kernel, _ = weight.shape
    check_sizes(width, kernel, in_channels, out_channels)
    pixels = images * height * width
    tile = forward_tile(pixels, in_channels, out_channels, kernel, mode, capability)
    return Launch(
        kernel=context_conv_forward_kernel,
        programs=triton.cdiv(pixels, tile.pixels) * triton.cdiv(out_channels, tile.out),
        arguments={
            "x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "y_ptr": y,
            "pixels": pixels, "height": height, "width": width,
            "in_channels": in_channels, "out_channels": out_channels, "kernel": kernel, "relu": int(relu),
        },
        constants={
            "SHORT": int(kernel * in_channels <= SHORT_ROW), "PRECISION": dot_precision(mode),
            "BLOCK_PIXELS": tile.pixels, "BLOCK_OUT": tile.out, "BLOCK_ROW": tile.depth,
        },
        warps=tile.warps,
        stages=tile.stages,
    )  # fmt: skip


def check_sizes(width: int, kernel: int, in_channels: int, out_channels: int) -> None:
    for name, values, limit in (
        ("(w + k) C", (width + kernel) * in_channels, MAX_ROW_VALUES),
        ("k k C", kernel * kernel * in_channels, MAX_KERNEL_VALUES),
        ("O", out_channels, MAX_KERNEL_VALUES),
    ):
        if values > limit:
            raise ValueError(f"{name} must be at most {limit} for the direct kernels, got {values}")


def dot_precision(mode: str) -> str:
    """Return Triton's name of a mode; 16-bit products have only one."""
    return mode if mode in ("tf32x3", "ieee") else "tf32"
