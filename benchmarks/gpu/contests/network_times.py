"""Step: networks forward as users run them, against cuDNN's best, both through CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.contests.contest import contest, oracle
from benchmarks.gpu.contests.peers_of import networks
from benchmarks.gpu.contests.sizes import NETWORKS, PRECISIONS, network
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.peers.pytorch import exact_network


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    for name, batch in NETWORKS[device]:
        for precision in PRECISIONS:
            yield Case(f"{name} x{batch} {precision}", partial(timed, name, batch, precision, device))


def timed(name: str, batch: int, precision: str, device: str) -> Values:
    problem = NetworkProblem(network(name), batch, torch.seed() % 2**32, Setting(device, precision))
    right = oracle(exact_network, problem)
    return contest(
        f"{name} x{batch}", networks(problem), right, BOUNDS["network", precision], problem, device, precision
    )
