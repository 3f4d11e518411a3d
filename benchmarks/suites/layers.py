"""Every distinct convolution of the released 6-stage network: forward, and forward with backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew
from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case
from benchmarks.harness.problems import LayerProblem, Setting
from benchmarks.peers.pytorch import Peer, cpm_fast_layer, exact_layer, fourier_layer, pytorch_layer, torch_peers
from benchmarks.peers.runtimes import ONNX_PEERS
from cpm_fast.config import preset
from cpm_fast.model.layers import Layer, network_layers

QUICK_SIZE = (64, 64)


def distinct(size: tuple[int, int]) -> list[Layer]:
    """Return one layer of each shape, in the order of the network, for pictures of a size."""
    found: dict[tuple[object, ...], Layer] = {}
    for layer in network_layers(replace(preset("cpm6"), input_size=size)):
        if layer.kind == "conv":
            found.setdefault((layer.kernel, layer.in_channels, layer.channels, layer.size, layer.relu), layer)
    return list(found.values())


def peers(backward: bool, level: Level, device: str) -> list[Peer]:
    ranks = torch_peers(cpm_fast_layer, pytorch_layer, with_compiler=device == "cuda" and level == "full")
    # Autograd through torch.fft takes seconds per layer, and only whole networks are exported so far.
    if device == "cpu" and (not backward or level == "full"):
        ranks.append(Peer("torch.fft", fourier_layer, "fastest tile"))
    if device == "cpu" and not backward and level == "full":
        ranks.extend(ONNX_PEERS)
    return ranks


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    size = QUICK_SIZE if level == "quick" else preset("cpm6").input_size
    for batch in (1, 8) if level == "full" else (1,):
        for layer in distinct(size):
            yield from both_ways(LayerProblem(layer, batch, True, torch.seed() % 2**32, setting), level, crew)


def both_ways(problem: LayerProblem, level: Level, crew: Crew) -> Iterator[Case]:
    """Return forward, and forward with backward."""
    layer, precision = problem.layer, problem.setting.precision
    shape = f"{layer.kernel}x{layer.kernel} {layer.in_channels}->{layer.channels} @{layer.size[0]}x{layer.size[1]}"
    name = f"{shape}{'' if layer.relu else ' linear'}, batch {problem.batch}, forward"
    sizes = {"kernel": layer.kernel, "channels": [layer.in_channels, layer.channels], "size": list(layer.size)}
    right = crew.oracle(exact_layer, problem)
    for backward, results, what in ((False, right[:1], ""), (True, right, "+backward")):
        yield crew.case(
            name + what,
            replace(problem, backward=backward),
            results,
            peers(backward, level, problem.setting.device),
            BOUNDS["layer", precision],
            {**sizes, "backward": backward},
        )
