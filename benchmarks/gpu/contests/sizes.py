"""The networks, layers and batches that a visit measures, and the tiny ones of a rehearsal on the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from benchmarks.suites import layers
from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.model.layers import Layer

PRECISIONS = ("bf16", "fp32", "tf32")
# (name, batch), the most useful first.
NETWORKS = {"cuda": (("cpm6", 32), ("cpm6", 1), ("compact", 32), ("compact", 1)), "cpu": (("tiny", 2), ("tiny", 1))}
PARITY = {"cuda": (("cpm6", 4), ("compact", 8)), "cpu": (("tiny", 2),)}
# With these batches three contestants and their graphs fit 80 GB.
TRAINING = {"cuda": (("cpm6", 16), ("compact", 32)), "cpu": (("tiny", 2),)}
LAYER_BATCHES = {"cuda": (32, 1), "cpu": (1,)}
TINY_SIDE = 32
TINY = replace(
    preset("compact"),
    input_size=(TINY_SIDE, TINY_SIDE),
    stages=2,
    trunk=((Conv(3, 4),), (Conv(5, 4),), (Conv(3, 4),)),
    tail=(),
    features=(Conv(1, 4),),
    first=(Conv(5, 4),),
    refine=(Conv(7, 4),),
    dropout=0.0,
)


def network(name: str) -> NetworkConfig:
    """Return the config of a network whose random weights keep activations of one size, as training does."""
    return TINY if name == "tiny" else replace(preset(name), init_std=None, dropout=0.0)


@cache
def distinct_layers(device: str) -> tuple[Layer, ...]:
    """Return one convolution of each shape, those with the most work first."""
    found = layers.distinct(preset("cpm6").input_size if device == "cuda" else (TINY_SIDE, TINY_SIDE))
    found = [layer for layer in found if layer.kernel > 1]
    if device == "cpu":
        found = [replace(layer, in_channels=min(layer.in_channels, 4), channels=4) for layer in found[:3]]
    return tuple(sorted(found, key=lambda layer: -layer.macs))


def layer_name(layer: Layer) -> str:
    return f"{layer.kernel}x{layer.kernel} {layer.in_channels}->{layer.channels} @{layer.size[0]}x{layer.size[1]}"
