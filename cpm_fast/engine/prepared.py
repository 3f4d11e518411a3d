"""One state of a model's weights, prepared for an engine: folded, joined, moved, and transformed where that pays."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch

from cpm_fast.engine.changes import WeightsState, check_not_capturing
from cpm_fast.engine.graphs import Graphs
from cpm_fast.engine.program import Kernel, Program, fused_pools
from cpm_fast.engine.tuning import TunedPlan
from cpm_fast.model.cpm import CPM, middle_center_map
from cpm_fast.model.groups import Group
from cpm_fast.model.layers import CENTER_MAP, CPM_STAGE_OUTPUT, IMAGE
from cpm_fast.model.walk import TensorWalk
from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.direct_conv import pack_weight
from cpm_fast.ops.plans.cpu import WINOGRAD, ConvShape, CpuPlan
from cpm_fast.ops.plans.cuda import CudaPlan
from cpm_fast.ops.plans.modes import mode_of
from cpm_fast.ops.spectral_conv import spectral_conv, transform_weight
from cpm_fast.ops.winograd_conv import winograd_weight
from cpm_fast.reference.context_conv import context_conv as direct_conv
from cpm_fast.system.fork_lock import fork_lock

# Plans of the input shapes used last; their spectra are shared. A search has eight shapes per size of picture.
MOST_PLANS = 16
# Spectra take at most this much memory, and at most this share of the machine's.
MOST_BYTES, MOST_SHARE = 4 * 2**30, 0.25


@dataclass(frozen=True, eq=False)
class Plan:
    """The algorithms and programs for one input shape.

    Args:
        kernels: of every convolution, by the name of its group.
        idle: programs that no call is running.
    """

    kernels: dict[str, Kernel]
    idle: list[Program] = field(default_factory=list)


class Prepared:
    """The groups of a network with one state of its weights, ready to run.

    Each convolution is direct or spectral, by the plan of the device; spectra are made when an input shape first needs
    them. On CUDA the whole is captured as a graph for each input shape.

    Args:
        model: whose weights; no reference to it is kept.
        versions: of the weights, for the engine to compare.
        groups: of the model.
        device: of weights and maps.
        dtype: of weights; on CUDA also of maps, which are float32 on the CPU.
        memory: bytes that spectra may take.
        tuned: the plan by measurement on the CPU; None: the plan by the table.
    """

    def __init__(
        self,
        model: CPM,
        versions: WeightsState,
        groups: tuple[Group, ...],
        device: torch.device,
        dtype: torch.dtype,
        memory: int,
        tuned: TunedPlan | None = None,
    ) -> None:
        self.versions, self.config, self.groups = versions, model.config, groups
        self.device, self.memory, self.tuned = device, memory, tuned
        self.dtype, self.packed_dtype = (dtype if device.type == "cuda" else torch.float32), dtype
        self.convs = {group.name: self.joined(model, group) for group in groups if group.kind == "conv"}
        self.graphs = Graphs(self.run, self.plan_of) if device.type == "cuda" else None
        self.lock = fork_lock()
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.spectra: dict[tuple[str, int], torch.Tensor] = {}
        self.packed: dict[str, torch.Tensor] = {}

    def joined(self, model: CPM, group: Group) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight [O, C, k, k] and bias [O] of the layers of a group, concatenated."""
        folded = [model.conv(layer.name).folded() for layer in group.layers]
        # A layer by itself keeps the model's own weight if that has the right type and device.
        several = len(folded) > 1
        weight, bias = (torch.cat(each) if several else each[0].detach() for each in zip(*folded, strict=True))
        # On the CPU it is only read to be transformed or packed: a copy in another layout would be useless.
        layout = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        return weight.to(self.device, self.dtype, memory_format=layout), bias.to(self.device, self.dtype)

    def plan(self, images: int, size: tuple[int, int]) -> Plan | None:
        """Return the plan for `images` images of size (H, W); None if the fast code does not apply to them."""
        kind = self.device.type
        missing = backend.triton_missing(kind, self.device.index) if kind == "cuda" else backend.native_missing(kind)
        if not backend.use_fast("spectral_conv", kind, missing):
            return None
        key = (images, *size)
        if self.tuned is not None and key not in self.plans:
            # Calls with known shapes need not wait for it.
            self.tuned.measure(self.shapes(images, size).values(), self.memory)
        with self.lock:
            if key not in self.plans:
                check_not_capturing(self.device, f"a batch of {images} of {size} is prepared")
                self.make_plan(key)
            self.plans.move_to_end(key)
            return self.plans[key]

    def plan_of(self, crops: torch.Tensor) -> Plan | None:
        return self.plan(len(crops), (crops.shape[2], crops.shape[3]))

    def planner(self) -> CpuPlan | CudaPlan:
        """Return the plan of the device; on CUDA it depends on the current arithmetic, which an engine sets."""
        return CudaPlan(mode_of(self.dtype)) if self.device.type == "cuda" else self.tuned or CpuPlan(self.packed_dtype)

    def shapes(self, images: int, size: tuple[int, int]) -> dict[str, ConvShape]:
        shapes = {}
        for group in self.groups:
            if group.kind == "conv":
                stride = self.config.input_size[0] // group.first.size[0]
                outputs, inputs, kernel = self.convs[group.name][0].shape[:3]
                shapes[group.name] = ConvShape(images, inputs, outputs, kernel, (size[0] // stride, size[1] // stride))
        return shapes

    def choices(self, images: int, size: tuple[int, int]) -> dict[str, tuple[str, float | None]]:
        """Return the algorithm of every group, and its predicted milliseconds where there is a prediction."""
        plan, shapes, planner = self.plan(images, size), self.shapes(images, size), self.planner()
        kernels = {} if plan is None else plan.kernels
        fuses = plan is not None and self.device.type == "cpu"
        pools = {pool.name for pool in fused_pools(self.groups, kernels).values()} if fuses else set()
        # PyTorch's own convolutions, which run in place of missing kernels, have no prediction on CUDA.
        known = self.device.type == "cpu" or plan is not None
        found: dict[str, tuple[str, float | None]] = {}
        for group in self.groups:
            tile = kernels[group.name].tile if group.name in kernels else None
            if tile == WINOGRAD:
                found[group.name] = "winograd", planner.milliseconds(shapes[group.name], tile)
            elif tile is not None:
                found[group.name] = f"spectral {tile}", planner.milliseconds(shapes[group.name], tile)
            elif group.kind == "conv":
                found[group.name] = "direct", planner.milliseconds(shapes[group.name], None) if known else None
            else:
                found[group.name] = "fused" if group.name in pools else group.kind, None
        return found

    def make_plan(self, key: tuple[int, ...]) -> None:
        images, height, width = key
        shapes, planner = self.shapes(images, (height, width)), self.planner()
        tiles = tiles_within(shapes, self.memory, planner)
        held = sum(spectra.nbytes for each, spectra in self.spectra.items() if each not in tiles.items())
        if len(self.plans) == MOST_PLANS or held + total_spectra_bytes(shapes, tiles, planner) > self.memory:
            self.plans.clear()
            self.spectra = {each: spectra for each, spectra in self.spectra.items() if each in tiles.items()}
        for name, tile in tiles.items():
            if (name, tile) not in self.spectra:
                self.spectra[name, tile] = transformed(self.convs[name][0], tile, planner.spectra_dtype())
        if self.device.type == "cuda" and tiles and not torch.cuda.is_current_stream_capturing():
            # Calls on other streams will read them.
            torch.cuda.current_stream(self.device).synchronize()
        self.plans[key] = Plan({name: self.kernel(name, tiles.get(name)) for name in self.convs})

    def kernel(self, name: str, tile: int | None) -> Kernel:
        weight, bias = self.convs[name]
        if tile is not None:
            return Kernel(tile, self.spectra[name, tile], bias, weight.shape[-1], weight)
        if self.device.type == "cuda":
            return Kernel(None, weight, bias, weight.shape[-1], weight)
        if name not in self.packed:
            self.packed[name] = pack_weight(weight, self.packed_dtype)
        return Kernel(None, self.packed[name], bias, weight.shape[-1], weight)

    def convolve(self, group: Group, x: torch.Tensor, kernel: Kernel | None) -> torch.Tensor:
        weight, bias = self.convs[group.name]
        if kernel is not None and kernel.tile not in (None, WINOGRAD):
            return spectral_conv(x, kernel.weight, bias, group.first.relu, kernel.side)
        convolution = direct_conv if x.device.type == "cpu" else context_conv
        return convolution(x, weight, bias, group.first.relu)

    def run(
        self,
        crops: torch.Tensor,
        center_map: torch.Tensor | None,
        timed: Callable[[str, float], object] | None = None,
        last: bool = False,
    ) -> list[torch.Tensor]:
        """Compute the belief maps of every stage, or only the last's; `timed` receives every group and its seconds."""
        size = (crops.shape[2], crops.shape[3])
        plan = self.plan(len(crops), size) if len(crops) else None
        if plan is not None and self.device.type == "cpu":
            return self.run_program(plan, crops, center_map, timed, last)
        image = crops.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if center_map is None:
            center_map = middle_center_map(self.config, size).to(image)
        kernels = {} if plan is None else plan.kernels
        maps = {IMAGE: image, CENTER_MAP: center_map.to(self.dtype)}
        _PlanWalk(self, len(crops), kernels, timed).over(self.groups, maps)
        stages = (self.config.stages,) if last else range(1, self.config.stages + 1)
        return [maps[CPM_STAGE_OUTPUT.format(stage)].float() for stage in stages]

    def run_program(
        self,
        plan: Plan,
        crops: torch.Tensor,
        center_map: torch.Tensor | None,
        timed: Callable[[str, float], object] | None,
        last: bool,
    ) -> list[torch.Tensor]:
        """Run a program that no other call is running, made if there is none."""
        size = (crops.shape[2], crops.shape[3])
        with self.lock:
            program = plan.idle.pop() if plan.idle else None
        if program is None:
            program = Program(self.config, self.groups, plan.kernels, len(crops), size)
        out = program.run(crops, center_map, timed, last)
        with self.lock:
            plan.idle.append(program)
        return out

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _PlanWalk(TensorWalk[Group]):
    """One call by PyTorch's operations and the kernels of a plan; `timed` receives every group and its seconds."""

    def __init__(
        self,
        prepared: Prepared,
        images: int,
        kernels: dict[str, Kernel],
        timed: Callable[[str, float], object] | None,
    ) -> None:
        self.prepared, self.images, self.kernels, self.timed = prepared, images, kernels, timed

    def visit(self, node: Group, inputs: list[torch.Tensor]) -> torch.Tensor:
        if self.timed is None:
            return super().visit(node, inputs)
        started = self.prepared.clock()
        made = super().visit(node, inputs)
        self.timed(node.name, self.prepared.clock() - started)
        return made

    def conv(self, node: Group, x: torch.Tensor) -> torch.Tensor:
        return self.prepared.convolve(node, x, self.kernels.get(node.name))

    def concat(self, node: Group, parts: list[torch.Tensor]) -> torch.Tensor:
        # One center map may stand for the whole batch.
        return super().concat(node, [part.expand(self.images, *part.shape[1:]) for part in parts])


def transformed(weight: torch.Tensor, tile: int, dtype: torch.dtype) -> torch.Tensor:
    """Transform a weight for a tile of the spectral form, or for the form by minimal filtering."""
    return winograd_weight(weight, dtype) if tile == WINOGRAD else transform_weight(weight, tile, dtype=dtype)


@cache
def default_memory() -> int:
    """Return the bytes that spectra may take by default."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MOST_BYTES // 4
    return min(MOST_BYTES, int(MOST_SHARE * physical))


def total_spectra_bytes(shapes: dict[str, ConvShape], tiles: dict[str, int], planner: CpuPlan | CudaPlan) -> int:
    """Add up the bytes of the spectra of some groups with their tiles."""
    return sum(planner.spectra_bytes(shapes[name], tile) for name, tile in tiles.items())


def tiles_within(shapes: dict[str, ConvShape], memory: int, planner: CpuPlan | CudaPlan) -> dict[str, int]:
    """Return the fastest tiles of groups that are better spectral; the largest spectra give way until all fit."""
    chosen = {name: planner.tile(shape) for name, shape in shapes.items()}
    tiles = {name: tile for name, tile in chosen.items() if tile is not None}
    while total_spectra_bytes(shapes, tiles, planner) > memory:
        sizes = {name: planner.spectra_bytes(shapes[name], tile) for name, tile in tiles.items()}
        name = max(sizes, key=sizes.__getitem__)
        smaller = planner.tile(shapes[name], sizes[name] - 1)
        if smaller is None:
            del tiles[name]
        else:
            tiles[name] = smaller
    return tiles
