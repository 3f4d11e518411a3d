"""Step: the errors of networks against float64 in every precision, stage by stage, ours beside cuDNN's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.contests.contest import Entrant, oracle
from benchmarks.gpu.contests.peers_of import networks
from benchmarks.gpu.contests.sizes import PARITY, PRECISIONS, network
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.harness.worker import Unavailable, WorkerFailed
from benchmarks.peers.pytorch import exact_network

# Our error against float64 may be this many times that of cuDNN in the same precision.
FURTHER = 2.0
FAR_OFF = 1e30


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    for name, batch in PARITY[device]:
        for precision in PRECISIONS:
            yield Case(f"{name} x{batch} {precision}", partial(compared, name, batch, precision, device))


def compared(name: str, batch: int, precision: str, device: str) -> Values:
    problem = NetworkProblem(network(name), batch, torch.seed() % 2**32, Setting(device, precision))
    right = oracle(exact_network, problem)
    found: dict[str, Any] = {}
    for entrant in networks(problem):
        found[entrant.name] = stage_errors(entrant, right)
        entrant.call = None
    ours, *others = found.values()
    if isinstance(ours, str):
        return {"state": "skipped" if ours.startswith("unavailable") else "failed", "reason": ours, "errors": found}
    known = [max(each) for each in others if not isinstance(each, str)]
    ratio = max(ours) / min(known) if known else None
    fine = max(ours) <= BOUNDS["network", precision] and (ratio is None or ratio <= FURTHER)
    return {
        "state": "ok" if fine else "failed",
        "errors": found,
        "bound": BOUNDS["network", precision],
        "times_as_far_as_cudnn": ratio,
        "bound_of_that": FURTHER,
    }


def stage_errors(entrant: Entrant, right: list[torch.Tensor]) -> list[float] | str:
    """Return ||found - right|| / ||right|| of every stage, or the reason why there is none."""
    try:
        found = entrant.result()
    except Unavailable as reason:
        return f"unavailable: {reason}"
    except WorkerFailed as reason:
        return str(reason)
    errors = [float((a.to(b) - b).norm() / b.norm()) for a, b in zip(found, right, strict=True)]
    # NaN counts as wrong in every comparison above.
    return [error if math.isfinite(error) else FAR_OFF for error in errors]
