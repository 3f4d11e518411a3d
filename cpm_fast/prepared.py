"""One state of a model's weights as an engine runs it: folded, joined, moved, and transformed where that pays."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import torch

from cpm_fast.graphs import Graphs
from cpm_fast.model.cpm import CPM, combine, middle_center_map
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, IMAGE
from cpm_fast.model.plan import Step
from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.conv_plan import ConvShape, CpuPlan
from cpm_fast.ops.cuda import mode_of
from cpm_fast.ops.cuda_conv_plan import CudaPlan
from cpm_fast.ops.spectral_conv import spectral_conv, tile_of, transform_weight
from cpm_fast.reference.context_conv import context_conv as direct_conv

CENTER_MAP = "center_map"
# (address, version) of every weight.
Versions = tuple[tuple[int, int], ...]
# Plans of the input shapes used last; their spectra are shared.
MOST_PLANS = 8
# Spectra take at most this much memory, and at most this share of the machine's.
MOST_BYTES, MOST_SHARE = 4 * 2**30, 0.25

# Spectra by the name of a step.
Plan = dict[str, torch.Tensor]


class Prepared:
    """Runs the steps of a network with one state of its weights.

    Each convolution is direct or spectral, by the plan of the device; spectra are made when an input shape first needs
    them. On CUDA the whole is captured as a graph for each input shape.

    Args:
        model: whose weights; no reference to it is kept.
        versions: of the weights, for the engine to compare.
        steps: of the model.
        device, dtype: of weights and maps.
        memory: bytes that spectra may take.
    """

    def __init__(
        self,
        model: CPM,
        versions: Versions,
        steps: tuple[Step, ...],
        device: torch.device,
        dtype: torch.dtype,
        memory: int,
    ) -> None:
        self.versions, self.config, self.steps = versions, model.config, steps
        self.device, self.dtype, self.memory = device, dtype, memory
        self.convs = {step.name: self.joined(model, step) for step in steps if step.first.kind == "conv"}
        self.graphs = Graphs(self.run, self.spectra_of) if device.type == "cuda" else None
        self.lock = threading.Lock()
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.spectra: dict[tuple[str, int], torch.Tensor] = {}

    def joined(self, model: CPM, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [O, C, k, k] and bias [O] of a step's layers, one behind the other."""
        folded = [model.conv(layer.name).folded() for layer in step.layers]
        weight, bias = (torch.cat(tensors) for tensors in zip(*folded, strict=True))
        weight = weight.to(self.device, self.dtype, memory_format=torch.channels_last)
        return weight, bias.to(self.device, self.dtype)

    def plan(self, images: int, size: tuple[int, int]) -> Plan:
        """The spectra of every convolution for so many images of size (H, W); those that it lacks are direct."""
        kind = self.device.type
        missing = backend.triton_missing(kind, self.device.index) if kind == "cuda" else backend.native_missing(kind)
        if not backend.use_fast("spectral_conv", kind, missing):
            return {}
        key = (images, *size)
        with self.lock:
            if key not in self.plans:
                self.make_plan(key)
            self.plans.move_to_end(key)
            return self.plans[key]

    def spectra_of(self, crops: torch.Tensor) -> Plan:
        return self.plan(len(crops), (crops.shape[2], crops.shape[3]))

    def planner(self) -> CpuPlan | CudaPlan:
        """Who chooses; on CUDA in the arithmetic of the moment, which an engine sets for its precision."""
        return CudaPlan(mode_of(self.dtype)) if self.device.type == "cuda" else CpuPlan()

    def shapes(self, images: int, size: tuple[int, int]) -> dict[str, ConvShape]:
        shapes = {}
        for step in self.steps:
            if step.first.kind == "conv":
                stride = self.config.input_size[0] // step.first.size[0]
                outputs, inputs, kernel = self.convs[step.name][0].shape[:3]
                shapes[step.name] = ConvShape(images, inputs, outputs, kernel, (size[0] // stride, size[1] // stride))
        return shapes

    def choices(self, images: int, size: tuple[int, int]) -> dict[str, tuple[str, float | None]]:
        """The algorithm of every step, and its predicted milliseconds where there is a prediction."""
        plan, shapes, planner = self.plan(images, size), self.shapes(images, size), self.planner()
        # PyTorch's own convolutions, which run in place of missing kernels, have no prediction on CUDA.
        known = self.device.type == "cpu" or backend.triton_missing("cuda", self.device.index) is None
        found: dict[str, tuple[str, float | None]] = {}
        for step in self.steps:
            if step.name in plan:
                tile = tile_of(plan[step.name])
                found[step.name] = f"spectral {tile}", planner.milliseconds(shapes[step.name], tile)
            elif step.first.kind == "conv":
                found[step.name] = "direct", planner.milliseconds(shapes[step.name], None) if known else None
            else:
                found[step.name] = step.first.kind, None
        return found

    def make_plan(self, key: tuple[int, ...]) -> None:
        images, height, width = key
        shapes, planner = self.shapes(images, (height, width)), self.planner()
        tiles = tiles_within(shapes, self.memory, planner)
        held = sum(spectra.nbytes for each, spectra in self.spectra.items() if each not in tiles.items())
        if len(self.plans) == MOST_PLANS or held + spectra_bytes(shapes, tiles, planner) > self.memory:
            self.plans.clear()
            self.spectra = {each: spectra for each, spectra in self.spectra.items() if each in tiles.items()}
        for name, tile in tiles.items():
            if (name, tile) not in self.spectra:
                self.spectra[name, tile] = transform_weight(self.convs[name][0], tile, dtype=planner.spectra_dtype())
        if self.device.type == "cuda" and tiles and not torch.cuda.is_current_stream_capturing():
            # Calls on other streams will read them.
            torch.cuda.current_stream(self.device).synchronize()
        self.plans[key] = {name: self.spectra[name, tile] for name, tile in tiles.items()}

    def convolve(self, step: Step, x: torch.Tensor, spectra: torch.Tensor | None) -> torch.Tensor:
        weight, bias = self.convs[step.name]
        if spectra is not None:
            return spectral_conv(x, spectra, bias, step.first.relu, weight.shape[-1])
        convolution = direct_conv if x.device.type == "cpu" else context_conv
        return convolution(x, weight, bias, step.first.relu)

    def run(
        self,
        crops: torch.Tensor,
        center_map: torch.Tensor | None,
        timed: Callable[[str, float], object] | None = None,
    ) -> list[torch.Tensor]:
        """Belief maps of every stage; `timed` hears of every step and its seconds."""
        size = (crops.shape[2], crops.shape[3])
        plan = self.plan(len(crops), size)
        image = crops.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if center_map is None:
            center_map = middle_center_map(self.config, size).to(image)
        maps = {IMAGE: image, CENTER_MAP: center_map.to(self.dtype)}
        for step in self.steps:
            started = self.clock() if timed else 0.0
            inputs = [maps[name] for name in step.inputs]
            if step.first.kind == "conv":
                out = self.convolve(step, inputs[0], plan.get(step.name))
            else:
                out = combine(step.first, [each.expand(len(crops), *each.shape[1:]) for each in inputs])
            maps[step.name] = out
            if len(step.layers) > 1:
                widths = [layer.channels for layer in step.layers]
                maps.update(zip((layer.name for layer in step.layers), out.split(widths, dim=1), strict=True))
            if timed:
                timed(step.name, self.clock() - started)
        return [maps[CPM_STAGE_OUTPUT.format(stage)].float() for stage in range(1, self.config.stages + 1)]

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def default_memory() -> int:
    """Bytes that spectra may take when the user does not say."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MOST_BYTES // 4
    return min(MOST_BYTES, int(MOST_SHARE * physical))


def spectra_bytes(shapes: dict[str, ConvShape], tiles: dict[str, int], planner: CpuPlan | CudaPlan) -> int:
    return sum(planner.spectra_bytes(shapes[name], tile) for name, tile in tiles.items())


def tiles_within(shapes: dict[str, ConvShape], memory: int, planner: CpuPlan | CudaPlan) -> dict[str, int]:
    """The fastest tiles of those that are better spectral; the largest spectra make room while they all do not fit."""
    chosen = {name: planner.tile(shape) for name, shape in shapes.items()}
    tiles = {name: tile for name, tile in chosen.items() if tile is not None}
    while spectra_bytes(shapes, tiles, planner) > memory:
        sizes = {name: planner.spectra_bytes(shapes[name], tile) for name, tile in tiles.items()}
        name = max(sizes, key=sizes.__getitem__)
        smaller = planner.tile(shapes[name], sizes[name] - 1)
        if smaller is None:
            del tiles[name]
        else:
            tiles[name] = smaller
    return tiles
