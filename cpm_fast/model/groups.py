"""Groups of layers that an engine runs as one because they read the same map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cpm_fast.model.layers import Kind, Layer


@dataclass(frozen=True)
class Group:
    """Layers that run as one: convolutions that read one map, or pools of the parts of one map; else a single layer.

    Args:
        layers: of one kind, kernel and size; the group's output is theirs, one after another along the channels.
        inputs: names of the maps that it reads: those of layers, or the output of the group that made all of them.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        return "+".join(layer.name for layer in self.layers)

    @property
    def first(self) -> Layer:
        return self.layers[0]

    @property
    def kind(self) -> Kind:
        return self.first.kind

    @property
    def channels(self) -> int:
        return sum(layer.channels for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image at the configured input size."""
        return sum(layer.macs for layer in self.layers)


@lru_cache(maxsize=32)
def layer_groups(layers: tuple[Layer, ...]) -> tuple[Group, ...]:
    """Return the groups of a network out of training, in the order they run.

    The first convolutions of both trunks read the image, and the features of all later stages the second trunk: each
    group reads and transforms its input once. Dropout is left out: its readers read its input.
    """
    source = {layer.name: layer.inputs[0] for layer in layers if layer.kind == "dropout"}
    made_by: dict[str, Group] = {}
    groups: list[Group] = []
    for layer in layers:
        if layer.kind == "dropout" or layer.name in made_by:
            continue
        group = Group((layer,), tuple(source.get(name, name) for name in layer.inputs))
        if layer.kind == "conv":
            group = Group(tuple(other for other in layers if _side_by_side(other, layer)), group.inputs)
        elif layer.kind == "pool" and group.inputs[0] in made_by:
            made = made_by[group.inputs[0]]
            parts = {part.name for part in made.layers}
            pools = tuple(other for other in layers if other.kind == "pool" and other.inputs[0] in parts)
            if len(pools) == len(parts):
                group = Group(pools, (made.name,))
        groups.append(group)
        made_by.update((member.name, group) for member in group.layers)
    return tuple(groups)


def _side_by_side(a: Layer, b: Layer) -> bool:
    return (a.kind, a.inputs, a.kernel, a.relu) == (b.kind, b.inputs, b.kernel, b.relu)
