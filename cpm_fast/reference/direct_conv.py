"""Same-size convolution with a packed weight, and the packing, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Outputs of a weight lie in blocks of so many, as the registers of the fast code hold them.
BLOCK = 16


def pack_weight(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Pack weight [O, C, k, k] as [ceil(O / 16), k, k, C, 16], 0 in outputs beyond the last.

    With bfloat16, inputs lie in pairs, [ceil(O / 16), k, k, ceil(C / 2), 16, 2], 0 in inputs beyond the last.
    """
    blocks, pairs = -(-len(weight) // BLOCK), dtype == torch.bfloat16
    missing = weight.shape[1] % 2 if pairs else 0
    padded = F.pad(weight, (0, 0, 0, 0, 0, missing, 0, blocks * BLOCK - len(weight))).to(dtype)
    packed = padded.unflatten(0, (blocks, BLOCK)).permute(0, 3, 4, 2, 1)
    return (packed.unflatten(3, (-1, 2)).transpose(4, 5) if pairs else packed).contiguous()


def unpacked(packed: torch.Tensor, outputs: int, inputs: int) -> torch.Tensor:
    """Return the weight [O, C, k, k] of a packed one."""
    taps = packed.transpose(4, 5).flatten(3, 4) if packed.ndim == 6 else packed
    return taps.permute(0, 4, 3, 1, 2).flatten(0, 1)[:outputs, :inputs]


def direct_conv(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, relu: bool, pool: tuple[int, int] | None = None
) -> torch.Tensor:
    """Convolve x [N, C, h, w] with a packed weight, add bias [O], then apply ReLU if `relu`.

    With a weight of bfloat16, x is rounded to it too; sums are of float32. With pool of (side, padding) the maximum of
    windows two cells apart follows; h and w are even.
    """
    weight = unpacked(packed, len(bias), x.shape[1]).to(x.dtype)
    x = x.to(packed.dtype).to(x.dtype)
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y
