"""The problems that the workers compute: a layer, a network, a training step.

A problem is small to send, and every process draws the same numbers from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM, ContextConv
from cpm_fast.model.layers import IMAGE, Layer, mac_count
from cpm_fast.training.targets.loss import Targets

# A forward pass, and the same with the gradients of input and weights.
PASSES_FORWARD, PASSES_BOTH = 1, 3
# So small that a thousand timed steps hardly change the problem.
LEARNING_RATE = 1e-12


@dataclass(frozen=True)
class Setting:
    """A device and a precision: "cpu" in "fp32" or "bf16", "cuda" in "fp32", "tf32", "fp16" or "bf16"."""

    device: str = "cpu"
    precision: str = "fp32"

    @property
    def dtype(self) -> torch.dtype:
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision, torch.float32)


@dataclass(frozen=True)
class LayerProblem:
    """One convolution with bias and ReLU on fresh activations; with `backward`, its gradients too."""

    layer: Layer
    batch: int
    backward: bool
    seed: int
    setting: Setting = Setting()

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x [N, C, h, w], weight [O, C, k, k], bias [O], dy [N, O, h, w], float32."""
        generator, layer = torch.Generator().manual_seed(self.seed), self.layer
        x = torch.randn(self.batch, layer.in_channels, *layer.size, generator=generator)
        if layer.inputs[0] != IMAGE:
            x = x.relu_()
        fan_in = layer.in_channels * layer.kernel**2
        weight = torch.randn(layer.channels, layer.in_channels, layer.kernel, layer.kernel, generator=generator)
        bias = torch.randn(layer.channels, generator=generator) * 0.1
        dy = torch.randn(self.batch, layer.channels, *layer.size, generator=generator)
        return x, weight.mul_((2 / fan_in) ** 0.5), bias, dy

    def conv(self) -> tuple[nn.Conv2d, torch.Tensor, torch.Tensor]:
        """Return the layer as a module, x and dy."""
        x, weight, bias, dy = self.tensors()
        conv = nn.Conv2d(self.layer.in_channels, self.layer.channels, self.layer.kernel, padding=self.layer.kernel // 2)
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        return conv, x, dy

    @property
    def needs_dx(self) -> bool:
        """Return whether x needs a gradient; a picture does not."""
        return self.backward and self.layer.inputs[0] != IMAGE

    @property
    def macs(self) -> int:
        passes = PASSES_FORWARD + int(self.backward) + int(self.needs_dx)
        return self.layer.macs * self.batch * passes

    @property
    def bytes(self) -> int:
        """Return the bytes of input, weights and output, each once, and of their gradients."""
        layer = self.layer
        cells = self.batch * layer.size[0] * layer.size[1]
        once = layer.parameters + cells * layer.channels + cells * layer.in_channels
        gradients = once - (0 if self.needs_dx else cells * layer.in_channels)
        return (once + (gradients if self.backward else 0)) * self.setting.dtype.itemsize


@dataclass(frozen=True)
class NetworkProblem:
    """A whole network on pictures."""

    config: NetworkConfig
    batch: int
    seed: int
    setting: Setting = Setting()

    def model(self) -> CPM:
        """Return a model with random weights, biases and normalization, so that every term affects the result."""
        torch.manual_seed(self.seed)
        model = CPM(self.config)
        for module in model.modules():
            if isinstance(module, ContextConv):
                nn.init.normal_(module.bias, std=0.1)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        return model.eval()

    def crops(self) -> torch.Tensor:
        """[N, 3, H, W] float32 in the range of normalized pixels."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.rand(self.batch, 3, *self.config.input_size, generator=generator) - 0.5

    @property
    def macs(self) -> int:
        return mac_count(self.config) * self.batch

    @property
    def bytes(self) -> int:
        return 0


@dataclass(frozen=True)
class TrainProblem(NetworkProblem):
    """Forward, loss, backward and optimizer step of a network without dropout, whose random masks would differ."""

    def model(self) -> CPM:
        """Return a model as above, whose normalized activations are three deviations above 0, where ReLU switches.

        Otherwise some would round to either side of 0, and each changes a small network's gradient by 1e-3.
        """
        model = super().model()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, mean=1.0, std=0.1)
                nn.init.normal_(module.bias, mean=3.0, std=0.1)
        return model

    def targets(self) -> Targets:
        """Return random belief maps [N, P+1, h, w] that all count."""
        generator = torch.Generator().manual_seed(self.seed + 2)
        everyone = torch.rand(self.batch, self.config.maps, *self.config.map_size, generator=generator)
        counts = torch.ones(self.batch, self.config.maps)
        return Targets(everyone, everyone * everyone, counts, counts)

    @property
    def macs(self) -> int:
        return mac_count(self.config) * self.batch * PASSES_BOTH
