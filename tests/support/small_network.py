"""A small network, inputs for it, and the error of its maps."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from cpm_fast import CPM, NetworkConfig
from cpm_fast.config import Conv, preset
from cpm_fast.ops import backend

# For tests that need a network of any accuracy: one 3x3 convolution of four channels in each place.
TINY_LAYERS: dict[str, Any] = {
    "trunk": ((Conv(3, 4),),) * 3,
    "features": (Conv(1, 4),),
    "first": (Conv(3, 4),),
    "refine": (Conv(3, 4),),
}
TINY = dataclasses.replace(preset("compact"), input_size=(64, 64), stages=2, tail=(), **TINY_LAYERS)
TINY_FINDER = dataclasses.replace(
    preset("finder"), input_size=(64, 64), tail=(), **{**TINY_LAYERS, "first": (Conv(3, 8),)}
)
SMALL = NetworkConfig(
    stages=3,
    input_size=(64, 48),
    trunk=((Conv(9, 6),), (Conv(5, 5),), (Conv(3, 8),)),
    features=(Conv(5, 4),),
    first=(Conv(3, 16), Conv(1, 12)),
    refine=(Conv(7, 8), Conv(1, 8)),
    init_std=None,
)
# Large enough that its 7x7 and 9x9 convolutions are spectral.
LARGE = dataclasses.replace(
    SMALL,
    input_size=(128, 192),
    trunk=((Conv(9, 16),), (Conv(9, 32),), (Conv(3, 24),)),
    features=(Conv(5, 32),),
    refine=(Conv(11, 48), Conv(7, 32), Conv(1, 8)),
)
# Sums in fp32 have another order, because joined convolutions have other blocks; up to 6e-7 was measured.
BOUND = 5e-6
needs_native = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")


def network(config: NetworkConfig, device: str = "cpu") -> CPM:
    torch.manual_seed(3)
    model = CPM(config).to(device)
    model.train()
    with torch.no_grad():
        for conv in model.convs.values():
            if conv.norm is not None:  # those of residual blocks begin at 0, where they would have no effect
                conv.norm.weight.uniform_(0.5, 1.5)
        for _ in range(3):  # running statistics of their own
            model(torch.randn(4, 3, *config.input_size, device=device) + 0.5)
    return model.eval()


def error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    assert [maps.shape for maps in found] == [maps.shape for maps in wanted]
    return max(float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(found, wanted, strict=True))


def crops(config: NetworkConfig, count: int = 2, device: str = "cpu") -> torch.Tensor:
    return torch.randn(count, 3, *config.input_size, device=device)


def scaled(model: CPM, name: str) -> None:
    with torch.no_grad():
        model.conv(name).weight.mul_(1.5)
