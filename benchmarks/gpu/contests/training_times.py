"""Step: training steps (forward, loss, backward, update) against cuDNN's best, captured in graphs and not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.contests.contest import contest, oracle
from benchmarks.gpu.contests.peers_of import training_steps
from benchmarks.gpu.contests.sizes import PRECISIONS, TRAINING, network
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.problems import Setting, TrainProblem
from benchmarks.peers.pytorch import exact_step


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    for name, batch in TRAINING[device]:
        for precision in PRECISIONS:
            yield Case(f"{name} x{batch} {precision}", partial(timed, name, batch, precision, device))


def timed(name: str, batch: int, precision: str, device: str) -> Values:
    problem = TrainProblem(network(name), batch, torch.seed() % 2**32, Setting(device, precision))
    right = oracle(exact_step, problem)
    return contest(
        f"{name} x{batch}", training_steps(problem), right, BOUNDS["train-step", precision], problem, device, precision
    )
