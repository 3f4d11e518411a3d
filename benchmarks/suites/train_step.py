"""A training step: forward, loss of every stage, backward and the optimizer's update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew
from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case
from benchmarks.harness.problems import Setting, TrainProblem
from benchmarks.peers.pytorch import cpm_fast_step, exact_step, pytorch_step, torch_peers
from benchmarks.suites.busy import config_of

# (preset or bundled weights, batch)
NETWORKS: dict[Level, tuple[tuple[str, int], ...]] = {
    "quick": (("compact", 1),),
    "tour": (("compact", 4),),
    "default": (("compact", 4), ("compact", 16)),
    "full": (("compact", 4), ("compact", 16), ("wide-lsp", 16), ("cpm6", 4)),
}
# On the CPU this one is measured in bfloat16 too.
BOTH = "wide-lsp"
# `cpm-fast train` sets this for itself. A step of PyTorch alone takes as long with it as without.
IDLE = {"GOMP_SPINCOUNT": "1000"}
GPU_NETWORKS = (("compact", 32), ("cpm6", 32))


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    networks = NETWORKS[level] if setting.device == "cpu" or level == "quick" else GPU_NETWORKS
    for name, batch in networks:
        yield case(name, batch, level, crew, setting)
        if name == BOTH:
            yield case(name, batch, level, crew, replace(setting, precision="bf16"))


def case(name: str, batch: int, level: Level, crew: Crew, setting: Setting) -> Case:
    config = replace(config_of(name), dropout=0.0)
    problem = TrainProblem(config, batch, torch.seed() % 2**32, setting)
    ours, *others = torch_peers(cpm_fast_step, pytorch_step, with_compiler=level == "full")
    height, width = config.input_size
    return crew.case(
        f"training step {name}, {height}x{width}, batch {batch}",
        problem,
        crew.oracle(exact_step, problem),
        [replace(ours, environment=IDLE), *others],
        BOUNDS["train-step", setting.precision],
        {"network": name, "size": [height, width]},
    )
