"""The forms of one convolution, each as a call: direct, or spectral on a tile; the CUDA plan chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import DTYPES, direct_seconds, spectra_bytes, spectral_seconds
from cpm_fast.ops.spectral.checks import TILES
from cpm_fast.ops.spectral_conv import spectral_conv, transform_weight

Form = int | None
Call = Callable[[], list[torch.Tensor]]
# Tiles predicted to take this many times as long as the best are not tried, nor those with more bytes of spectra.
WORTH_TRYING = 2.0
MOST_SPECTRA_BYTES = 4 << 30


@dataclass(frozen=True)
class Inputs:
    """Fresh numbers of a convolution: x and dy packed channels_last, all of the mode's dtype."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    dy: torch.Tensor

    @classmethod
    def draw(cls, shape: ConvShape, mode: str, device: str) -> Inputs:
        dtype = DTYPES[mode] if device == "cuda" else torch.float32
        generator = torch.Generator(device).manual_seed(torch.seed() % 2**32)

        def tensor(*sizes: int) -> torch.Tensor:
            made = torch.randn(*sizes, generator=generator, device=device)
            return made.to(dtype, memory_format=torch.channels_last if len(sizes) == 4 else torch.contiguous_format)

        fan_in = shape.inputs * shape.kernel**2
        weight = tensor(shape.outputs, shape.inputs, shape.kernel, shape.kernel).mul_((2 / fan_in) ** 0.5)
        x, dy = tensor(shape.images, shape.inputs, *shape.size), tensor(shape.images, shape.outputs, *shape.size)
        return cls(x, weight, tensor(shape.outputs) * 0.1, dy)


def candidates(shape: ConvShape, mode: str, training: bool) -> list[Form]:
    """Return direct, and the tiles worth trying, fastest first by the predictions."""
    fitting = [tile for tile in TILES if tile > shape.kernel and spectra_bytes(shape, tile, mode) < MOST_SPECTRA_BYTES]
    seconds = {tile: spectral_seconds(shape, tile, mode, training) for tile in fitting}
    best = min([direct_seconds(shape, mode), *seconds.values()])
    return [None, *sorted((t for t in fitting if seconds[t] <= WORTH_TRYING * best), key=seconds.__getitem__)]


def forward(inputs: Inputs, form: Form, mode: str, capability: int | None) -> Call:
    """Return y, with weights transformed beforehand; without a capability, by the CPU's ops."""
    x, weight, bias = inputs.x, inputs.weight, inputs.bias
    kernel = weight.shape[-1]
    if capability is None:
        if form is None:
            return lambda: [F.conv2d(x, weight, bias, padding=kernel // 2).relu_()]
        transformed = transform_weight(weight, form)
        return lambda: [spectral_conv(x, transformed, bias, True, kernel)]
    from cpm_fast.kernels import context_conv as direct
    from cpm_fast.kernels import spectral_conv as spectral

    if form is None:
        return lambda: [direct.forward(x, weight, bias, True, mode, capability)]
    spectra = spectral.transform_weight(weight, form, False, spectral.FORWARD_SPECTRA[mode], mode)
    return lambda: [spectral.forward(x, spectra, bias, True, kernel, mode, capability)]


def with_gradients(inputs: Inputs, form: Form, mode: str, capability: int | None) -> Call:
    """Return y, dx, dweight and dbias as in a training step: weights are transformed at every call."""
    x, weight, bias, dy = inputs.x, inputs.weight, inputs.bias, inputs.dy
    kernel = weight.shape[-1]
    if capability is None:
        leaves = [each.detach().clone().requires_grad_() for each in (x, weight, bias)]

        def on_cpu() -> list[torch.Tensor]:
            y = F.conv2d(leaves[0], leaves[1], leaves[2], padding=kernel // 2).relu()
            return [y.detach(), *torch.autograd.grad(y, leaves, dy)]

        return on_cpu
    from cpm_fast.kernels import context_conv as direct
    from cpm_fast.kernels import spectral_conv as spectral

    every = (True, True, True)

    def on_gpu() -> list[torch.Tensor]:
        if form is None:
            y = direct.forward(x, weight, bias, True, mode, capability)
            return [y, *_present(direct.backward(dy, x, weight, y, every, mode, capability))]
        spectra = spectral.transform_weight(weight, form, False, spectral.FORWARD_SPECTRA[mode], mode)
        y = spectral.forward(x, spectra, bias, True, kernel, mode, capability)
        return [y, *_present(spectral.backward(dy, x, weight, y, every, form, mode, capability))]

    return on_gpu


def _present(gradients: tuple[torch.Tensor | None, ...]) -> list[torch.Tensor]:
    return [gradient for gradient in gradients if gradient is not None]
