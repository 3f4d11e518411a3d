"""Growth of a network from a narrower one, or one with fewer stages or residual blocks: its beliefs are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, SUM, Layer, network_layers

# Kernel and `Conv.add` of a convolution.
Form = tuple[int, int]


def origins(config: NetworkConfig, smaller: NetworkConfig) -> dict[str, str | None]:
    """Return, for every convolution, the one of the smaller network that it grows from.

    Stages beyond the last of the smaller network grow from that. Residual blocks that the smaller network lacks have
    no origin (None): they begin as the identity (`silenced`).

    Examples:
        >>> from dataclasses import replace
        >>> from cpm_fast.config import Conv, preset
        >>> small = preset("compact")
        >>> deep = replace(small, refine=(*small.refine[:3], Conv(5, 32), Conv(5, 32, add=2), small.refine[3]))
        >>> found = origins(deep, small)
        >>> [found[f"stage2_conv{number}"] for number in range(3, 7)]
        ['stage2_conv3', None, None, 'stage2_conv4']
    """
    ours, theirs = _sequences(config), _sequences(smaller)
    last = smaller.stages
    found: dict[str, str | None] = {}
    for prefix, kinds in ours.items():
        stage = re.match(r"stage(\d+)", prefix)
        start = re.sub(r"^stage\d+", f"stage{last}", prefix) if stage and int(stage[1]) > last > 1 else prefix
        for number, place in enumerate(_matching_numbers(kinds, theirs.get(start, ())), 1):
            found[f"{prefix}{number}"] = None if place is None else f"{start}{place}"
    for layer in network_layers(config):
        if layer.kind == "conv" and layer.name not in found:  # the beliefs
            found[layer.name] = CPM_STAGE_OUTPUT.format(last if layer.stage > last > 1 else layer.stage)
    return found


def sums(config: NetworkConfig) -> dict[str, int]:
    """Return `Conv.add` of the convolutions that close a residual block, by their names."""
    closing = [layer.inputs for layer in network_layers(config) if layer.kind == "add"]
    return {name: _number(name) - _number(earlier.removesuffix(SUM.format(""))) for name, earlier in closing}


def _number(name: str) -> int:
    return int(re.findall(r"\d+$", name)[0])


def _sequences(config: NetworkConfig) -> dict[str, list[Form]]:
    """Return the convolutions that stand one after another, by their names without the number."""
    found: dict[str, list[Form]] = {}
    adds = sums(config)
    for layer in network_layers(config):
        if layer.kind == "conv" and layer.name != CPM_STAGE_OUTPUT.format(layer.stage):
            prefix = layer.name.removesuffix(str(_number(layer.name)))
            found.setdefault(prefix, []).append((layer.kernel, adds.get(layer.name, 0)))
    return found


def _matching_numbers(ours: Sequence[Form], theirs: Sequence[Form]) -> list[int | None]:
    """Return the numbers of ours among theirs, None in blocks of ours alone; 1, 2, ... if more than these differ."""
    places: list[int | None] = []
    number = 0
    while len(places) < len(ours):
        at = len(places)
        if number < len(theirs) and ours[at] == theirs[number]:
            number += 1
            places.append(number)
            continue
        length = next((n for n, (_, add) in enumerate(ours[at:], 1) if add == n), 0)
        if not length:
            break
        places += [None] * length
    matched = len(places) == len(ours) and number == len(theirs)
    return places if matched else list(range(1, len(ours) + 1))


def silenced(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the convolution that closes a residual block as one that adds nothing: the block is the identity.

    The maps that a block reads are not negative, and the ReLU behind its sum keeps them.

    Args:
        tensors: of the convolution, by their name in it, as they are initialized.
    """
    last = [name for name in ("norm.weight", "norm.bias") if name in tensors] or ["weight", "bias"]
    return {name: torch.zeros_like(tensor) if name in last else tensor for name, tensor in tensors.items()}


def grows(tensor: torch.Tensor, small: torch.Tensor) -> bool:
    """Return whether a layer's tensor has room for another, of a kernel of the same size."""
    room = all(ours >= theirs for ours, theirs in zip(tensor.shape[:2], small.shape[:2], strict=False))
    return tensor.ndim == small.ndim and tensor.shape[2:] == small.shape[2:] and room


def grown(
    layer: Layer,
    start: str,
    tensors: Mapping[str, torch.Tensor],
    small: Mapping[str, torch.Tensor],
    config: NetworkConfig,
    smaller: NetworkConfig,
) -> dict[str, torch.Tensor]:
    """Return a convolution whose first channels equal the output of the smaller one on the channels that it has.

    Those channels read no new inputs; the others keep their initial weights, and read everything.

    Args:
        layer: a convolution of the network.
        start: its origin.
        tensors: of it, by their name in it ("weight", "bias", "norm.weight" ...), as they are initialized.
        small: of its origin, by the same names; each `grows`.
        config, smaller: both networks.
    """
    places = _places(layer, start, config, smaller)
    result = {name: tensor.clone() for name, tensor in tensors.items()}
    for name, tensor in small.items():
        rows = result[name][: len(tensor)] if tensor.ndim else result[name]
        if tensor.ndim == 4:
            rows.zero_()
            rows[:, places] = tensor.to(rows)
        else:
            rows.copy_(tensor)
    return result


def _places(layer: Layer, start: str, config: NetworkConfig, smaller: NetworkConfig) -> list[int]:
    """Return the places of the origin's input channels among those of the layer."""
    ours, theirs = ({other.name: other for other in network_layers(network)} for network in (config, smaller))
    source = ours.get(layer.inputs[0])
    if source is None or source.kind != "concat":
        return list(range(theirs[start].in_channels))
    places: list[int] = []
    begin = 0
    for name, small_name in zip(source.inputs, theirs[theirs[start].inputs[0]].inputs, strict=True):
        places += range(begin, begin + theirs[small_name].channels)
        begin += ours[name].channels
    return places
