"""Networks on the CPU in bfloat16, ours beside peers in bfloat16 and in float32: the best of both is what counts.

The network's bound is that of bfloat16; the error of each row is in the JSON. Our engines are frozen, as those of
`infer` are and as the networks of the runtimes are; the row "not frozen" has one that compares weights at every call.
"""

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
from benchmarks.harness.worker import Run, Start
from benchmarks.peers.pytorch import Peer, cpm_fast_network, exact_network, pytorch_network
from benchmarks.peers.runtimes import on_its_input, onnxruntime, openvino
from benchmarks.suites.busy import config_of

# (preset or bundled weights, batch)
NETWORKS: dict[Level, tuple[tuple[str, int], ...]] = {
    "quick": (("compact", 1),),
    "tour": (("wide-lsp", 1),),
    "default": (("wide-lsp", 1), ("wide-lsp", 8), ("compact-lsp", 1), ("compact-lsp", 8)),
    "full": (("wide-lsp", 1), ("wide-lsp", 8), ("compact-lsp", 1), ("compact-lsp", 8), ("cpm6", 1), ("cpm6", 8)),
}


def in_float32(problem: NetworkProblem, start: Start) -> Run:
    """Return a peer that computes the problem in float32."""
    return start(replace(problem, setting=Setting("cpu", "fp32")))


def peers() -> list[Peer]:
    layout = partial(pytorch_network, layout="channels_last")
    frozen = partial(cpm_fast_network, frozen=True)
    bf16 = [
        Peer("cpm_fast", frozen, "bf16"),
        Peer("cpm_fast, not frozen", cpm_fast_network, "bf16, weights may change"),
        Peer("PyTorch", layout, "bf16, channels_last"),
        Peer("OpenVINO", partial(on_its_input, forward=openvino), "bf16"),
    ]
    fp32 = [
        Peer("cpm_fast fp32", partial(in_float32, start=frozen)),
        Peer("PyTorch fp32", partial(in_float32, start=layout), "channels_last"),
        Peer("OpenVINO fp32", partial(in_float32, start=partial(on_its_input, forward=openvino))),
        Peer("ONNX Runtime fp32", partial(in_float32, start=partial(on_its_input, forward=onnxruntime))),
    ]
    return [*bf16, *fp32]


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    """Yield a case per network and batch; `setting` has the device."""
    setting = replace(setting, precision="bf16")
    for name, batch in NETWORKS[level]:
        problem = NetworkProblem(config_of(name), batch, torch.seed() % 2**32, setting)
        yield crew.case(
            f"{name}, batch {batch}, forward in bfloat16",
            problem,
            crew.oracle(exact_network, problem),
            peers(),
            BOUNDS["network", setting.precision],
            {"network": name},
        )
