"""The forward pass of training: a phase's stages, with frozen layers at rest, and activations kept or recomputed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cpm_fast.model.cpm import CPM
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, Layer
from cpm_fast.training.phases import Phase, block_layers, frozen_layers, layers_of


@dataclass(frozen=True)
class _Segment:
    """Layers that are run, and recomputed, together: a trunk or a stage, with its inputs and outputs."""

    layers: tuple[Layer, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]


class Forward(nn.Module):
    """The forward pass that gives the belief maps of a phase's stages.

    Args:
        model: the network; its weights are shared, and those that do not learn in the phase lose `requires_grad`.
        phase: of the training.
        frozen_blocks: the first blocks of the trunk that do not learn.
        recompute: keep only the maps between trunk and stages, and run each again when its gradient is taken: less
            memory for a third more time. Gradients and statistics are the same, bit for bit.
    """

    def __init__(self, model: CPM, phase: Phase, recompute: bool = False, frozen_blocks: int = 0) -> None:
        super().__init__()
        self.model = model
        self.recompute = recompute
        self.stages = phase.stages
        layers = layers_of(model.layers, phase)
        running = {layer.name for layer in layers}
        self.resting = frozen_layers(model.layers, phase) | block_layers(model.layers, frozen_blocks)
        for name, conv in model.convs.items():
            conv.requires_grad_(name in running and name not in self.resting)
        self.segments = _segments(layers)

    def train(self, mode: bool = True) -> Forward:
        """Set training mode for all but the frozen layers, whose statistics stay."""
        super().train(mode)
        for name in self.resting:
            self.model.conv(name).eval()
        return self

    def forward(self, crops: torch.Tensor, center_map: torch.Tensor) -> list[torch.Tensor]:
        """Compute the beliefs [N, P+1, h, w] of the phase's stages; arguments as of the model."""
        maps = self.model.inputs(crops, center_map)
        for segment in self.segments:
            inputs = [maps[name] for name in segment.reads]
            run = partial(self._run, segment)
            made = self._checkpointed(run, inputs) if self.recompute and self.training else run(*inputs)
            maps.update(zip(segment.makes, made, strict=True))
        return [maps[CPM_STAGE_OUTPUT.format(stage)] for stage in range(1, self.stages + 1)]

    def _run(self, segment: _Segment, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = dict(zip(segment.reads, inputs, strict=True))
        self.model.run(segment.layers, maps)
        return tuple(maps[name] for name in segment.makes)

    def _checkpointed(
        self, run: Callable[..., tuple[torch.Tensor, ...]], inputs: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        made = checkpoint(
            run, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(self.model))
        )
        assert isinstance(made, tuple)
        return made


def _segments(layers: Sequence[Layer]) -> tuple[_Segment, ...]:
    groups = [tuple(group) for _, group in groupby(layers, _group)]
    segments = []
    for number, group in enumerate(groups):
        made = {layer.name for layer in group}
        reads = dict.fromkeys(name for layer in group for name in layer.inputs if name not in made)
        later = {name for other in groups[number + 1 :] for layer in other for name in layer.inputs}
        outputs = {CPM_STAGE_OUTPUT.format(layer.stage) for layer in group}
        makes = tuple(layer.name for layer in group if layer.name in later | outputs)
        segments.append(_Segment(group, tuple(reads), makes))
    return tuple(segments)


def _group(layer: Layer) -> tuple[int, str]:
    return layer.stage, layer.name.partition("_")[0]


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Keep running statistics unchanged: a layer that is run again sees its batch twice, and must count it once."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # With momentum 0 the running statistics stay as they are; without them autograd would save other tensors.
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
