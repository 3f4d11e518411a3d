"""A convolution in the frequency domain with ReLU and a maximum pool, whose map before the pool is never written.

The forward pass keeps one byte per window, the place of its maximum. From these bytes and the windows' gradients, the
gradients of x, weight and bias make the cells that they need, in cache. Ops one after another write or read the map,
its gradient, and indices of 64 bits: about ten times as many bytes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops.batch_norm import check_gradient, new_map
from cpm_fast.ops.maps import NO_POOL, Pool, out_shape, pitch_of
from cpm_fast.ops.memory import address
from cpm_fast.ops.registration import refuse_gradient
from cpm_fast.ops.spectral.library import channels_last, params_of, spectra_of
from cpm_fast.ops.spectral.plain_sums import convolve_directly
from cpm_fast.ops.spectral.workspace import WORKSPACE_BYTES, workspaces

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def pooled_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tile: int, pool: Pool) -> torch.Tensor:
    """Return the pooled map of `context_conv` with ReLU, on the CPU in float32; differentiable once.

    Args:
        x: [N, C, h, w] float32, h and w even.
        weight: [O, C, k, k] float32.
        bias: [O] float32.
        tile: of `transform_weight`.
        pool: (side, padding) as for `spectral_conv`.

    Returns:
        [N, O, h/2, w/2] in channels_last. The first of a window's equal maxima gets the gradient, as in PyTorch.
    """
    y: torch.Tensor = torch.ops.cpm_fast.pooled_conv(x, weight, bias, tile, *pool)[0]
    return y


torch.library.define(
    "cpm_fast::pooled_conv",
    "(Tensor x, Tensor weight, Tensor bias, int tile, int pool, int padding) -> (Tensor, Tensor)",
)
# Gradients of x, weight and bias that are not needed have no elements.
torch.library.define(
    "cpm_fast::pooled_conv_backward",
    "(Tensor dy, Tensor x, Tensor weight, Tensor places, int tile, int pool, int padding, bool[3] needed)"
    " -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("cpm_fast::pooled_conv")
def _fake(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tile: int, pool: int, padding: int
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = out_shape(x, weight.shape[0], pool)
    return new_map(shape, x, x.dtype), new_map(shape, x, torch.uint8)


@torch.library.register_fake("cpm_fast::pooled_conv_backward")
def _fake_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    places: torch.Tensor,
    tile: int,
    pool: int,
    padding: int,
    needed: list[bool],
) -> Gradients:
    dx = new_map(tuple(x.shape), x, x.dtype) if needed[0] else x.new_empty(0)
    dweight = torch.empty_like(weight) if needed[1] else x.new_empty(0)
    return dx, dweight, x.new_empty(weight.shape[0] if needed[2] else 0)


def _cpu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tile: int, pool: int, padding: int
) -> tuple[torch.Tensor, torch.Tensor]:
    x = x if pitch_of(x) is not None else channels_last(x)
    spectra, bias = spectra_of(weight, tile), bias.contiguous()
    y, places = _fake(x, weight, bias, tile, pool, padding)
    params = params_of(x, weight.shape[0], weight.shape[-1], tile, (pool, padding), y)
    wide = _convolve(x, (0, *NO_POOL), spectra, address("bias", bias), y, address("places", places), params, True)
    for image in wide:
        full = new_map((1, weight.shape[0], *x.shape[2:]), x, x.dtype)
        convolve_directly([0], x[image : image + 1], None, weight.detach(), bias, True, NO_POOL, full)
        y[image], places[image] = (found[0] for found in _pooled(full, (pool, padding)))
    return y, places


def _convolve(
    x: torch.Tensor,
    gate: tuple[int, int, int],
    spectra: torch.Tensor,
    bias: int,
    out: torch.Tensor,
    places: int,
    params: Any,
    relu: bool,
) -> list[int]:
    """Run the native convolution, and return the images that it got wrong."""
    native, threads = backend.native(), backend.threads()
    workspace = workspaces.take(native.spectral_workspace(params, WORKSPACE_BYTES, threads))
    pointers = address("x", x), gate, address("spectra", spectra), bias, address("out", out)
    memory = workspace.data_ptr(), WORKSPACE_BYTES, threads
    wide: list[int] = native.spectral_conv_cpu(*pointers, params, relu, *memory, places)
    return wide


def _cpu_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    places: torch.Tensor,
    tile: int,
    pool: int,
    padding: int,
    needed: list[bool],
) -> Gradients:
    shape = out_shape(x, weight.shape[0], pool)
    check_gradient(dy, shape, x.dtype)
    if places.shape != shape or places.dtype != torch.uint8:
        raise ValueError(f"places must be {list(shape)} uint8, got {list(places.shape)} {places.dtype}")
    dy, places = channels_last(dy), channels_last(places)
    dx, dweight, dbias = _fake_backward(dy, x, weight, places, tile, pool, padding, needed)
    gate = (address("places", places), pool, padding)
    if needed[0]:
        _write_dx(dx, dy, places, weight, tile, gate)
    if needed[1] or needed[2]:
        native, threads, x = backend.native(), backend.threads(), channels_last(x)
        params = params_of(x, weight.shape[0], weight.shape[-1], tile)
        workspace = workspaces.take(native.spectral_gradient_workspace(params, WORKSPACE_BYTES, threads))
        found = weight.new_empty(weight.shape), x.new_empty(weight.shape[0])
        pointers = address("dy", dy), gate, address("x", x), *(address("a gradient", each) for each in found)
        native.spectral_weight_gradient_cpu(*pointers, params, workspace.data_ptr(), WORKSPACE_BYTES, threads)
        if needed[1]:
            dweight = found[0] if found[0].stride() == weight.stride() else dweight.copy_(found[0])
        dbias = found[1] if needed[2] else dbias
    return dx, dweight, dbias


def _write_dx(
    dx: torch.Tensor,
    dy: torch.Tensor,
    places: torch.Tensor,
    weight: torch.Tensor,
    tile: int,
    gate: tuple[int, int, int],
) -> None:
    params = backend.native().SpectralConv(
        images=len(dx),
        height=dx.shape[2],
        width=dx.shape[3],
        inputs=weight.shape[0],
        outputs=weight.shape[1],
        kernel=weight.shape[-1],
        tile=tile,
    )
    wide = _convolve(dy, gate, spectra_of(weight, tile, adjoint=True), 0, dx, 0, params, False)
    for image in wide:
        full = _unpooled(dy[image : image + 1], places[image : image + 1], gate[1:])
        turned = weight.detach().flip(2, 3).transpose(0, 1)
        convolve_directly([0], full, None, turned, None, False, NO_POOL, dx[image : image + 1])


def _pooled(full: torch.Tensor, pool: Pool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the windows' maxima of a map of at least 0, and their places."""
    side, padding = pool
    y, at = F.max_pool2d(full, side, 2, padding, ceil_mode=padding == 0, return_indices=True)
    rows, columns = at // full.shape[3], at % full.shape[3]
    places = 1 + (rows - _starts(y, 2, padding)) * side + columns - _starts(y, 3, padding)
    return y, torch.where(y > 0, places, 0).to(torch.uint8)


