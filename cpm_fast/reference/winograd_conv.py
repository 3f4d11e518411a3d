"""Same-size 3x3 convolution by Winograd's minimal filtering F(4x4, 3x3), as the fast code does it, in plain PyTorch.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), with other points.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cpm_fast.reference.direct_conv import BLOCK

# A tile of SIDE x SIDE cells gives STEP x STEP outputs.
SIDE, STEP, KERNEL = 6, 4, 3
# Polynomials are evaluated at these points and at infinity. Errors are less than with the usual 0, 1, -1, 2, -2.
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))


def values_at_points(count: int) -> torch.Tensor:
    """Return the matrix [6, count] from a polynomial's coefficients to its values; that at infinity is the last one."""
    finite = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(count)
    return torch.cat((finite, F.one_hot(torch.tensor([count - 1]), count)))


def filter_matrices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the transforms of cells [6, 6], of taps [6, 3] and of products [4, 6], in float64.

    A product of polynomials is interpolated from its values; the transposed computation is a correlation. Rows of the
    first are scaled by their coefficient of the highest power, and those of the second by its inverse.
    """
    cells, taps, products = torch.linalg.inv(values_at_points(SIDE)).T, values_at_points(KERNEL), values_at_points(STEP)
    scale = cells[:, SIDE - 2].clone()  # of x^4, the leading coefficient of the finite points
    scale[-1] = cells[-1, -1]
    return cells / scale[:, None], taps * scale[:, None], products.T


def winograd_weight(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Transform weight [O, C, 3, 3] to [36, ceil(O / 16), C, 16], 0 in outputs beyond the last.

    With bfloat16, inputs lie in pairs, [36, ceil(O / 16), ceil(C / 2), 16, 2], 0 in inputs beyond the last.
    """
    _, taps, _ = filter_matrices()
    blocks, pairs = -(-len(weight) // BLOCK), dtype == torch.bfloat16
    missing = weight.shape[1] % 2 if pairs else 0
    padded = F.pad(weight, (0, 0, 0, 0, 0, missing, 0, blocks * BLOCK - len(weight))).double()
    made = torch.einsum("ia,ocab,jb->ijco", taps, padded, taps).flatten(0, 1)
    made = made.unflatten(2, (blocks, BLOCK)).transpose(1, 2).float().to(dtype)
    return (made.unflatten(2, (-1, 2)).transpose(3, 4) if pairs else made).contiguous()


def winograd_conv(
    x: torch.Tensor,
    transformed: torch.Tensor,
    bias: torch.Tensor,
    relu: bool,
    pool: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Convolve x [N, C, h, w] with a transformed weight, add bias [O], then apply ReLU if `relu`, then a pool.

    With a weight of bfloat16 the transformed tiles are rounded to bfloat16 too, and products are added in x's dtype.
    """
    images, inputs, height, width = x.shape
    if images == 0:
        return x.new_empty(0, len(bias), *(side // 2 if pool else side for side in (height, width)))
    if transformed.ndim == 5:
        transformed = transformed.transpose(3, 4).flatten(2, 3)[:, :, :inputs]
    weights = transformed.to(x.dtype).transpose(1, 2).flatten(2)[:, :, : len(bias)]  # [36, C, O]
    cells, _, products = (matrix.to(x.dtype) for matrix in filter_matrices())
    down, across = -(-height // STEP), -(-width // STEP)
    padded = F.pad(x, (1, across * STEP + 1 - width, 1, down * STEP + 1 - height))
    tiles = padded.unfold(2, SIDE, STEP).unfold(3, SIDE, STEP)  # [N, C, down, across, 6, 6]
    values = torch.einsum("ia,ncyxab,jb->ijnyxc", cells, tiles, cells).flatten(0, 1)
    if transformed.dtype == torch.bfloat16:
        values = values.bfloat16().to(x.dtype)
    sums = torch.einsum("pnyxc,pco->pnyxo", values, weights).unflatten(0, (SIDE, SIDE))
    y = torch.einsum("ai,ijnyxo,bj->noyaxb", products, sums, products)
    y = y.reshape(images, len(bias), down * STEP, across * STEP)[..., :height, :width] + bias[:, None, None]
    y = F.relu(y) if relu else y
    return F.max_pool2d(y, pool[0], 2, pool[1], ceil_mode=pool[1] == 0) if pool else y
