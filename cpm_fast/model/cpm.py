"""The network: an nn.Module that runs the layer list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from cpm_fast.config import STRIDE, NetworkConfig, preset
from cpm_fast.model.layers import CENTER_MAP, CPM_STAGE_OUTPUT, IMAGE, SUM, Layer, network_layers
from cpm_fast.model.tensor_file import write_network
from cpm_fast.model.walk import TensorWalk
from cpm_fast.ops.batch_norm import MAP_TYPES, batch_norm
from cpm_fast.ops.context_conv import context_conv, transforms
from cpm_fast.ops.conv_norm_pool import KERNEL as NARROW_KERNEL
from cpm_fast.ops.conv_norm_pool import conv_norm_pool
from cpm_fast.ops.maps import POOLS, Pool
from cpm_fast.reference.context_conv import context_conv as reference_context_conv
from cpm_fast.skeleton import Skeleton

LINEAR_INIT_STD = 0.01
# Up to so many channels a map is computed again rather than read again: the colors of a picture.
NARROW_CHANNELS = 3
# The pool that a normalization runs with: windows of 2 x 2 cells.
PAIRS: Pool = (2, 0)


class ContextConv(nn.Module):
    """A same-size convolution with bias, optional batch normalization, ReLU, and if asked for a pool.

    Out of training the normalization is folded into weight and bias, so every layer is one `context_conv`.
    """

    def __init__(self, layer: Layer, init_std: float | None) -> None:
        super().__init__()
        self.relu = layer.relu
        if init_std is None:
            # Belief layers are linear and start near 0, so that the first steps do not have to shrink them. So do the
            # last convolutions of residual blocks, which begin as the identity (Goyal et al. 2017, section 5.1).
            he = layer.relu or layer.norm
            init_std = math.sqrt(2.0 / (layer.in_channels * layer.kernel**2)) if he else LINEAR_INIT_STD
        shape = (layer.channels, layer.in_channels, layer.kernel, layer.kernel)
        weight = torch.empty(shape, memory_format=torch.channels_last)
        # Drawn in this order since the first version, and kept as the transforms of the CPU read and write it.
        self.weight = nn.Parameter(nn.init.normal_(weight, std=init_std).contiguous())
        self.bias = nn.Parameter(torch.zeros(layer.channels))
        self.norm = nn.BatchNorm2d(layer.channels) if layer.norm else None
        if self.norm is not None and not layer.relu:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor, pool: Pool | None = None) -> torch.Tensor:
        """Apply the layer to x [N, C, h, w], with a pool as for `context_conv`; a normalization takes only PAIRS."""
        if self.norm is None or not self.training:
            return context_conv(x, *self.folded(), self.relu, pool)
        norm, plain = self.norm, x.device.type == "cpu" and _is_plain(self.norm)
        if pool == PAIRS and plain and self._is_narrow(x):
            made = conv_norm_pool(x, self.weight, self.bias, norm.weight, norm.bias, norm.eps)
            return self._counted(*made, x[:, 0].numel(), norm)
        y = self._convolved(x)
        if plain and y.dtype in MAP_TYPES and norm.weight.dtype == torch.float32:
            made = batch_norm(y, norm.weight, norm.bias, norm.eps, self.relu, pool is not None)
            return self._counted(*made, y[:, 0].numel(), norm)
        y = norm(y)
        y = F.relu(y, inplace=True) if self.relu else y
        return F.max_pool2d(y, 2) if pool else y

    def _convolved(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution alone, under autocast in float32 where it would be widened anyway."""
        if not transforms(x, self.weight):
            return context_conv(x, self.weight, self.bias, False)
        with torch.autocast(x.device.type, enabled=False):
            return context_conv(x.float(), self.weight, self.bias, False)

    def _is_narrow(self, x: torch.Tensor) -> bool:
        """Return whether `conv_norm_pool` fits this layer and input."""
        fits = self.relu and self.weight.shape[1] <= NARROW_CHANNELS and self.weight.shape[2] == NARROW_KERNEL
        return fits and x.dtype == self.weight.dtype == torch.float32 and not x.requires_grad

    def _counted(
        self, y: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, cells: int, norm: nn.BatchNorm2d
    ) -> torch.Tensor:
        """Return y; update the running statistics as `norm` does, from those of a batch with so many cells."""
        mean_now, variance_now = norm.running_mean, norm.running_var
        assert mean_now is not None and variance_now is not None
        with torch.no_grad():
            momentum = norm.momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
                if momentum is None:
                    momentum = 1.0 / float(norm.num_batches_tracked)
            mean_now.lerp_(mean, momentum or 0.0)
            # A single cell has no variance: PyTorch's own estimate would be NaN.
            variance_now.lerp_(variance * (cells / max(cells - 1, 1)), momentum or 0.0)
        return y

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight [O, C, k, k] and bias [O] with the running statistics of the normalization folded in."""
        if self.norm is None:
            return self.weight, self.bias
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        factor = self.norm.weight / torch.sqrt(variance + self.norm.eps)
        return self.weight * factor[:, None, None, None], (self.bias - mean) * factor + self.norm.bias


def _is_plain(norm: nn.BatchNorm2d) -> bool:
    """Return whether a normalization is PyTorch's own, as `ContextConv` made it, with nobody listening to it."""
    hooks = (norm._forward_hooks, norm._forward_pre_hooks, norm._backward_hooks, norm._backward_pre_hooks)
    whole = norm.affine and norm.track_running_stats and norm.running_mean is not None
    return type(norm) is nn.BatchNorm2d and norm.training and whole and not any(hooks)


