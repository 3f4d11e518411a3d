"""The contestants: ours, and cuDNN at its best: benchmark mode, both layouts, 16 bits by type or by autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.contests.contest import Entrant
from benchmarks.harness.problems import NetworkProblem, Setting, TrainProblem
from benchmarks.harness.worker import Run, Unavailable
from benchmarks.peers import pytorch as peers
from benchmarks.peers.plain import PlainNetwork
from benchmarks.peers.pytorch import Layout, repeated, set_up, without_gradients

OURS = "cpm_fast"
Start = Callable[[Any], Run]


def networks(problem: NetworkProblem) -> list[Entrant]:
    entrants = [Entrant(OURS, lambda: our_network(problem)), *pytorch(peers.pytorch_network, problem)]
    if problem.setting.dtype.itemsize == 2:
        entrants.append(Entrant("cuDNN autocast, channels_last", lambda: autocast_network(problem)))
    return entrants


def layers(problem: Any) -> list[Entrant]:
    return [Entrant(OURS, lambda: peers.cpm_fast_layer(problem)), *pytorch(peers.pytorch_layer, problem)]


def training_steps(problem: TrainProblem) -> list[Entrant]:
    """Return each step plain, and captured in a graph."""
    entrants = []
    for name, start in (
        (OURS, peers.cpm_fast_step),
        ("cuDNN channels_last", partial(peers.pytorch_step, layout="channels_last")),
    ):
        entrants.append(Entrant(f"{name}, graph", partial(captured, start, problem)))
        entrants.append(Entrant(f"{name}, eager", partial(start, problem)))
    return entrants


def captured(start: Start, problem: Any) -> Run:
    return repeated(start(problem), problem.setting)


def pytorch(start: Callable[..., Run], problem: Any) -> list[Entrant]:
    layouts: tuple[Layout, ...] = ("channels_last", "contiguous")
    return [Entrant(f"cuDNN {layout}", partial(start, problem, layout=layout)) for layout in layouts]


def our_network(problem: NetworkProblem) -> Run:
    if problem.setting.device == "cpu" and problem.setting.precision != "fp32":
        raise Unavailable(f"a rehearsal on the CPU leaves {problem.setting.precision} to PyTorch")
    return peers.cpm_fast_network(problem)


def autocast_network(problem: NetworkProblem) -> Run:
    """Return a network with float32 weights and 16-bit products."""
    set_up(problem.setting)
    setting = Setting(problem.setting.device)
    network, crops = (
        peers.placed(value, setting, "channels_last") for value in (PlainNetwork(problem.model()), problem.crops())
    )

    def forward(x: torch.Tensor) -> Any:
        with torch.autocast(setting.device, problem.setting.dtype, cache_enabled=False):
            return network(x)

    return repeated(without_gradients(forward, crops), problem.setting)
