"""A network beside other programs that compute: median and 95th percentile of single calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew
from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.peers.pytorch import Peer, cpm_fast_network, exact_network, pytorch_network
from benchmarks.peers.runtimes import on_its_input, onnxruntime, openvino
from cpm_fast.config import NetworkConfig, preset
from cpm_fast.weights import load

NETWORKS: dict[Level, tuple[str, ...]] = {
    "quick": ("compact",),
    "tour": ("wide-lsp",),
    "default": ("wide-lsp",),
    "full": ("wide-lsp", "compact-lsp"),
}
NEIGHBORS: dict[Level, tuple[str, ...]] = {
    "quick": ("1",),
    "tour": ("0", "2"),
    "default": ("0", "1", "2", "4", "training"),
    "full": ("0", "1", "2", "4", "training"),
}
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
# Each peer runs with its default, and with its waiting policy for busy machines. OpenVINO's threads do not spin.
PEERS = (
    Peer("cpm_fast", cpm_fast_network),
    Peer("PyTorch", partial(pytorch_network, layout="channels_last"), "channels_last"),
    Peer("PyTorch, passive", partial(pytorch_network, layout="channels_last"), "channels_last", PASSIVE),
    Peer("ONNX Runtime", partial(on_its_input, forward=onnxruntime)),
    Peer("ONNX Runtime, no spinning", partial(on_its_input, forward=partial(onnxruntime, spinning=False))),
    Peer("OpenVINO", partial(on_its_input, forward=openvino)),
)


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    for name in NETWORKS[level]:
        problem = NetworkProblem(config_of(name), 1, torch.seed() % 2**32, setting)
        right = crew.oracle(exact_network, problem)
        for kind in NEIGHBORS[level]:
            beside = "a training" if kind == "training" else f"{kind} computing processes"
            case = crew.case(
                f"{name}, batch 1, beside {beside}",
                problem,
                right,
                PEERS,
                BOUNDS["network", setting.precision],
                {"network": name, "neighbors": kind},
            )
            yield replace(case, neighbors=kind)


def config_of(name: str) -> NetworkConfig:
    """Return the config of a preset or of bundled weights, with random weights that keep activations of one size."""
    config = load(name).config if "-" in name else preset(name)
    return replace(config, init_std=None)
