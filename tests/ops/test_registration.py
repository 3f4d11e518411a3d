"""Ops without gradient, called by their registered names: each error names the op that was called."""

from collections.abc import Callable

import pytest
import torch

import cpm_fast.ops.direct_conv
import cpm_fast.ops.spectral_conv  # noqa: F401  both register ops

ops = torch.ops.cpm_fast
Leaf = Callable[..., torch.Tensor]
SPECTRA, PACKED = (8, 1, 3, 5, 2, 16), (1, 5, 5, 3, 16)
CALLS: dict[str, Callable[[Leaf], torch.Tensor]] = {
    "transform_weight": lambda leaf: ops.transform_weight(leaf(5, 3, 5, 5), 16, False, torch.float32),
    "spectral_conv": lambda leaf: ops.spectral_conv(leaf(1, 3, 9, 8), None, torch.zeros(SPECTRA), None, False, 5, 5),
    "spectral_weight_gradient": lambda leaf: ops.spectral_weight_gradient(
        leaf(1, 5, 9, 8), None, torch.zeros(1, 3, 9, 8), 5, 16
    )[0],
    "pack_weight": lambda leaf: ops.pack_weight(leaf(5, 3, 5, 5)),
    "direct_conv": lambda leaf: ops.direct_conv(leaf(1, 3, 9, 8), torch.zeros(PACKED), torch.zeros(5), False, 0, 0),
}


@pytest.mark.parametrize("op", CALLS)
def test_a_missing_gradient_is_refused_by_name(op: str, native_code: None) -> None:
    out = CALLS[op](lambda *shape: torch.zeros(shape, requires_grad=True))
    with pytest.raises(RuntimeError, match=f"^{op} has no gradient; context_conv is the differentiable op$"):
        out.sum().backward()
