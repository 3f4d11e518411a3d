"""CUDA graphs of one function, one for every shape of its inputs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch

# Graphs of the shapes used last; each holds the memory of its intermediate maps.
MOST_GRAPHS = 8

Run = Callable[[torch.Tensor, torch.Tensor | None], list[torch.Tensor]]


class Graphs:
    """A function on CUDA tensors that runs plainly at the first call with a shape, and is captured at the second.

    The first call compiles kernels and fills caches, which a capture must not see. Calls from several threads take
    turns, and on several streams wait for each other on the device, since a graph's buffers exist once.

    Args:
        run: crops [N, 3, H, W] and center map [N, 1, H, W] or None -> belief maps; launches on the current stream,
            without waiting for the device.
        hold: crops -> the other state that `run` reads, made if need be. A graph holds only addresses, so this keeps
            the state alive.
    """

    def __init__(self, run: Run, hold: Callable[[torch.Tensor], object]) -> None:
        self.run, self.hold = run, hold
        self.seen: set[tuple[object, ...]] = set()
        self.graphs: OrderedDict[tuple[object, ...], _Graph] = OrderedDict()
        self.lock = threading.Lock()

    def __call__(self, crops: torch.Tensor, center_map: torch.Tensor | None) -> list[torch.Tensor]:
        key = (crops.shape, crops.dtype, None if center_map is None else center_map.dtype)
        with self.lock, torch.cuda.device(crops.device):
            if torch.cuda.is_current_stream_capturing() or key not in self.seen:
                self.seen.add(key)
                return self.run(crops, center_map)
            if key not in self.graphs:
                self.graphs[key] = _Graph(self.run, self.hold(crops), crops, center_map)
                if len(self.graphs) > MOST_GRAPHS:
                    self.graphs.popitem(last=False)
            self.graphs.move_to_end(key)
            return self.graphs[key](crops, center_map)


class _Graph:
    def __init__(self, run: Run, held: object, crops: torch.Tensor, center_map: torch.Tensor | None) -> None:
        self.held = held
        self.crops = crops.clone()
        self.center_map = None if center_map is None else center_map.clone()
        self.graph = torch.cuda.CUDAGraph()
        self.done = torch.cuda.Event()
        with torch.cuda.graph(self.graph):
            self.maps = run(self.crops, self.center_map)
        self.done.record()

    def __call__(self, crops: torch.Tensor, center_map: torch.Tensor | None) -> list[torch.Tensor]:
        stream = torch.cuda.current_stream()
        stream.wait_event(self.done)
        self.crops.copy_(crops)
        if self.center_map is not None and center_map is not None:
            self.center_map.copy_(center_map)
        self.graph.replay()
        maps = [each.clone() for each in self.maps]
        self.done.record()
        return maps
