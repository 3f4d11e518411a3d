"""A small network with batch normalization, whose engine folds it, and the error of an engine's maps."""

import torch

from cpm_fast import CPM, NetworkConfig
from cpm_fast.config import Conv

CONFIG = NetworkConfig(
    stages=2,
    input_size=(32, 32),
    trunk=((Conv(3, 6),), (Conv(3, 5),), (Conv(3, 8),)),
    features=(Conv(3, 4),),
    first=(Conv(3, 8), Conv(1, 8)),
    refine=(Conv(3, 8), Conv(1, 8)),
    init_std=None,
    norm="batch",
    shared_trunk=True,
)
BOUND = 5e-6


def network(seed: int = 3) -> CPM:
    torch.manual_seed(seed)
    return CPM(CONFIG).eval()


def crops(count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32)


def error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True))
