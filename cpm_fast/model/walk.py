"""The walk over a network's layers that running, binding and exporting share, with one method per kind of layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F

from cpm_fast.config import STRIDE
from cpm_fast.model.layers import Kind, Layer

Map = TypeVar("Map")


class Node(Protocol):
    """A layer, or a group of layers that run as one; `first` stands for all of them."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def first(self) -> Layer: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...


Each = TypeVar("Each", bound=Node)


class Walk(ABC, Generic[Each, Map]):
    """A walk that makes the map of every node from the maps that it reads, with one method per kind."""

    def over(self, nodes: Iterable[Each], maps: dict[str, Map]) -> None:
        """Walk nodes in order, and add their maps by name to those given, which must hold their inputs.

        A node whose map is given is left out; the parts of a group's map are added by the names of its layers.
        """
        for node in nodes:
            if node.name in maps:
                continue
            made = self.visit(node, [maps[name] for name in node.inputs])
            maps[node.name] = made
            if len(node.layers) > 1:
                names = (layer.name for layer in node.layers)
                maps.update(zip(names, self.split(node, made), strict=True))

    def visit(self, node: Each, inputs: list[Map]) -> Map:
        """Return the map of one node."""
        match node.kind:
            case "conv":
                return self.conv(node, inputs[0])
            case "add":
                return self.add(node, inputs[0], inputs[1])
            case "pool":
                return self.pool(node, inputs[0])
            case "center_pool":
                return self.center_pool(node, inputs[0])
            case "concat":
                return self.concat(node, inputs)
            case "dropout":
                return self.dropout(node, inputs[0])
        raise ValueError(f"kind of {node.name} must be one of {Kind.__args__}, got {node.kind!r}")

    @abstractmethod
    def conv(self, node: Each, x: Map) -> Map: ...
    @abstractmethod
    def add(self, node: Each, x: Map, earlier: Map) -> Map: ...
    @abstractmethod
    def pool(self, node: Each, x: Map) -> Map: ...
    @abstractmethod
    def center_pool(self, node: Each, x: Map) -> Map: ...
    @abstractmethod
    def concat(self, node: Each, parts: list[Map]) -> Map: ...
    @abstractmethod
    def split(self, node: Each, made: Map) -> Sequence[Map]: ...

    def dropout(self, node: Each, x: Map) -> Map:
        """Do nothing, as out of training."""
        return x


class TensorWalk(Walk[Each, torch.Tensor]):
    """A walk on tensors by PyTorch's own operations; subclasses add convolutions."""

    def add(self, node: Each, x: torch.Tensor, earlier: torch.Tensor) -> torch.Tensor:
        return F.relu(x + earlier) if node.first.relu else x + earlier

    def pool(self, node: Each, x: torch.Tensor) -> torch.Tensor:
        return max_pool(node.first, x)

    def center_pool(self, node: Each, x: torch.Tensor) -> torch.Tensor:
        return center_pool(node.first, x)

    def concat(self, node: Each, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.to(parts[0].dtype) for part in parts], dim=1)

    def split(self, node: Each, made: torch.Tensor) -> Sequence[torch.Tensor]:
        return made.split([layer.channels for layer in node.layers], dim=1)


def max_pool(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Return the maxima of windows at stride 2; all sides are even, so both forms of pool give half of them."""
    return F.max_pool2d(x, layer.kernel, 2, layer.padding, ceil_mode=layer.padding == 0)


def center_pool(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Return the center map [N, 1, H, W] averaged onto the grid of the belief maps."""
    return F.avg_pool2d(x, layer.kernel, STRIDE, ceil_mode=True)
