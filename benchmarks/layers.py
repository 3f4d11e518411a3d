"""Every distinct convolution of the released 6-stage network: forward, and forward with backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from bounds import BOUNDS
from cpm_fast.config import preset
from cpm_fast.model.layers import Layer, network_layers
from crew import Crew
from harness import Case
from levels import Level
from onnx_peers import ONNX_PEERS
from peers import Peer, cpm_fast_layer, exact_layer, fourier_layer, pytorch_layer, torch_peers
from problems import LayerProblem, Setting

QUICK_SIZE = (64, 64)


def distinct(size: tuple[int, int]) -> list[Layer]:
    """One layer of each shape, in the order of the network, for pictures of a size."""
    found: dict[tuple[object, ...], Layer] = {}
    for layer in network_layers(replace(preset("cpm6"), input_size=size)):
        if layer.kind == "conv":
            found.setdefault((layer.kernel, layer.in_channels, layer.channels, layer.size, layer.relu), layer)
    return list(found.values())


def peers(backward: bool, level: Level, device: str) -> list[Peer]:
    ranks = torch_peers(cpm_fast_layer, pytorch_layer, with_compiler=device == "cuda" and level == "full")
    if device == "cpu":
        ranks.append(Peer("torch.fft", fourier_layer, "fastest tile"))
        if level == "full" and not backward:
            ranks.extend(ONNX_PEERS)
    return ranks


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    seed = torch.seed() % 2**32
    batches = (1, 8) if level == "full" else (1,)
    for batch in batches:
        for layer in distinct(QUICK_SIZE if level == "quick" else preset("cpm6").input_size):
            for backward in (False, True):
                yield case(layer, batch, backward, level, crew, setting, seed)


def case(layer: Layer, batch: int, backward: bool, level: Level, crew: Crew, setting: Setting, seed: int) -> Case:
    problem = LayerProblem(layer, batch, backward, seed, setting)
    window, channels = f"{layer.kernel}x{layer.kernel}", f"{layer.in_channels}->{layer.channels}"
    name = f"{window} {channels} @{layer.size[0]}x{layer.size[1]}{'' if layer.relu else ' linear'}"
    sizes = {
        "kernel": layer.kernel, "channels": [layer.in_channels, layer.channels], "size": list(layer.size),
        "batch": batch, "backward": backward,
    }  # fmt: skip
    return crew.case(
        f"{name}, batch {batch}, forward{'+backward' if backward else ''}", problem, exact_layer,
        peers(backward, level, setting.device), BOUNDS["layer", setting.precision], sizes=sizes,
    )  # fmt: skip
