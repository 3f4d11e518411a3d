"""Ops without gradient: each error names the op that was called, and comes in grad mode only."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.ops.spectral_conv import (
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)

ops = torch.ops.cpm_fast
Leaf = Callable[..., torch.Tensor]
SPECTRA, PACKED = (8, 1, 3, 5, 2, 16), (1, 5, 5, 3, 16)
CALLS: dict[str, Callable[[Leaf], torch.Tensor]] = {
    "transform_weight": lambda leaf: ops.transform_weight(leaf(5, 3, 5, 5), 16, False, torch.float32),
    "spectral_conv": lambda leaf: ops.spectral_conv(leaf(1, 3, 9, 8), None, torch.zeros(SPECTRA), None, False, 5, 5),
    "spectral_weight_gradient": lambda leaf: ops.spectral_weight_gradient(
        leaf(1, 5, 9, 8), None, torch.zeros(1, 3, 9, 8), 5, 16
    )[0],
    "pack_weight": lambda leaf: ops.pack_weight(leaf(5, 3, 5, 5), torch.float32),
    "direct_conv": lambda leaf: ops.direct_conv(leaf(1, 3, 9, 8), torch.zeros(PACKED), torch.zeros(5), False, 0, 0),
}


@pytest.mark.parametrize("op", CALLS)
def test_a_missing_gradient_is_refused_by_name(op: str, native_code: None) -> None:
    out = CALLS[op](lambda *shape: torch.zeros(shape, requires_grad=True))
    with pytest.raises(RuntimeError, match=f"^{op} has no gradient; context_conv is the differentiable op$"):
        out.sum().backward()


IMAGE, WEIGHT, BIAS = torch.rand(1, 3, 9, 8), torch.rand(5, 3, 5, 5), torch.rand(5)
STACK, FRAMES = torch.rand(1, 1, 3, 6, 6), torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
# The public functions, each as a call of a tensor of floats, and such a tensor.
PUBLIC: dict[str, tuple[Callable[[torch.Tensor], Any], torch.Tensor]] = {
    "peaks": (lambda maps: peaks(maps, True), torch.rand(1, 2, 5, 5)),
    "many_peaks": (lambda maps: many_peaks(maps, 0.5, 1), torch.rand(2, 5, 5)),
    "resize_merge": (lambda maps: resize_merge(maps, FRAMES, (9, 9)), STACK),
    "merge_peaks": (lambda maps: merge_peaks(maps, FRAMES, (9, 9), True), STACK),
    "gaussian_targets": (
        lambda parts: gaussian_targets(parts, torch.ones(1, 1, 2, dtype=torch.bool), (6, 6), 7.0, 8.0),
        20 * torch.rand(1, 1, 2, 2),
    ),
    "pack_weight": (pack_weight, WEIGHT),
    "direct_conv": (lambda x: direct_conv(x, pack_weight(WEIGHT), BIAS, False), IMAGE),
    "transform_weight": (lambda weight: transform_weight(weight, 16), WEIGHT),
    "spectral_conv": (lambda x: spectral_conv(x, transform_weight(WEIGHT, 16), BIAS, False, 5), IMAGE),
    "spectral_input_gradient": (
        lambda dy: spectral_input_gradient(dy, transform_weight(WEIGHT, 16, adjoint=True), None, 3, 5),
        torch.rand(1, 5, 9, 8),
    ),
    "spectral_weight_gradient": (lambda x: spectral_weight_gradient(torch.rand(1, 5, 9, 8), x, None, 5, 16), IMAGE),
}


@pytest.mark.parametrize("name", backend.BACKENDS)
@pytest.mark.parametrize("op", PUBLIC)
def test_a_gradient_is_refused_in_grad_mode_only(op: str, name: str, native_code: None) -> None:
    call, plain = PUBLIC[op]
    leaf = plain.clone().requires_grad_()
    with backend.use_backend(name):
        with pytest.raises(RuntimeError, match=f"^{op} has no gradient: .* must not require one, pass .*.detach()"):
            call(leaf)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                torch.manual_seed(0)
                made = call(leaf)
            torch.manual_seed(0)
            wanted = call(plain)
            for one, other in zip(
                *((each,) if torch.is_tensor(each) else each for each in (made, wanted)), strict=True
            ):
                assert torch.equal(one, other) and not one.requires_grad
