"""Same-size convolution with a packed weight, and the packing, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Outputs of a weight lie in blocks of so many, as the registers of the fast code hold them.
BLOCK = 16


def pack_weight(weight: torch.Tensor) -> torch.Tensor:
    """Pack weight [O, C, k, k] as [ceil(O / 16), k, k, C, 16], 0 in outputs beyond the last."""
    blocks = -(-len(weight) // BLOCK)
    padded = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, blocks * BLOCK - len(weight)))
    return padded.unflatten(0, (blocks, BLOCK)).permute(0, 3, 4, 2, 1).contiguous()


def direct_conv(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor, relu: bool, pool: tuple[int, int] | None = None
) -> torch.Tensor:
    """Convolve x [N, C, h, w] with a packed weight, add bias [O], then apply ReLU if `relu`.

    With pool of (side, padding) the maximum of windows two cells apart follows; h and w are even.
    """
    weight = packed.permute(0, 4, 3, 1, 2).flatten(0, 1)[: len(bias)]
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y
