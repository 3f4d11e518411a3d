"""Step: layers, forward and with their gradients, against cuDNN's best, both through CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.contests.contest import contest, oracle
from benchmarks.gpu.contests.layer_problem import DeviceLayerProblem
from benchmarks.gpu.contests.peers_of import layers
from benchmarks.gpu.contests.sizes import LAYER_BATCHES, PRECISIONS, distinct_layers, layer_name
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.problems import Setting
from benchmarks.peers.pytorch import exact_layer
from cpm_fast.model.layers import Layer


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    for batch in LAYER_BATCHES[device]:
        for precision in PRECISIONS:
            for layer in distinct_layers(device):
                for backward in (False, True):
                    name = f"{layer_name(layer)} x{batch} {precision}{' +backward' if backward else ''}"
                    yield Case(name, partial(timed, layer, batch, precision, backward, device))


def timed(layer: Layer, batch: int, precision: str, backward: bool, device: str) -> Values:
    problem = DeviceLayerProblem(layer, batch, backward, torch.seed() % 2**32, Setting(device, precision))
    right = oracle(exact_layer, problem)
    bound = BOUNDS["layer", precision]
    return contest(
        layer_name(layer), layers(problem), right if backward else right[:1], bound, problem, device, precision
    )
