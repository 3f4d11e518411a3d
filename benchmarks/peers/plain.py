"""The network in plain PyTorch, without our ops: the reference for speed and error."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from cpm_fast.config import STRIDE
from cpm_fast.model.cpm import CPM, ContextConv, gaussian_center_map
from cpm_fast.model.layers import CENTER, CPM_STAGE_OUTPUT, IMAGE, Layer
from cpm_fast.model.walk import TensorWalk

MakeConv = Callable[[nn.Conv2d, Layer], nn.Module]


def copy_conv(source: ContextConv, layer: Layer, training: bool) -> tuple[nn.Conv2d, list[nn.Module]]:
    """Return a layer's convolution and the operations after it; except in training, normalization is folded into it."""
    conv = nn.Conv2d(layer.in_channels, layer.channels, layer.kernel, padding=layer.kernel // 2)
    assert conv.bias is not None
    behind: list[nn.Module] = []
    weight, bias = (source.weight, source.bias) if training else source.folded()
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    if training and source.norm is not None:
        norm = nn.BatchNorm2d(layer.channels)
        norm.load_state_dict(source.norm.state_dict())
        behind.append(norm)
    if layer.relu:
        behind.append(nn.ReLU(inplace=True))
    return conv, behind


class _Plain(TensorWalk[Layer]):
    def __init__(self, convs: nn.ModuleDict) -> None:
        self.convs = convs

    def conv(self, node: Layer, x: torch.Tensor) -> torch.Tensor:
        convolved: torch.Tensor = self.convs[node.name](x)
        return convolved


class PlainNetwork(nn.Module):
    """A copy of a model: crops [N, 3, H, W] -> list of T belief maps [N, P+1, h, w]; no dropout, subject centered.

    Args:
        model: the source of layers and weights.
        training: keep batch normalization; otherwise it is folded into the convolutions.
        make_conv: another form of convolution in place of nn.Conv2d.
    """

    def __init__(self, model: CPM, training: bool = False, make_conv: MakeConv | None = None) -> None:
        super().__init__()
        self.layers, self.config = model.layers, model.config
        self.convs = nn.ModuleDict()
        for layer in self.layers:
            if layer.kind == "conv":
                source = model.convs[layer.name]
                assert isinstance(source, ContextConv)
                conv, behind = copy_conv(source, layer, training)
                self.convs[layer.name] = nn.Sequential(make_conv(conv, layer) if make_conv else conv, *behind)
        height, width = self.config.input_size
        middle = torch.tensor([[(width - 1) / 2, (height - 1) / 2]])
        center_map = gaussian_center_map(middle, (height, width), self.config.center_sigma)
        self.register_buffer(CENTER, F.avg_pool2d(center_map, self.config.center_pool, STRIDE, ceil_mode=True))
        self.train(training)

    def forward(self, crops: torch.Tensor) -> list[torch.Tensor]:
        maps = {IMAGE: crops, CENTER: self.get_buffer(CENTER).expand(len(crops), -1, -1, -1)}
        _Plain(self.convs).over(self.layers, maps)
        return [maps[CPM_STAGE_OUTPUT.format(stage)] for stage in range(1, self.config.stages + 1)]
