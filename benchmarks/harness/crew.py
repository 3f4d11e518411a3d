"""The workers of a run: one process per peer, started when first needed, and their cases."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.measure import Case
from benchmarks.harness.worker import Start, Worker
from benchmarks.peers.pytorch import Peer

# The pause between two turns, so that idle threads of the last contestant fall asleep: libgomp's spin for up to 15 ms
# at its default of 300,000 spins.
SETTLE_SECONDS = 0.02

ORACLE_MEMORY_BYTES = 1 << 30
SMALLEST_NORM_SHARE = 1e-3

Sizes = dict[str, Any]


class Crew:
    """A context whose workers end with it.

    Args:
        threads: CPU threads of each worker.
        only: names of the peers to include; all if empty.
    """

    def __init__(self, threads: int, only: Sequence[str] = ()) -> None:
        self.threads, self.only = threads, only
        self.workers: dict[str, Worker] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="cpm_fast-benchmark-")

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()

    def worker(self, name: str, environment: Mapping[str, str] | None = None) -> Worker:
        """Return the process of a peer; a dead one is replaced."""
        worker = self.workers.get(name)
        if worker is None or worker.process.poll() is not None:
            worker = self.workers[name] = Worker(self.threads, Path(self.folder.name), environment or {})
        return worker

    def oracle(self, exact: Start, problem: Any) -> list[np.ndarray]:
        """Compute the right result in float64; the process ends afterward if it took much memory."""
        worker = self.worker("oracle")
        worker.prepare(exact, problem)
        right = worker.result()
        if worker.usage()["peak_memory_bytes"] > ORACLE_MEMORY_BYTES:
            self.workers.pop("oracle").close()
        return right

    def case(
        self, name: str, problem: Any, right: Sequence[np.ndarray], peers: Sequence[Peer], bound: float, sizes: Sizes
    ) -> Case:
        """Return a case: a problem for peers, with the right result."""
        entered = [peer for peer in peers if not self.only or peer.name in self.only]
        # All workers start at once: starting is mostly importing.
        for peer in entered:
            self.worker(peer.name, peer.environment)
        return Case(
            name=name,
            contestants=[RemoteContestant(self, peer, problem) for peer in entered],
            error=lambda arrays: worst_error(arrays, right),
            bound=bound,
            bytes=problem.bytes,
            macs=problem.macs,
            images=problem.batch,
            device=problem.setting.device,
            precision=problem.setting.precision,
            sizes={**sizes, "batch": problem.batch},
        )


@dataclass
class RemoteContestant:
    """A peer with a problem, in its worker."""

    crew: Crew
    peer: Peer
    problem: Any

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def note(self) -> str:
        return self.peer.note

    def result(self) -> list[np.ndarray]:
        worker = self.crew.worker(self.name, self.peer.environment)
        worker.prepare(self.peer.start, self.problem)
        return worker.result()

    def seconds(self, calls: int, device: str) -> float:
        time.sleep(SETTLE_SECONDS)
        return self.crew.worker(self.name).seconds(calls, device)

    def each(self, calls: int) -> list[float]:
        time.sleep(SETTLE_SECONDS)
        return self.crew.worker(self.name).each(calls)

    def usage(self) -> dict[str, float]:
        return self.crew.worker(self.name).usage()


def worst_error(arrays: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """Return the largest of ||out - right|| / ||right|| over the arrays; NaN if a count or shape is wrong.

    If an array's norm is below a thousandth of the largest norm, its error is relative to that thousandth: some
    gradients cancel to 0, such as that of a shift before a batch normalization.
    """
    if [array.shape for array in arrays] != [array.shape for array in right]:
        return float("nan")
    norms = [float(np.linalg.norm(array.ravel())) for array in right]
    return worst_share([float(np.linalg.norm((a - b).ravel())) for a, b in zip(arrays, right, strict=True)], norms)


def worst_share(errors: Sequence[float], norms: Sequence[float]) -> float:
    """Return the largest of `errors` relative to `norms`, as `worst_error` does; NaN if one is NaN."""
    least = SMALLEST_NORM_SHARE * max(norms)
    return float(np.max([error / max(norm, least) for error, norm in zip(errors, norms, strict=True)]))
