"""The layer names of the released Caffe networks (release of Wei et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, network_layers
from cpm_fast.skeleton import FLIC, LSP, Skeleton
from cpm_fast.weights.importers.mapping import MappedConv, Mapping

Blobs = Map[str, list[np.ndarray]]
# Presets whose networks the release has, and the layout of each.
LAYOUTS = {"cpm6": "released", "flic": "released", "vgg": "released VGG", "person": "released person"}
# Layers that only this layout has, and the belief layers of its first and its later stages.
SIGNS = {
    "released": ("conv1_stage1", "conv7_stage1", "Mconv5_stage{}"),
    "released VGG": ("conv4_7_CPM", "conv5_2_CPM", "Mconv7_stage{}"),
    "released person": ("conv6_1_CPM", "conv6_2_CPM", "Mconv7_stage{}"),
}
SKELETONS = {len(skeleton): skeleton for skeleton in (LSP, FLIC)}


def released_names(config: NetworkConfig) -> dict[str, str]:
    """Return Caffe's names by our convolutions, for the networks trained on MPII, LSP and FLIC."""
    names = {f"trunk{trunk}_block{block}_conv1": f"conv{block}_stage{trunk}" for trunk in (1, 2) for block in (1, 2, 3)}
    names |= {"stage1_features1": "conv4_stage1", "stage1_conv1": "conv5_stage1", "stage1_conv2": "conv6_stage1"}
    names |= {"stage1_beliefs": "conv7_stage1"}
    for stage in range(2, config.stages + 1):
        # The trunk of the later stages counts as stage 2's, so that stage's features are its fourth convolution.
        names[f"stage{stage}_features1"] = "conv4_stage2" if stage == 2 else f"conv1_stage{stage}"
        names |= {f"stage{stage}_conv{number}": f"Mconv{number}_stage{stage}" for number in (1, 2, 3, 4)}
        names[CPM_STAGE_OUTPUT.format(stage)] = f"Mconv5_stage{stage}"
    return names


def vgg_names(config: NetworkConfig) -> dict[str, str]:
    """Return Caffe's names by our convolutions, for the network on a VGG-19 trunk."""
    tail = [f"conv4_{number}" + ("_CPM" if number > 2 else "") for number in range(1, 8)]
    return _names_on_vgg(config, tail, ("conv5_1_CPM", "conv5_2_CPM"))


def person_names(config: NetworkConfig) -> dict[str, str]:
    """Return Caffe's names by our convolutions, for the network that finds people."""
    tail = [*(f"conv4_{number}" for number in range(1, 5)), "conv5_1", "conv5_2_CPM"]
    return _names_on_vgg(config, tail, ("conv6_1_CPM", "conv6_2_CPM"))


def _names_on_vgg(config: NetworkConfig, tail: Sequence[str], first: tuple[str, str]) -> dict[str, str]:
    """Return the names for a network on VGG-19's blocks: those of its tail, and of the head of stage 1."""
    names = {
        f"trunk1_block{block}_conv{number}": f"conv{block}_{number}"
        for block, count in ((1, 2), (2, 2), (3, 4))
        for number in range(1, count + 1)
    }
    names |= {f"trunk1_tail{number}": name for number, name in enumerate(tail, 1)}
    names |= {"stage1_conv1": first[0], "stage1_beliefs": first[1]}
    for stage in range(2, config.stages + 1):
        names |= {f"stage{stage}_conv{number}": f"Mconv{number}_stage{stage}" for number in range(1, 7)}
        names[CPM_STAGE_OUTPUT.format(stage)] = f"Mconv7_stage{stage}"
    return names


NAMES = {"released": released_names, "released VGG": vgg_names, "released person": person_names}


def map_caffe(blobs: Blobs, name: str | None = None, skeleton: Skeleton | None = None) -> Mapping:
    """Read the network that a .caffemodel holds, with its weights.

    Caffe convolves as PyTorch does (cross-correlation, weights [O, C, k, k]) and these networks read BGR pixels as
    (v - 128) / 256, as the presets do: nothing is transposed or scaled.

    Args:
        blobs: of the file.
        name: of the preset; if None, found by the names of the layers, and then also the number of stages.
        skeleton: the parts; if None, by their number: the release's 14 or 9. The network that finds people has none.

    Raises:
        ValueError: the names are of no released network, its parts have no names, or it has none and is given a
            skeleton.
    """
    if name is not None and name not in LAYOUTS:
        raise ValueError(f"preset of a .caffemodel must be one of {sorted(LAYOUTS)}, got {name!r}")
    layout = LAYOUTS[name] if name else next((key for key, (sign, *_) in SIGNS.items() if sign in blobs), None)
    if layout is None:
        raise ValueError(
            f"its layers are of no network known here: none of {[sign for sign, *_ in SIGNS.values()]} among "
            f"{len(blobs)}, {sorted(blobs)[:6]}"
        )
    if layout == LAYOUTS["person"] and skeleton is not None:
        raise ValueError(f"its network finds people and has no parts: leave out the skeleton, got {skeleton.name!r}")
    config = preset(name, skeleton) if name else _network(blobs, layout, skeleton)
    names = NAMES[layout](config)
    mapping = Mapping(f"Caffe, {layout}", config)
    for layer in network_layers(config):
        if layer.kind == "conv":
            shape = (layer.channels, layer.in_channels, layer.kernel, layer.kernel)
            source = names[layer.name]
            found, problem = _convolution(blobs.get(source), shape)
            mapping.tensors |= {f"convs.{layer.name}.{key}": tensor for key, tensor in found.items()}
            mapping.rows.append(MappedConv(layer.name, source, shape, problem))
    mapping.unused = [name for name in blobs if name not in set(names.values())]
    return mapping


def _network(blobs: Blobs, layout: str, skeleton: Skeleton | None) -> NetworkConfig:
    _, first, later = SIGNS[layout]
    stages = 1
    while later.format(stages + 1) in blobs:
        stages += 1
    if not blobs.get(first):
        raise ValueError(f"it has no layer {first!r}, which makes the beliefs of stage 1")
    base = next(name for name, other in LAYOUTS.items() if other == layout)
    maps = [*blobs[first][0].shape, 0][0]
    if preset(base).kind == "find":
        if maps != preset(base).maps:
            raise ValueError(
                f"its layer {first!r} makes {maps} maps, the release's person network makes one; other networks with "
                "such names are not known here"
            )
        return replace(preset(base), stages=stages)
    parts = maps - 1  # the background is the last map
    skeleton = skeleton or SKELETONS.get(parts)
    if skeleton is None or len(skeleton) != parts:
        named = "none were named" if skeleton is None else f"{skeleton.name!r} has {len(skeleton)}"
        raise ValueError(f"its network has {parts} parts, {named}: give a skeleton of as many")
    return replace(preset(base, skeleton), stages=stages)


def _convolution(arrays: list[np.ndarray] | None, shape: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], str]:
    """Return weight and bias of a layer of the file, or its fault."""
    if arrays is None:
        return {}, "missing"
    if len(arrays) != 2:
        return {}, f"has {len(arrays)} arrays, not weight and bias"
    weight, bias = arrays
    if weight.shape != shape:
        return {}, f"has {'x'.join(str(side) for side in weight.shape)}"
    # The first form of shapes has four sides for a bias too: 1 x 1 x 1 x O.
    if bias.size != shape[0] or max(bias.shape, default=0) != bias.size:
        return {}, f"has a bias of {'x'.join(str(side) for side in bias.shape)}"
    return {
        key: torch.from_numpy(array.astype(np.float32)) for key, array in (("weight", weight), ("bias", bias.ravel()))
    }, ""
