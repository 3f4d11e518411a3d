"""Layers on fresh numbers drawn on the device, which is far faster than drawing and sending them."""

from __future__ import annotations

import torch

from benchmarks.harness.problems import LayerProblem
from cpm_fast.model.layers import IMAGE


class DeviceLayerProblem(LayerProblem):
    """A `LayerProblem` in one process, so that no other process must draw the same numbers."""

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        device, layer = self.setting.device, self.layer
        generator = torch.Generator(device).manual_seed(self.seed)

        def draw(*sizes: int) -> torch.Tensor:
            return torch.randn(*sizes, generator=generator, device=device)

        x = draw(self.batch, layer.in_channels, *layer.size)
        fan_in = layer.in_channels * layer.kernel**2
        weight = draw(layer.channels, layer.in_channels, layer.kernel, layer.kernel).mul_((2 / fan_in) ** 0.5)
        dy = draw(self.batch, layer.channels, *layer.size)
        return x if layer.inputs[0] == IMAGE else x.relu_(), weight, draw(layer.channels) * 0.1, dy