class CPM(nn.Module):
    """A Convolutional Pose Machine (Wei et al. 2016, Figure 2).

    Args:
        config: the network; the released 6-stage one if not given.

    Examples:
        >>> import torch
        >>> model = CPM.preset("compact").eval()
        >>> with torch.no_grad():
        ...     beliefs = model(torch.zeros(1, 3, 192, 192))
        >>> len(beliefs), list(beliefs[-1].shape)
        (3, [1, 15, 24, 24])
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = NetworkConfig() if config is None else config
        self.layers = network_layers(self.config)
        self.convs = nn.ModuleDict(
            {layer.name: ContextConv(layer, self.config.init_std) for layer in self.layers if layer.kind == "conv"}
        )

    @classmethod
    def preset(cls, name: str, skeleton: Skeleton | None = None) -> CPM:
        """Make a network by name: "cpm6", "flic" and "vgg" as released, "mmpose" as there.

        Ours, for CPUs: "compact" and "base", and with residual blocks "small" and "large". Finders: "person" as
        released, and our "finder". All are untrained.

        Raises:
            ValueError: no such preset.
        """
        return cls(preset(name, skeleton))

    @property
    def skeleton(self) -> Skeleton:
        return self.config.skeleton

    def forward(self, crops: torch.Tensor, center_map: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Compute the belief maps of every stage.

        Args:
            crops: [N, 3, H, W] normalized network input, H and W multiples of 8.
            center_map: [N, 1, H, W]; if None, a Gaussian at ((W-1)/2, (H-1)/2), not cut off.

        Returns:
            T tensors [N, P+1, H/8, W/8], linear (no activation), background last.

        Raises:
            ValueError: a shape does not fit.
            TypeError: crops are not floating point.
        """
        maps = self.inputs(crops, center_map)
        self.run(self.layers, maps)
        return [maps[CPM_STAGE_OUTPUT.format(stage)] for stage in range(1, self.config.stages + 1)]

    def inputs(self, crops: torch.Tensor, center_map: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Return the maps that the layers start from, by name; arguments and errors as for `forward`."""
        self.check(crops, center_map)
        if center_map is None:
            size = (crops.shape[2], crops.shape[3])
            center_map = middle_center_map(self.config, size).to(crops).expand(len(crops), 1, *size)
        return {IMAGE: crops.contiguous(memory_format=torch.channels_last), CENTER_MAP: center_map}

    def run(self, layers: Sequence[Layer], maps: dict[str, torch.Tensor]) -> None:
        """Run some of the layers, in order, and add their maps to `maps`, which must hold their inputs."""
        _ModelWalk(self).over(layers, maps)

    def conv(self, name: str) -> ContextConv:
        """Return the convolution of a layer of the list."""
        module = self.convs[name]
        assert isinstance(module, ContextConv)
        return module

    def check(self, crops: torch.Tensor, center_map: torch.Tensor | None) -> None:
        """Raise what `forward` raises for these inputs."""
        for name, given in (("crops", crops), ("center_map", center_map)):
            if given is not None and (not isinstance(given, torch.Tensor) or given.is_nested):
                raise TypeError(f"{name} must be a tensor of one shape, got {type(given).__name__}")
            if given is not None and given.layout != torch.strided:
                raise TypeError(f"{name} must be a dense tensor, got layout {given.layout}")
        if crops.ndim != 4 or crops.shape[1] != 3 or any(side % STRIDE or not side for side in crops.shape[2:]):
            raise ValueError(f"crops must be [N, 3, H, W] with H and W multiples of 8, got {list(crops.shape)}")
        if not crops.is_floating_point():
            raise TypeError(f"crops must be floating point, got {crops.dtype}")
        wanted = [len(crops), 1, *crops.shape[2:]]
        if center_map is not None and list(center_map.shape) != wanted:
            raise ValueError(f"center_map must be {wanted}, got {list(center_map.shape)}")
        if center_map is not None and not center_map.is_floating_point():
            raise TypeError(f"center_map must be floating point, got {center_map.dtype}")

    def save(self, path: str | Path) -> None:
        """Write weights, config and skeleton to a .safetensors file, whole or not at all; `load` reads it.

        Raises:
            ValueError: the suffix is another.
        """
        write_network(self.state_dict(), self.config, path)


class _ModelWalk(TensorWalk[Layer]):
    """A walk over the layers of a model, with dropout while its convolution is in training.

    In training a convolution runs with the pool behind it, and makes the pool's map alone.
    """

    def __init__(self, model: CPM) -> None:
        self.model = model

    def over(self, nodes: Iterable[Layer], maps: dict[str, torch.Tensor]) -> None:
        nodes = list(nodes)
        for node, pool in zip(nodes, [*nodes[1:], None], strict=True):
            if pool is not None and node.name not in maps and pool.name not in maps and self._pooled(node, pool):
                window = (pool.kernel, pool.padding)
                maps[pool.name] = self.model.conv(node.name)(maps[node.inputs[0]], pool=window)
            else:
                super().over([node], maps)

    def _pooled(self, node: Layer, pool: Layer) -> bool:
        """Return whether a node is a convolution in training that can run with this pool, its map's only reader."""
        if node.kind != "conv" or pool.kind != "pool" or pool.inputs != (node.name,):
            return False
        window = (pool.kernel, pool.padding)
        conv, readers = self.model.conv(node.name), [layer for layer in self.model.layers if node.name in layer.inputs]
        fits = window in POOLS if conv.norm is None else window == PAIRS
        return conv.training and fits and len(readers) == 1

    def conv(self, node: Layer, x: torch.Tensor) -> torch.Tensor:
        convolved: torch.Tensor = self.model.conv(node.name)(x)
        return convolved

    def concat(self, node: Layer, parts: list[torch.Tensor]) -> torch.Tensor:
        # Cells first: a center map of one channel has no layout of its own, and PyTorch would leave channels_last.
        cells = [part.to(parts[0].dtype).permute(0, 2, 3, 1) for part in parts]
        return torch.cat(cells, dim=3).permute(0, 3, 1, 2)

    def dropout(self, node: Layer, x: torch.Tensor) -> torch.Tensor:
        training = self.model.conv(node.inputs[0].removesuffix(SUM.format(""))).training
        return F.dropout(x, self.model.config.dropout) if training else x


class ReferenceWalk(TensorWalk[Layer]):
    """A walk over the layers in evaluation mode by the reference, on any backend: for export and checks."""

    def __init__(self, model: CPM) -> None:
        self.model = model

    def conv(self, node: Layer, x: torch.Tensor) -> torch.Tensor:
        return reference_context_conv(x, *self.model.conv(node.name).folded(), node.relu)


def middle_center_map(config: NetworkConfig, size: tuple[int, int]) -> torch.Tensor:
    """Return the center map of a subject in the middle of a box of size (H, W): [1, 1, H, W]."""
    middle = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]], dtype=torch.float32, device="cpu")
    return gaussian_center_map(middle, size, config.center_sigma)


def gaussian_center_map(center: torch.Tensor, size: tuple[int, int], sigma: float) -> torch.Tensor:
    """Return the center map of subjects: exp(-d^2 / (2 sigma^2)) about center [N, 2] (x, y) box pixels, not cut off.

    Returns:
        [N, 1, H, W] float32 for size (H, W).
    """
    y = torch.arange(size[0], device=center.device, dtype=torch.float32)
    x = torch.arange(size[1], device=center.device, dtype=torch.float32)
    across = torch.exp(-((x - center[:, :1]) ** 2) / (2 * sigma**2))  # [N, W]
    down = torch.exp(-((y - center[:, 1:]) ** 2) / (2 * sigma**2))  # [N, H]
    return (down[:, :, None] * across[:, None, :])[:, None]
