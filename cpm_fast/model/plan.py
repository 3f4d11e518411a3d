"""From the layer list to the steps of an engine: layers that read the same map side by side become one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cpm_fast.model.layers import Layer


@dataclass(frozen=True)
class Step:
    """Layers that run as one: convolutions that read one map, or pools of the parts of one map; else a single layer.

    Args:
        layers: of one kind, kernel and size; the step's output is theirs, one behind the other along the channels.
        inputs: names of what it reads: maps of layers, or the output of the step that made all of them.
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
    def channels(self) -> int:
        return sum(layer.channels for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates an image at the configured input size."""
        return sum(layer.macs for layer in self.layers)


@lru_cache(maxsize=32)
def network_steps(layers: tuple[Layer, ...]) -> tuple[Step, ...]:
    """The steps of a network out of training, in the order they run.

    The first convolutions of both trunks read the image, and the features of all later stages the second trunk: each
    group reads and transforms its input once. Dropout is left out: its readers read what it would have read.
    """
    source = {layer.name: layer.inputs[0] for layer in layers if layer.kind == "dropout"}
    made_by: dict[str, Step] = {}
    steps: list[Step] = []
    for layer in layers:
        if layer.kind == "dropout" or layer.name in made_by:
            continue
        step = Step((layer,), tuple(source.get(name, name) for name in layer.inputs))
        if layer.kind == "conv":
            step = Step(tuple(other for other in layers if _side_by_side(other, layer)), step.inputs)
        elif layer.kind == "pool" and step.inputs[0] in made_by:
            made = made_by[step.inputs[0]]
            parts = {part.name for part in made.layers}
            pools = tuple(other for other in layers if other.kind == "pool" and other.inputs[0] in parts)
            if len(pools) == len(parts):
                step = Step(pools, (made.name,))
        steps.append(step)
        made_by.update((member.name, step) for member in step.layers)
    return tuple(steps)


def _side_by_side(a: Layer, b: Layer) -> bool:
    return (a.kind, a.inputs, a.kernel, a.relu) == (b.kind, b.inputs, b.kernel, b.relu)
