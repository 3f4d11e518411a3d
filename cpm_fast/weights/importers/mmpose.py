"""mmpose's CPM checkpoints: their names, and their differences from the released network."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import replace

import torch

from cpm_fast.config import NetworkConfig, mmpose
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, Layer, network_layers
from cpm_fast.skeleton import COCO, JHMDB, MPII, Skeleton
from cpm_fast.weights.importers.mapping import MappedConv, Mapping

# mmpose's detectors keep the network under this name.
PREFIX = "backbone."
STAGE_1_BELIEFS = "stem.9.conv.weight"
SKELETONS = {len(skeleton): skeleton for skeleton in (MPII, COCO, JHMDB)}
# (height, width) that mmpose trains a skeleton for, if it isn't the preset's; COCO also has 384 x 288.
INPUT_SIZES = {"coco": (256, 192)}
NORM = ("weight", "bias", "running_mean", "running_var")


def mmpose_names(config: NetworkConfig) -> dict[str, str]:
    """Return mmpose's modules by our convolutions. Theirs count pools too: the convolutions of a trunk are 0, 2, 4."""
    names = {}
    for block in (1, 2, 3):
        names[f"trunk1_block{block}_conv1"] = f"stem.{2 * block - 2}"
        names[f"trunk2_block{block}_conv1"] = f"middle.{2 * block - 2}"
    names |= {"stage1_features1": "stem.6", "stage1_conv1": "stem.7", "stage1_conv2": "stem.8"}
    names |= {"stage1_beliefs": "stem.9"}
    for stage in range(2, config.stages + 1):
        at = stage - 2
        names[f"stage{stage}_features1"] = f"middle_conv.{at}.0"
        names |= {f"stage{stage}_conv{number}": f"cpm_stages.{at}.model.{number - 1}" for number in (1, 2, 3)}
        names[f"stage{stage}_conv4"] = f"out_convs.{at}.0"
        names[CPM_STAGE_OUTPUT.format(stage)] = f"out_convs.{at}.1"
    return names


def map_mmpose(
    tensors: Map[str, torch.Tensor], skeleton: Skeleton | None = None, input_size: tuple[int, int] | None = None
) -> Mapping:
    """Read the network that an mmpose checkpoint holds, with its weights and batch normalization.

    Its conventions are in the config: RGB with ImageNet's mean and deviation, pixels outside the image 0, pools that
    begin a cell before, beliefs before features, no center map, no background, cell g at box pixel 8 g.

    Args:
        tensors: the checkpoint's state_dict.
        skeleton: the parts; if None, by their number: MPII's 16, COCO's 17 or JHMDB's 15.
        input_size: (height, width) of the box; if None, what mmpose trains that skeleton for.

    Raises:
        ValueError: the names are not those of mmpose's CPM, or its parts have no names.
    """
    theirs = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if STAGE_1_BELIEFS not in theirs:
        raise ValueError(f"it has no {PREFIX}{STAGE_1_BELIEFS} among {len(theirs)} tensors: not a CPM of mmpose")
    parts = theirs[STAGE_1_BELIEFS].shape[:1].numel()
    skeleton = skeleton or SKELETONS.get(parts)
    if skeleton is None or len(skeleton) != parts:
        named = "none were named" if skeleton is None else f"{skeleton.name!r} has {len(skeleton)}"
        raise ValueError(f"its network has {parts} parts, {named}: give a skeleton of as many")
    stages = 1
    while f"out_convs.{stages - 1}.1.conv.weight" in theirs:
        stages += 1
    config = mmpose(skeleton)
    config = replace(config, stages=stages, input_size=input_size or INPUT_SIZES.get(skeleton.name, config.input_size))
    mapping = Mapping("mmpose", config)
    used: set[str] = set()
    for layer in network_layers(config):
        if layer.kind == "conv":
            _fill(mapping, layer, mmpose_names(config)[layer.name], theirs, used)
    mapping.unused = [name for name in theirs if name not in used]
    return mapping


def _fill(mapping: Mapping, layer: Layer, source: str, theirs: Map[str, torch.Tensor], used: set[str]) -> None:
    """Add a convolution. If normalization follows, mmpose's has no bias and ours starts at 0."""
    shape = (layer.channels, layer.in_channels, layer.kernel, layer.kernel)
    names = {"weight": f"{source}.conv.weight"}
    if layer.norm:
        names |= {f"norm.{key}": f"{source}.bn.{key}" for key in NORM}
    else:
        names["bias"] = f"{source}.conv.bias"
    problem = ""
    for key, name in names.items():
        wanted = shape if key == "weight" else (layer.channels,)
        if name not in theirs:
            problem = problem or f"{name} is missing"
        elif tuple(theirs[name].shape) != wanted:
            problem = problem or f"{name} has {'x'.join(str(side) for side in theirs[name].shape)}"
    mapping.rows.append(MappedConv(layer.name, source, shape, problem))
    counted = f"{source}.bn.num_batches_tracked"
    used.update(names.values(), [counted])
    if problem:
        return
    found = {key: theirs[name].float() for key, name in names.items()}
    if layer.norm:
        found["bias"] = torch.zeros(layer.channels)
        # The number of batches behind the statistics; PyTorch before 0.4.1 did not count.
        found["norm.num_batches_tracked"] = theirs.get(counted, torch.tensor(0)).long().reshape(())
    mapping.tensors |= {f"convs.{layer.name}.{key}": tensor for key, tensor in found.items()}
