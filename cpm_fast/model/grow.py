"""Growth of a network from the weights of a narrower one, or one with fewer stages: its beliefs are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.layers import Layer, network_layers


def origin(layer: Layer, smaller: NetworkConfig) -> str:
    """Return the smaller network's layer that a layer grows from; stages beyond its last grow from the last."""
    last = smaller.stages
    return re.sub(r"^stage\d+_", f"stage{last}_", layer.name) if layer.stage > last > 1 else layer.name


def grows(tensor: torch.Tensor, small: torch.Tensor) -> bool:
    """Return whether a layer's tensor has room for another, of a kernel of the same size."""
    room = all(ours >= theirs for ours, theirs in zip(tensor.shape[:2], small.shape[:2], strict=False))
    return tensor.ndim == small.ndim and tensor.shape[2:] == small.shape[2:] and room


def grown(
    layer: Layer, tensors: Mapping[str, torch.Tensor], small: Mapping[str, torch.Tensor],
    config: NetworkConfig, smaller: NetworkConfig,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Return a convolution whose first channels equal the output of the smaller one on the channels that it has.

    Those channels read no new inputs; the others keep their initial weights, and read everything.

    Args:
        layer: a convolution of the network.
        tensors: of it, by their name in it ("weight", "bias", "norm.weight" ...), as they are initialized.
        small: of its origin, by the same names; each `grows`.
        config, smaller: both networks.
    """
    places = _places(layer, config, smaller)
    result = {name: tensor.clone() for name, tensor in tensors.items()}
    for name, tensor in small.items():
        rows = result[name][: len(tensor)] if tensor.ndim else result[name]
        if tensor.ndim == 4:
            rows.zero_()
            rows[:, places] = tensor.to(rows)
        else:
            rows.copy_(tensor)
    return result


def _places(layer: Layer, config: NetworkConfig, smaller: NetworkConfig) -> list[int]:
    """Return the places of the origin's input channels among those of the layer."""
    ours, theirs = ({other.name: other for other in network_layers(network)} for network in (config, smaller))
    source, start = ours.get(layer.inputs[0]), origin(layer, smaller)
    if source is None or source.kind != "concat":
        return list(range(theirs[start].in_channels))
    places: list[int] = []
    begin = 0
    for name, small_name in zip(source.inputs, theirs[theirs[start].inputs[0]].inputs, strict=True):
        places += range(begin, begin + theirs[small_name].channels)
        begin += ours[name].channels
    return places
