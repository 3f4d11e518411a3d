"""A network on the CPU as calls bound to buffers: they are checked once, and no call allocates or copies a map.

Layers of native code that follow one another run as one call.

A convolution's finished rows are pooled before they leave the cache, and every map of a concatenation is written to its
place at once. So the largest map of the released network, the output of both first convolutions, never exists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import middle_center_map
from cpm_fast.model.groups import Group
from cpm_fast.model.layers import CENTER_MAP, CPM_STAGE_OUTPUT, IMAGE
from cpm_fast.model.walk import Walk, center_pool, max_pool
from cpm_fast.ops.bound.chain import Call, joined
from cpm_fast.ops.bound.maps import bound_center_pool, bound_clone, bound_copy, bound_fill, bound_sum, copy_maps
from cpm_fast.ops.direct_conv import bound_direct_conv
from cpm_fast.ops.maps import Pool
from cpm_fast.ops.plans.cpu import WINOGRAD
from cpm_fast.ops.spectral_conv import bound_spectral_conv
from cpm_fast.ops.winograd_conv import POOL as WINOGRAD_POOL
from cpm_fast.ops.winograd_conv import bound_winograd_conv

# Maps begin at whole cache lines, in floats.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution's weight in the form that its algorithm reads.

    Args:
        tile: of the spectral form; WINOGRAD: by minimal filtering; None: direct.
        weight: of `transform_weight`, `winograd_weight` or `pack_weight`.
        bias: [O].
        side: k.
        plain: [O, C, k, k], for plain sums on images that tiles would get wrong.
    """

    tile: int | None
    weight: torch.Tensor
    bias: torch.Tensor
    side: int
    plain: torch.Tensor


@dataclass(eq=False)
class Map:
    """A map of a program, or some channels of one.

    Args:
        channels, size: of it.
        begin, end: the groups by which it is first written and last read.
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
        groups: of the network.
        kernels: of every convolution, by the name of its group.
        images, size: of the input, (H, W).
    """

    def __init__(
        self,
        config: NetworkConfig,
        groups: tuple[Group, ...],
        kernels: dict[str, Kernel],
        images: int,
        size: tuple[int, int],
    ) -> None:
        self.config, self.images, self.size = config, images, size
        self.scale = config.input_size[0], size[0], config.input_size[1], size[1]
        self.pooled_by = fused_pools(groups, kernels)
        self.fused = {pool.name for pool in self.pooled_by.values()}
        self.groups = tuple(group for group in groups if group.name not in self.fused)
        self.maps = self.place_maps()
        self.memory = allocate([each for each in self.maps.values() if each.whole is None], images)
        for each in self.maps.values():
            if each.whole is not None:
                assert each.whole.tensor is not None
                each.tensor = each.whole.tensor[:, each.offset : each.offset + each.channels]
        self.calls = self.bind(groups, kernels)
        # By whether a center map is given.
        self.joined: dict[bool, tuple[Call, ...]] = {}
        self.center_map: torch.Tensor | None = None
        self.fill = bound_fill(self.tensor(IMAGE))
        outputs = [CPM_STAGE_OUTPUT.format(stage) for stage in range(1, config.stages + 1)]
        self.clones = [bound_clone(self.tensor(name)) for name in outputs]

    def written(self, group: Group) -> Group:
        """Return the group whose map a group writes: its own, or that of the pool that is fused into it."""
        return self.pooled_by.get(group.name, group)

    def place_maps(self) -> dict[str, Map]:
        last = {name: i for i, group in enumerate(self.groups) for name in group.inputs}
        end = len(self.groups)
        last |= {CPM_STAGE_OUTPUT.format(stage): end for stage in range(1, self.config.stages + 1)}
        maps = {IMAGE: Map(3, self.size, -1, last[IMAGE])}
        for i, group in enumerate(self.groups):
            made = self.written(group)
            height, width = made.first.size
            size = height * self.scale[1] // self.scale[0], width * self.scale[3] // self.scale[2]
            whole = Map(made.channels, size, i, last.get(made.name, i))
            maps[made.name] = whole
            offset = 0
            for layer in made.layers if len(made.layers) > 1 else ():
                maps[layer.name] = Map(layer.channels, size, i, last.get(layer.name, i), whole, offset)
                whole.end = max(whole.end, maps[layer.name].end)
                offset += layer.channels
            if group.kind == "concat":
                self.gather(group, i, maps)
        return maps

    def gather(self, group: Group, i: int, maps: dict[str, Map]) -> None:
        """Let what a concatenation reads be parts of it, where it is not part of another map already."""
        whole, offset = maps[group.name], 0
        for name in group.inputs:
            part = maps[name]
            parent = any(other.whole is part for other in maps.values())
            if part.whole is None and not parent and part.begin >= 0 and self.groups[part.begin].kind == "conv":
                part.whole, part.offset = whole, offset
                whole.begin = min(whole.begin, part.begin)
                whole.end = max(whole.end, part.end)
            offset += part.channels

    def tensor(self, name: str) -> torch.Tensor:
        tensor = self.maps[name].tensor
        assert tensor is not None
        return tensor

    def bind(self, groups: tuple[Group, ...], kernels: dict[str, Kernel]) -> list[list[Call]]:
        """Return the calls of every group that is not fused into another, in order."""
        binding = _Bind(self, kernels)
        binding.over(groups, {IMAGE: self.tensor(IMAGE), CENTER_MAP: torch.empty(0)})
        return binding.calls

    def run(
        self,
        crops: torch.Tensor,
        center_map: torch.Tensor | None,
        timed: Callable[[str, float], object] | None = None,
        last: bool = False,
    ) -> list[torch.Tensor]:
        """Compute the belief maps of every stage, or only the last's, in fresh tensors.

        `timed` receives every group and its seconds. A pool's time is in that of the convolution that it is fused into.
        """
        self.fill(crops)
        self.center_map = center_map
        if timed is None:
            given = center_map is not None
            if given not in self.joined:
                self.joined[given] = tuple(joined(self.steps(given)))
            for call in self.joined[given]:
                call()
        else:
            for group, calls in zip(self.groups, self.calls, strict=True):
                started = time.perf_counter()
                for call in calls:
                    call()
                timed(group.name, time.perf_counter() - started)
        return [clone() for clone in (self.clones[-1:] if last else self.clones)]

    def steps(self, given: bool) -> Iterator[Call]:
        """Yield all calls in order, for a center map that is given or that of the middle."""
        for call in chain.from_iterable(self.calls):
            yield call.fill_middle if isinstance(call, _CenterPool) and not given else call


