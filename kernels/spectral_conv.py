"""The spectral form of `context_conv` and its gradients: allocation, the order of launches, and sizes of zero."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cpm_fast.kernels.context_conv import PACKED, packed
from cpm_fast.kernels.direct_conv_weight import sum_launch
from cpm_fast.kernels.fourier import Tiling, frequencies, tiling
from cpm_fast.kernels.spectral_inverse import inverse_launch, weight_inverse_launch
from cpm_fast.kernels.spectral_plans import (
    BACKWARD_SPECTRA,
    FORWARD_SPECTRA,
    WORKSPACE_BYTES,
    Arithmetic,
    arithmetic,
    padded_channels,
)
from cpm_fast.kernels.spectral_product import dweight_launch, product_launch
from cpm_fast.kernels.spectral_transform import transform_launch, weight_launch

__all__ = ["FORWARD_SPECTRA", "backward", "forward", "transform_weight"]


def transform_weight(weight: torch.Tensor, tile: int, adjoint: bool, spectra: torch.dtype, mode: str) -> torch.Tensor:
    """Compute spectra [F, O, 2, C'] of weight [O, C, k, k]; with adjoint [F, C, 2, O'], those of dx's convolution.

    It runs on the current stream of the current device, which must be the weight's, without waiting.

    Args:
        weight: in any memory format.
        tile: t, even, above k.
        adjoint: whether of the transposed convolution.
        spectra: the type of the result.
        mode: one of `plans.MODES`, that of the weight's type.
    """
    weight = packed(weight.transpose(0, 1) if adjoint else weight)
    outputs, inputs = weight.shape[:2]
    result = weight.new_empty((frequencies(tile), outputs, 2, padded_channels(inputs)), dtype=spectra)
    if not weight.numel():
        return result.zero_()
    weight_launch(weight, result, tile, adjoint, arithmetic(weight.dtype, spectra, mode)).run()
    return result


def forward(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    relu: bool,
    kernel: int,
    mode: str,
    capability: int,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute y [N, O, h, w], packed channels_last, from x [N, C, h, w] and the spectra of `transform_weight`.

    Args:
        x: in any memory format.
        spectra: [F, O, 2, C'].
        bias: [O] of any type, or None.
        relu: whether max(0, .) follows.
        kernel: k.
        mode: one of `plans.MODES`, that of x's type.
        capability: of the device, 80 or 90 and so on.
        gate: like x; x counts as 0 where this is not above 0.

    Raises:
        ValueError: a row of the picture has too many values.
    """
    x, gate = packed(x), None if gate is None else packed(gate)
    tiles = tiling(_tile_of(spectra), kernel, *x.shape[2:])
    kind = arithmetic(x.dtype, spectra.dtype, mode)
    shape = (x.shape[0], spectra.shape[1], *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=PACKED)
    if not y.numel():
        return y
    for part in _parts(x, spectra.shape[1], tiles, kind):
        transformed = _transformed(x[part], None if gate is None else gate[part], None, tiles, kind)
        _finish(transformed, spectra, bias, y[part], relu, tiles, kind, capability)
    return y


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    y: torch.Tensor | None,
    needed: tuple[bool, bool, bool],
    tile: int,
    mode: str,
    capability: int,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Compute the gradients of x, weight and bias, each None if it is not needed, with one transform of dy.

    dx has the same tiles as dy, which overlap by k - 1. dweight multiplies them with the output cells of x's tiles
    only, so every pair of cells counts once.

    Args:
        dy: [N, O, h, w], the gradient of the result.
        x, weight: those of the forward pass, of one type with dy.
        y: the result, where ReLU followed; otherwise None.
        needed: whether dx, dweight and dbias are.
        tile: t, even, above k; need not be that of the forward pass.
        mode, capability: as in `forward`.

    Raises:
        ValueError: a row of the picture has too many values.
    """
    need_dx, need_dweight, need_dbias = needed
    dy, x, y = packed(dy), packed(x), None if y is None else packed(y)
    outputs, inputs, kernel, _ = weight.shape
    tiles = tiling(tile, kernel, *x.shape[2:])
    kind = arithmetic(x.dtype, BACKWARD_SPECTRA[mode], mode)
    dx = torch.empty_like(x, memory_format=PACKED) if need_dx else None
    dweight = torch.empty_like(weight, memory_format=PACKED) if need_dweight else None
    dbias = dy.new_empty((outputs,)) if need_dbias else None
    if not dy.numel() or not x.numel():
        gradients = (dx, dweight, dbias)
        return tuple(None if each is None else each.zero_() for each in gradients)  # type: ignore[return-value]
    adjoint = transform_weight(weight, tile, True, kind.spectra, mode) if need_dx else None
    sums = dy.new_empty((len(dy) * tiles.count, outputs), dtype=torch.float32) if need_dbias else None
    product = None
    if need_dweight:
        product = dy.new_empty((frequencies(tile), outputs, 2, padded_channels(inputs)), dtype=torch.float32)
    for part in _parts(x, outputs, tiles, kind):
        sums_part = None if sums is None else sums[part.start * tiles.count : part.stop * tiles.count]
        transformed = _transformed(dy[part], None if y is None else y[part], sums_part, tiles, kind)
        if dx is not None and adjoint is not None:
            _finish(transformed, adjoint, None, dx[part], False, tiles, kind, capability)
        if product is not None:
            cells = _transformed(x[part], None, None, tiles, kind, outputs_only=True)
            dweight_launch(cells, transformed, product, part.start > 0, kind, capability).run()
    if dweight is not None and product is not None:
        weight_inverse_launch(product, dweight, tile, arithmetic(weight.dtype, torch.float32, mode)).run()
    if dbias is not None and sums is not None:
        sum_launch(sums, dbias).run()
    return dx, dweight, dbias


def _tile_of(spectra: torch.Tensor) -> int:
    return round((2 * spectra.shape[0]) ** 0.5)


def _parts(x: torch.Tensor, outputs: int, tiles: Tiling, kind: Arithmetic) -> Iterator[slice]:
    """Split a batch into runs of images whose spectra, of input and output, fit the workspace."""
    values = 2 * frequencies(tiles.tile) * tiles.count
    image_bytes = values * (
        padded_channels(x.shape[1]) * kind.spectra.itemsize + padded_channels(outputs) * kind.product.itemsize
    )
    images = max(1, WORKSPACE_BYTES // image_bytes)
    for start in range(0, len(x), images):
        yield slice(start, min(start + images, len(x)))


def _transformed(
    x: torch.Tensor,
    gate: torch.Tensor | None,
    sums: torch.Tensor | None,
    tiles: Tiling,
    kind: Arithmetic,
    outputs_only: bool = False,
) -> torch.Tensor:
    shape = (frequencies(tiles.tile), len(x) * tiles.count, 2, padded_channels(x.shape[1]))
    spectra = x.new_empty(shape, dtype=kind.spectra)
    transform_launch(x, gate, spectra, sums, tiles, kind, outputs_only).run()
    return spectra


def _finish(
    x: torch.Tensor,
    spectra: torch.Tensor,
    bias: torch.Tensor | None,
    y: torch.Tensor,
    relu: bool,
    tiles: Tiling,
    kind: Arithmetic,
    capability: int,
) -> None:
    """Multiply transformed x and transform the product back."""
    product = x.new_empty((*x.shape[:3], padded_channels(spectra.shape[1])), dtype=kind.product)
    product_launch(x, spectra, product, kind, capability).run()
    inverse_launch(product, bias, y, relu, tiles, kind).run()
