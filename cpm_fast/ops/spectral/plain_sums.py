"""Convolution by plain sums, on the CPU, of images for which tiles in the frequency domain are too inaccurate.

The rounding error of a tile is a share of its largest value. Native code reports each image whose magnitudes lie too
far apart, or whose values or sums are not finite; this module computes its convolution.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from cpm_fast.ops.direct_conv import bound_direct_conv, pack_weight
from cpm_fast.ops.maps import NO_POOL, Pool, pitch_of
from cpm_fast.ops.spectral.checks import tile_of
from cpm_fast.reference.direct_conv import BLOCK


def convolve_directly(
    images: list[int],
    x: torch.Tensor,
    gate: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    pool: Pool,
    out: torch.Tensor,
) -> None:
    """Compute the convolution of some images of a batch with `direct_conv`, and write it to `out`.

    Args:
        images: their indices in the batch.
        x: [N, C, h, w] in channels_last or channels of such a map.
        gate: shaped like x; x counts as 0 where gate is not above 0. None: x counts everywhere.
        weight: [O, C, k, k].
        bias: [O]; None is 0.
        relu, pool, out: as for `spectral_conv`; pool is (0, 0) for none.
    """
    packed = pack_weight(weight)
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    for image in images:
        one = x[image : image + 1]
        if gate is not None:
            one = torch.where(gate[image : image + 1] > 0, one, 0.0)
        if pitch_of(one) is None:
            one = one.contiguous(memory_format=torch.channels_last)
        window = None if pool == NO_POOL else pool
        bound_direct_conv(one, packed, bias, relu, window, out[image : image + 1])()


def weight_of(spectra: torch.Tensor, kernel: int, outputs: int) -> torch.Tensor:
    """Return the weight [O, C, k, k] from which `transform_weight` made these CPU spectra, up to rounding."""
    taps, order = _inverse(tile_of(spectra), kernel)
    # [t/2, blocks, C, k, 2, 16] -> [blocks, 16, C, k, t]
    parts = spectra.double().permute(1, 5, 2, 3, 0, 4).flatten(4)
    weight = (parts @ taps.T)[:, :, :, order]
    return weight.flatten(0, 1)[:outputs].float().contiguous()


@lru_cache(maxsize=64)
def _inverse(tile: int, kernel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrix [k, t] from a kernel row's spectrum to its taps, and where the spectra hold each row [k]."""
    places = torch.arange(kernel, device="cpu")
    shape = BLOCK, 1, kernel, kernel
    by_tap, by_row = (torch.zeros(shape, dtype=torch.float32, device="cpu") for _ in range(2))
    by_tap[places, 0, :, places] = 1.0
    by_row[places, 0, places, 0] = 1.0
    # [t/2, k rows, 2, k outputs]
    taps, rows = (
        torch.ops.cpm_fast.transform_weight(each, tile, False, torch.float32)[:, 0, 0, :, :, :kernel]
        for each in (by_tap, by_row)
    )
    order = rows.abs().sum((0, 2)).argmax(0)  # [k outputs]
    return torch.linalg.pinv(taps[:, 0].double().flatten(0, 1)), order
