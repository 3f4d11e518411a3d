"""Trunks that start from ImageNet weights: VGG-19 as torchvision stores it, from a local file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.model.layers import network_layers
from cpm_fast.weights.importers.state_dict import read_state_dict

# Convolutions of the trunk, and their indices in torchvision's `vgg19().features`. The tail is VGG's fourth block,
# which a fourth pool would end.
VGG19 = {
    "block1_conv1": 0,
    "block1_conv2": 2,
    "block2_conv1": 5,
    "block2_conv2": 7,
    "block3_conv1": 10,
    "block3_conv2": 12,
    "block3_conv3": 14,
    "block3_conv4": 16,
    "tail1": 19,
    "tail2": 21,
    "tail3": 23,
    "tail4": 25,
}
# torchvision's input: RGB, (pixel / 255 - mean) / std.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WHITE = 255.0


def init_trunk(model: CPM, path: str | Path) -> list[str]:
    """Put the leading convolutions of VGG-19 into a network's trunk, or into both trunks.

    They are taken in order up to the first of another shape: ten for the preset "vgg". The first is converted from
    torchvision's input (RGB, ImageNet's mean and deviation) to the network's, so that it sees the same picture; it
    differs only along the border, where zero padding stands for another gray.

    Args:
        model: changed in place; without batch normalization.
        path: torchvision's vgg19 weights as .safetensors or .pth; entries beside "features.*" are ignored.

    Returns:
        The names of the layers that were filled.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not VGG-19, or the trunk does not begin like it.
    """
    return fill_trunk(model, read_state_dict(path), path)


def fill_trunk(model: CPM, tensors: Mapping[str, torch.Tensor], path: str | Path) -> list[str]:
    """Fill the trunk as `init_trunk` does, from tensors that were read already.

    Raises:
        ValueError: as `init_trunk`; the message names the file.
    """
    _convolution(tensors, 0, path)  # a wrong file is reported before a wrong network
    if model.config.norm != "none":
        raise ValueError(f"a trunk that starts from VGG-19 must have norm 'none', got {model.config.norm!r}")
    layers = {layer.name for layer in network_layers(model.config)}
    filled = []
    for trunk in ("trunk1", "trunk2"):
        for part, index in VGG19.items():
            name = f"{trunk}_{part}"
            if name not in layers:
                break
            weight, bias = _convolution(tensors, index, path)
            conv = model.conv(name)
            if conv.weight.shape != weight.shape:
                break
            if index == 0:
                weight, bias = _for_input(weight, bias, model.config)
            with torch.no_grad():
                conv.weight.copy_(weight)
                conv.bias.copy_(bias)
            filled.append(name)
    if not filled:
        shape = list(model.conv("trunk1_block1_conv1").weight.shape)
        raise ValueError(f"the trunk must begin with VGG-19's [64, 3, 3, 3], got {shape}; --preset vgg does")
    return filled


def used_tensors(filled: Sequence[str]) -> set[str]:
    """Return the names in torchvision's file that these layers of ours were filled from."""
    parts = {name.partition("_")[2] for name in filled}
    return {f"features.{VGG19[part]}.{kind}" for part in parts for kind in ("weight", "bias")}


def _convolution(
    tensors: Mapping[str, torch.Tensor], index: int, path: str | Path
) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = (tensors.get(f"features.{index}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 4 or bias.shape != weight.shape[:1]:
        raise ValueError(f"{path}: must be VGG-19 as torchvision has it, got no convolution features.{index}")
    return weight, bias


def _for_input(weight: torch.Tensor, bias: torch.Tensor, config: NetworkConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first convolution for the network's own input: theirs = ours * factor + offset, channel by channel."""
    scale, mean = (torch.tensor(values, dtype=torch.float64) for values in (config.pixel_scale, config.pixel_mean))
    their_mean, their_std = (torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    weight = weight.double()
    if config.color == "bgr":
        weight, their_mean, their_std = weight.flip(1), their_mean.flip(0), their_std.flip(0)
    factor = scale / (WHITE * their_std)
    offset = (mean / WHITE - their_mean) / their_std
    return weight * factor[:, None, None], bias.double() + (weight * offset[:, None, None]).sum((1, 2, 3))
