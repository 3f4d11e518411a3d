"""Contestants that read an exported network: ONNX Runtime, OpenVINO and OpenCV, each at its best settings.

OpenVINO computes in bfloat16 too, where the processor has it; otherwise it stays with float32.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness.problems import LayerProblem, NetworkProblem
from benchmarks.harness.worker import Run, Unavailable
from benchmarks.peers.plain import PlainNetwork
from benchmarks.peers.pytorch import Peer

Problem = LayerProblem | NetworkProblem
# A function from an input to its outputs.
Forward = Callable[[np.ndarray], Sequence[Any]]
INSTALL = 'type: pip install -c constraints.txt -e ".[bench]"'


def need(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise Unavailable(f"{', '.join(missing)} not installed; {INSTALL}")


def plain(problem: Problem) -> tuple[nn.Module, torch.Tensor]:
    """Return a layer or a network as a module of plain PyTorch, and its input."""
    if isinstance(problem, NetworkProblem):
        return PlainNetwork(problem.model()), problem.crops()
    conv, x, _ = problem.conv()
    return nn.Sequential(conv, nn.ReLU()) if problem.layer.relu else nn.Sequential(conv), x


def export(problem: Problem) -> tuple[Path, np.ndarray]:
    """Return the file of the problem's module in the current folder, written by the first caller, and its input."""
    module, x = plain(problem)
    path = Path(f"{hashlib.sha256(repr(problem).encode()).hexdigest()[:16]}.onnx")
    if not path.exists():
        need("onnx", "onnxscript")
        unfinished = path.with_suffix(f".{os.getpid()}")
        # This silences messages about operators of packages that are not installed, and about the exporter's internals.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), (x,), unfinished, dynamo=True, external_data=False, verbose=False)
        os.replace(unfinished, path)
    return path, x.numpy()


def onnxruntime(problem: Problem, spinning: bool = True) -> Forward:
    need("onnxruntime")
    import onnxruntime as ort

    path, _ = export(problem)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads may spin between the layers of a call, not after it, where the next peer has its turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    return lambda x: session.run(None, {name: x})


def openvino(problem: Problem) -> Forward:
    need("openvino")
    import openvino as ov

    path, _ = export(problem)
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if problem.setting.precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = ov.Core().compile_model(str(path), "CPU", settings).create_infer_request()

    def forward(x: np.ndarray) -> Sequence[Any]:
        outputs = request.infer([x], share_inputs=True, share_outputs=True)
        return [outputs[index] for index in range(len(outputs))]

    return forward


def opencv(problem: Problem) -> Forward:
    import cv2

    path, _ = export(problem)
    cv2.setNumThreads(torch.get_num_threads())
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
        names = network.getUnconnectedOutLayersNames()
    except cv2.error as error:
        raise Unavailable(f"OpenCV {cv2.__version__} can't read the exported network: {error}") from None

    def forward(x: np.ndarray) -> Sequence[Any]:
        network.setInput(x)
        return network.forward(names)

    return forward


def on_its_input(problem: Problem, forward: Callable[[Problem], Forward]) -> Run:
    """Return a peer that runs on the problem's own input."""
    ready, (_, x) = forward(problem), export(problem)
    return lambda: ready(x)


FORWARDS = {"ONNX Runtime": onnxruntime, "OpenVINO": openvino, "OpenCV DNN": opencv}
ONNX_PEERS = tuple(Peer(name, partial(on_its_input, forward=forward)) for name, forward in FORWARDS.items())
