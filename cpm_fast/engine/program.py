"""The steps of a network on the CPU as calls bound to buffers: checked once, and no call allocates or copies a map.

What a convolution finishes is pooled before it leaves the cache, and what a concatenation would gather is written to
its place at once: so the largest map of the released network, of both first convolutions, never exists.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import combine, middle_center_map
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, IMAGE
from cpm_fast.model.plan import Step
from cpm_fast.ops.direct_conv import bound_direct_conv
from cpm_fast.ops.maps import Pool, copy_maps
from cpm_fast.ops.spectral_conv import bound_spectral_conv

CENTER_MAP = "center_map"
# Maps begin at whole cache lines, in floats.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution's weight as its algorithm wants it.

    Args:
        tile: of the spectral form; None: direct.
        weight: of `transform_weight` or `pack_weight`.
        bias: [O].
        side: k.
    """

    tile: int | None
    weight: torch.Tensor
    bias: torch.Tensor
    side: int


@dataclass(eq=False)
class Map:
    """A map of a program, or some channels of one.

    Args:
        channels, size: of it.
        begin, end: the steps by which it is first written and last read.
        whole: the map that it is a part of, from channel `offset` on.
    """

    channels: int
    size: tuple[int, int]
    begin: int
    end: int
    whole: Map | None = None
    offset: int = 0
    tensor: torch.Tensor | None = None


class Program:
    """A network for one shape of input, with buffers of its own: for one call at a time.

    Args:
        config: of the network.
        steps: of the network.
        kernels: of every convolution, by the name of its step.
        images, size: of the input, (H, W).
    """

    def __init__(
        self,
        config: NetworkConfig,
        steps: tuple[Step, ...],
        kernels: dict[str, Kernel],
        images: int,
        size: tuple[int, int],
    ) -> None:
        self.config, self.images, self.size = config, images, size
        self.scale = config.input_size[0], size[0], config.input_size[1], size[1]
        self.pooled_by = fused_pools(steps)
        fused = {pool.name for pool in self.pooled_by.values()}
        self.steps = tuple(step for step in steps if step.name not in fused)
        self.maps = self.place_maps()
        self.memory = allocate([each for each in self.maps.values() if each.whole is None], images)
        for each in self.maps.values():
            if each.whole is not None:
                assert each.whole.tensor is not None
                each.tensor = each.whole.tensor[:, each.offset : each.offset + each.channels]
        self.calls = [self.bind(step, kernels) for step in self.steps]
        self.center_map: torch.Tensor | None = None
        self.middle: torch.Tensor | None = None
        self.outputs = [CPM_STAGE_OUTPUT.format(stage) for stage in range(1, config.stages + 1)]

    def written(self, step: Step) -> Step:
        """The step whose map a step writes: its own, or that of the pool that is fused into it."""
        return self.pooled_by.get(step.name, step)

    def place_maps(self) -> dict[str, Map]:
        last = {name: i for i, step in enumerate(self.steps) for name in step.inputs}
        end = len(self.steps)
        last |= {CPM_STAGE_OUTPUT.format(stage): end for stage in range(1, self.config.stages + 1)}
        maps = {IMAGE: Map(3, self.size, -1, last[IMAGE])}
        for i, step in enumerate(self.steps):
            made = self.written(step)
            height, width = made.first.size
            size = height * self.scale[1] // self.scale[0], width * self.scale[3] // self.scale[2]
            whole = Map(made.channels, size, i, last.get(made.name, i))
            maps[made.name] = whole
            offset = 0
            for layer in made.layers if len(made.layers) > 1 else ():
                maps[layer.name] = Map(layer.channels, size, i, last.get(layer.name, i), whole, offset)
                whole.end = max(whole.end, maps[layer.name].end)
                offset += layer.channels
            if step.first.kind == "concat":
                self.gather(step, i, maps)
        return maps

    def gather(self, step: Step, i: int, maps: dict[str, Map]) -> None:
        """Let what a concatenation reads be parts of it, where it is not part of another map already."""
        whole, offset = maps[step.name], 0
        for name in step.inputs:
            part = maps[name]
            parent = any(other.whole is part for other in maps.values())
            if part.whole is None and not parent and part.begin >= 0 and self.steps[part.begin].first.kind == "conv":
                part.whole, part.offset = whole, offset
                whole.begin = min(whole.begin, part.begin)
                whole.end = max(whole.end, part.end)
            offset += part.channels

    def tensor(self, name: str) -> torch.Tensor:
        tensor = self.maps[name].tensor
        assert tensor is not None
        return tensor

    def bind(self, step: Step, kernels: dict[str, Kernel]) -> Callable[[], object]:
        out = self.tensor(self.written(step).name)
        if step.first.kind == "center_pool":
            return lambda: copy_maps(self.center(step).expand_as(out), out)
        inputs = [self.tensor(name) for name in step.inputs]
        if step.first.kind == "concat":
            return self.bind_concat(step, inputs, out)
        if step.first.kind != "conv":
            return lambda: copy_maps(combine(step.first, inputs), out)
        kernel, relu, pool = kernels[step.name], step.first.relu, self.pooled_by.get(step.name)
        window: Pool | None = None if pool is None else (pool.first.kernel, pool.first.padding)
        if kernel.tile is None:
            return bound_direct_conv(inputs[0], kernel.weight, kernel.bias, relu, window, out)
        return bound_spectral_conv(inputs[0], kernel.weight, kernel.bias, relu, kernel.side, window, out)

    def center(self, step: Step) -> torch.Tensor:
        """The center map on the belief maps' grid; that of a subject in the middle is made once."""
        if self.center_map is not None:
            return combine(step.first, [self.center_map.float()])
        if self.middle is None:
            self.middle = combine(step.first, [middle_center_map(self.config, self.size)])
        return self.middle

    def bind_concat(self, step: Step, inputs: list[torch.Tensor], out: torch.Tensor) -> Callable[[], None]:
        pairs, offset = [], 0
        for name, each in zip(step.inputs, inputs, strict=True):
            place = self.maps[name]
            if place.whole is not self.maps[step.name]:
                pairs.append((out[:, offset : offset + place.channels], each))
            offset += place.channels

        def call() -> None:
            for target, source in pairs:
                copy_maps(source, target)

        return call

    def run(
        self,
        crops: torch.Tensor,
        center_map: torch.Tensor | None,
        timed: Callable[[str, float], object] | None = None,
    ) -> list[torch.Tensor]:
        """Belief maps of every stage, in fresh tensors; `timed` hears of every step and its seconds.

        A pool's time is in that of the convolution that it is fused into.
        """
        copy_maps(crops, self.tensor(IMAGE))
        self.center_map = center_map
        for step, call in zip(self.steps, self.calls, strict=True):
            if timed is None:
                call()
            else:
                started = time.perf_counter()
                call()
                timed(step.name, time.perf_counter() - started)
        return [self.tensor(name).clone(memory_format=torch.channels_last) for name in self.outputs]


