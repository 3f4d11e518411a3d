"""The network as data: a list of layers that the model, the plans, the importers and the cost tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cpm_fast.config import STRIDE, Conv, NetworkConfig

IMAGE = "image"
CENTER_MAP = "center_map"
CENTER = "center"
Kind = Literal["conv", "add", "pool", "center_pool", "concat", "dropout"]
# The map that a convolution of this name makes together with an earlier one.
SUM = "{}_sum"


@dataclass(frozen=True)
class Layer:
    """One step, named for its output.

    Args:
        name: of the layer and of the map it makes.
        kind: "conv" (same size), "add" (sum of two maps), "pool" (maximum, stride 2), "center_pool" (average, stride
            8), "concat" or "dropout".
        inputs: names of the maps it reads; the first are "image" and "center_map".
        kernel: side of the window in cells of its input.
        in_channels, channels: of its input and output.
        size: (h, w) of its output.
        relu: whether ReLU follows (convolutions and sums).
        norm: whether batch normalization stands between convolution and ReLU.
        stage: which stage it belongs to; 0 for a trunk and the center map.
        padding: of a pool: cells that its windows begin before the map.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    kernel: int
    in_channels: int
    channels: int
    size: tuple[int, int]
    relu: bool = False
    norm: bool = False
    stage: int = 0
    padding: int = 0

    @property
    def first(self) -> Layer:
        """The layer itself: it is walked as a group of one."""
        return self

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self,)

    @property
    def parameters(self) -> int:
        """Weights and biases, and the two vectors of a batch normalization."""
        if self.kind != "conv":
            return 0
        return self.channels * (self.in_channels * self.kernel**2 + 1) + (2 * self.channels if self.norm else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image."""
        if self.kind != "conv":
            return 0
        return self.channels * self.in_channels * self.kernel**2 * self.size[0] * self.size[1]


class _Builder:
    """A builder that appends layers and remembers channels and size of every map by name."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.layers: list[Layer] = []
        self.maps: dict[str, tuple[int, tuple[int, int]]] = {
            IMAGE: (3, config.input_size),
            CENTER_MAP: (1, config.input_size),
        }

    def add(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.maps[layer.name] = (layer.channels, layer.size)
        return layer.name

    def conv(self, name: str, source: str, conv: Conv, stage: int = 0, linear: bool = False) -> str:
        channels, size = self.maps[source]
        belief = name == CPM_STAGE_OUTPUT.format(stage)
        norm = self.config.norm == "batch" and not belief
        return self.add(
            Layer(name, "conv", (source,), conv.kernel, channels, conv.channels, size, not linear, norm, stage)
        )

    def convs(self, prefix: str, source: str, convs: Sequence[Conv], stage: int = 0, dropout: str = "") -> str:
        """Append convolutions one after another, each with its sum, and with dropout behind it if that is named."""
        made: list[str] = []
        for number, conv in enumerate(convs, 1):
            source = self.conv(f"{prefix}{number}", source, conv, stage, linear=conv.add > 0)
            if conv.add:
                source = self.sum(source, made[number - 1 - conv.add], stage)
            if dropout:
                channels, size = self.maps[source]
                name = f"{dropout}{number}"
                source = self.add(Layer(name, "dropout", (source,), 1, channels, channels, size, stage=stage))
            made.append(source)
        return source

    def sum(self, source: str, earlier: str, stage: int) -> str:
        channels, size = self.maps[source]
        return self.add(
            Layer(SUM.format(source), "add", (source, earlier), 1, channels, channels, size, relu=True, stage=stage)
        )

    def pool(self, name: str, source: str) -> str:
        channels, (h, w) = self.maps[source]
        kernel, padding = self.config.pool_kernel, self.config.pool_padding
        return self.add(Layer(name, "pool", (source,), kernel, channels, channels, (h // 2, w // 2), padding=padding))

    def trunk(self, prefix: str) -> str:
        source = IMAGE
        for number, block in enumerate(self.config.trunk, 1):
            source = self.convs(f"{prefix}_block{number}_conv", source, block)
            source = self.pool(f"{prefix}_block{number}_pool", source)
        return self.convs(f"{prefix}_tail", source, self.config.tail)


@lru_cache(maxsize=32)
def network_layers(config: NetworkConfig) -> tuple[Layer, ...]:
    """Return the layers of a network in the order they run; `stage{t}_beliefs` are its outputs."""
    build = _Builder(config)
    first_trunk = build.trunk("trunk1")
    later_trunk = first_trunk
    beliefs = CPM_STAGE_OUTPUT.format(1)
    features = build.convs("stage1_features", first_trunk, config.features, stage=1)
    dropout = "stage1_dropout" if config.dropout > 0 else ""
    source = build.convs("stage1_conv", features, config.first, stage=1, dropout=dropout)
    build.conv(beliefs, source, Conv(1, config.maps), stage=1, linear=True)
    if config.stages > 1:
        if not config.shared_trunk:
            later_trunk = build.trunk("trunk2")
        if config.center_map:
            build.add(Layer(CENTER, "center_pool", (CENTER_MAP,), config.center_pool, 1, 1, config.map_size))
    for stage in range(2, config.stages + 1):
        features = build.convs(f"stage{stage}_features", later_trunk, config.features, stage=stage)
        sources = {"features": features, "beliefs": beliefs, "center": CENTER}
        inputs = tuple(sources[name] for name in config.concat if name != "center" or config.center_map)
        channels = sum(build.maps[name][0] for name in inputs)
        source = build.add(
            Layer(f"stage{stage}_concat", "concat", inputs, 1, channels, channels, config.map_size, stage=stage)
        )
        source = build.convs(f"stage{stage}_conv", source, config.refine, stage=stage)
        beliefs = CPM_STAGE_OUTPUT.format(stage)
        build.conv(beliefs, source, Conv(1, config.maps), stage=stage, linear=True)
    return tuple(build.layers)


CPM_STAGE_OUTPUT = "stage{}_beliefs"


def parameter_count(config: NetworkConfig) -> int:
    """Return the number of parameters of a network."""
    return sum(layer.parameters for layer in network_layers(config))


def mac_count(config: NetworkConfig) -> int:
    """Return the multiply-accumulates per image at the configured input size."""
    return sum(layer.macs for layer in network_layers(config))


def receptive_field(config: NetworkConfig, stage: int) -> int:
    """Return the side in image pixels of a belief's receptive field (Wei et al. 2016, section 3.2.2 and Figure 4).

    The released network: 167 px at stage 1 and 407 px at stage 2 (the paper's 160 and 400 hold for 2x2 pools).

    Raises:
        ValueError: the network has no such stage.
    """
    if not 1 <= stage <= config.stages:
        raise ValueError(f"stage must be from 1 to {config.stages}, got {stage}")
    # (side of its field in pixels, pixels from cell to cell) per map.
    fields: dict[str, tuple[int, int]] = {IMAGE: (1, 1), CENTER_MAP: (1, 1)}
    for layer in network_layers(config):
        side = max(fields[name][0] for name in layer.inputs if name != CENTER)
        step = max(fields[name][1] for name in layer.inputs)
        side += (layer.kernel - 1) * step
        fields[layer.name] = side, step * {"pool": 2, "center_pool": STRIDE}.get(layer.kind, 1)
    return fields[CPM_STAGE_OUTPUT.format(stage)][0]


def belief_field(config: NetworkConfig) -> int:
    """Return the side in cells of the window of earlier beliefs that a later stage sees: 31 as released."""
    return 1 + sum(conv.kernel - 1 for conv in config.refine)