@dataclass(frozen=True, eq=False)
class _CenterPool:
    """The call that averages a program's center map; that of the middle is always the same, and a step of a chain."""

    program: Program
    fill_middle: Call
    average: Callable[[torch.Tensor], None]

    def __call__(self) -> None:
        if self.program.center_map is None:
            self.fill_middle()
        else:
            self.average(self.program.center_map)


class _Bind(Walk[Group, torch.Tensor]):
    """A walk that binds every group to the buffers that it reads and writes; nothing is computed."""

    def __init__(self, program: Program, kernels: dict[str, Kernel]) -> None:
        self.program, self.kernels = program, kernels
        self.calls: list[list[Call]] = []

    def out(self, node: Group) -> torch.Tensor:
        return self.program.tensor(self.program.written(node).name)

    def conv(self, node: Group, x: torch.Tensor) -> torch.Tensor:
        kernel, relu, pool = self.kernels[node.name], node.first.relu, self.program.pooled_by.get(node.name)
        window = None if pool is None else window_of(pool)
        out = self.out(node)
        if kernel.tile is None:
            self.calls.append([bound_direct_conv(x, kernel.weight, kernel.bias, relu, window, out)])
        elif kernel.tile == WINOGRAD:
            call = bound_winograd_conv(x, kernel.weight, kernel.bias, relu, window, out, kernel.plain)
            self.calls.append([call])
        else:
            call = bound_spectral_conv(x, kernel.weight, kernel.bias, relu, kernel.side, window, out, kernel.plain)
            self.calls.append([call])
        return out

    def add(self, node: Group, x: torch.Tensor, earlier: torch.Tensor) -> torch.Tensor:
        out = self.out(node)
        self.calls.append([bound_sum(x, earlier, node.first.relu, out)])
        return out

    def pool(self, node: Group, x: torch.Tensor) -> torch.Tensor:
        out = self.out(node)
        if node.name in self.program.fused:
            return out
        self.calls.append([lambda: copy_maps(max_pool(node.first, x), out)])
        return out

    def center_pool(self, node: Group, x: torch.Tensor) -> torch.Tensor:
        out = self.out(node)
        middle = center_pool(node.first, middle_center_map(self.program.config, self.program.size))
        fill_middle = bound_copy(middle.expand_as(out), out)
        self.calls.append([_CenterPool(self.program, fill_middle, bound_center_pool(node.first.kernel, out))])
        return out

    def concat(self, node: Group, parts: list[torch.Tensor]) -> torch.Tensor:
        """Copy the maps that were not written to their place at once."""
        out, offset = self.out(node), 0
        copies: list[Call] = []
        for name, part in zip(node.inputs, parts, strict=True):
            place = self.program.maps[name]
            if place.whole is not self.program.maps[node.name]:
                copies.append(bound_copy(part, out[:, offset : offset + place.channels]))
            offset += place.channels
        self.calls.append(copies)
        return out

    def split(self, node: Group, made: torch.Tensor) -> list[torch.Tensor]:
        # A fused pool's input never exists.
        if node.name in self.program.pooled_by:
            return [made] * len(node.layers)
        return [self.program.tensor(layer.name) for layer in node.layers]


def window_of(pool: Group) -> Pool:
    """Return the side and padding of a pool's windows."""
    return pool.first.kernel, pool.first.padding


def fused_pools(groups: tuple[Group, ...], kernels: dict[str, Kernel]) -> dict[str, Group]:
    """Return the pools that are the only reader of a convolution and that its form takes, by the convolution's name."""
    fused = {}
    for group in groups:
        names = {group.name, *(layer.name for layer in group.layers)}
        readers = [other for other in groups if names & set(other.inputs)]
        pooled = len(readers) == 1 and readers[0].kind == "pool" and readers[0].channels == group.channels
        if group.kind != "conv" or not pooled:
            continue
        if kernels[group.name].tile != WINOGRAD or window_of(readers[0]) == WINOGRAD_POOL:
            fused[group.name] = readers[0]
    return fused


def allocate(maps: list[Map], images: int) -> torch.Tensor:
    """Place all maps in one piece of memory, large ones first; maps that are never needed together share a place."""

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
    needed = max((start + floats(each) for each, start in starts.items()), default=0) + ALIGNMENT
    memory = torch.empty(needed, dtype=torch.float32, device="cpu")
    skip = -(memory.data_ptr() // memory.element_size()) % ALIGNMENT
    for each, start in starts.items():
        shape = (images, *each.size, each.channels)
        count = images * each.channels * each.size[0] * each.size[1]
        each.tensor = memory[skip + start : skip + start + count].view(shape).permute(0, 3, 1, 2)
    return memory
