"""Whole networks, forward, as users run them: the small one and the released 6-stage one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew
from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.peers.pytorch import (
    Peer,
    cpm_fast_network,
    exact_network,
    fourier_network,
    pytorch_network,
    torch_peers,
)
from benchmarks.peers.runtimes import ONNX_PEERS
from cpm_fast.config import preset

# (preset, batch)
NETWORKS: dict[Level, tuple[tuple[str, int], ...]] = {
    "quick": (("compact", 1),),
    "tour": (("compact", 1), ("cpm6", 1)),
    "default": (("compact", 1), ("cpm6", 1)),
    "full": (("compact", 1), ("cpm6", 1), ("compact", 8), ("cpm6", 8)),
}
GPU_NETWORKS = (("compact", 1), ("cpm6", 1), ("cpm6", 32))


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    networks = NETWORKS[level] if setting.device == "cpu" or level == "quick" else GPU_NETWORKS
    for name, batch in networks:
        yield case(name, batch, level, crew, setting)


def case(name: str, batch: int, level: Level, crew: Crew, setting: Setting) -> Case:
    # He's initialization keeps activations of one size through all stages, as training does.
    config = replace(preset(name), init_std=None)
    problem = NetworkProblem(config, batch, torch.seed() % 2**32, setting)
    height, width = config.input_size
    return crew.case(
        f"network {name}, {height}x{width}, batch {batch}, forward",
        problem,
        crew.oracle(exact_network, problem),
        peers(level, setting.device),
        BOUNDS["network", setting.precision],
        {"network": name, "size": [height, width]},
    )


def peers(level: Level, device: str) -> list[Peer]:
    ranks = torch_peers(cpm_fast_network, pytorch_network, with_compiler=level == "full")
    if device == "cpu":
        ranks.extend(ONNX_PEERS)
        ranks.append(Peer("torch.fft", fourier_network, "fastest tile a layer, where it pays"))
    # These are the slowest to call and to prepare.
    left_out = ("OpenCV DNN", "torch.fft") if level == "tour" else ()
    return [peer for peer in ranks if peer.name not in left_out]