def fused_pools(steps: tuple[Step, ...]) -> dict[str, Step]:
    """By the name of a convolution, the pool that alone reads it."""
    fused = {}
    for step in steps:
        names = {step.name, *(layer.name for layer in step.layers)}
        readers = [other for other in steps if names & set(other.inputs)]
        pooled = len(readers) == 1 and readers[0].first.kind == "pool" and readers[0].channels == step.channels
        if step.first.kind == "conv" and pooled:
            fused[step.name] = readers[0]
    return fused


def allocate(maps: list[Map], images: int) -> torch.Tensor:
    """One piece of memory for all maps, those that are never needed together in the same place; the larger first."""

    def floats(each: Map) -> int:
        count = images * each.channels * each.size[0] * each.size[1]
        return -(-count // ALIGNMENT) * ALIGNMENT

    starts: dict[Map, int] = {}
    for each in sorted(maps, key=floats, reverse=True):
        start = 0
        for other, at in sorted(starts.items(), key=lambda item: item[1]):
            together = other.begin <= each.end and each.begin <= other.end
            if together and start < at + floats(other) and at < start + floats(each):
                start = at + floats(other)
        starts[each] = start
    memory = torch.empty(max((start + floats(each) for each, start in starts.items()), default=0) + ALIGNMENT)
    skip = -(memory.data_ptr() // memory.element_size()) % ALIGNMENT
    for each, start in starts.items():
        shape = (images, *each.size, each.channels)
        count = images * each.channels * each.size[0] * each.size[1]
        each.tensor = memory[skip + start : skip + start + count].view(shape).permute(0, 3, 1, 2)
    return memory