def _unpooled(dy: torch.Tensor, places: torch.Tensor, pool: Pool) -> torch.Tensor:
    """Return the gradient of the map [N, C, h, w] whose windows have the gradient dy."""
    side, padding = pool
    images, channels, height, width = dy.shape
    place = places.long() - 1
    rows, columns = place // side + _starts(dy, 2, padding), place % side + _starts(dy, 3, padding)
    # As in native code, bytes that are no places of cells count nowhere.
    known = (place >= 0) & (place < side**2)
    inside = known & (rows >= 0) & (rows < 2 * height) & (columns >= 0) & (columns < 2 * width)
    at, values = torch.where(inside, 2 * width * rows + columns, 0), torch.where(inside, dy, 0)
    cells = dy.new_zeros(images, channels, 4 * height * width).scatter_add_(2, at.flatten(2), values.flatten(2))
    return cells.unflatten(2, (2 * height, -1))


def _starts(windows: torch.Tensor, axis: int, padding: int) -> torch.Tensor:
    """Return the first row or column of each window, which broadcasts over a map of them."""
    starts = 2 * torch.arange(windows.shape[axis], device=windows.device) - padding
    return starts[:, None] if axis == 2 else starts


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, weight, _, *ctx.settings = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, dy: torch.Tensor, _: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:3])
    gradients = torch.ops.cpm_fast.pooled_conv_backward(dy, *ctx.saved_tensors, *ctx.settings, needed)
    return *(gradient if need else None for gradient, need in zip(gradients, needed, strict=True)), None, None, None


if backend.native_missing("cpu") is None:
    torch.library.impl("cpm_fast::pooled_conv", "CPU", _cpu)
    torch.library.impl("cpm_fast::pooled_conv_backward", "CPU", _cpu_backward)
torch.library.register_autograd("cpm_fast::pooled_conv", _gradients, setup_context=_save)
refuse_gradient("pooled_conv_backward", "context_conv has no second gradient; the reference backend has one")
