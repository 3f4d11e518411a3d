"""Contestants in one process: on a GPU all are captured, checked first and then timed in turns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from benchmarks.gpu.visit.cases import Skipped, Values
from benchmarks.harness.crew import worst_share
from benchmarks.harness.machine import Machine, best_flops, copy
from benchmarks.harness.measure import Case, Effort, measure
from benchmarks.harness.timing import seconds_a_call
from benchmarks.harness.worker import Run, Unavailable, WorkerFailed

# Rounds of a case: the least, the most, and the seconds within which they begin.
EFFORT = {"cuda": Effort(7, 21, 1.0), "cpu": Effort(2, 2, 0)}


@dataclass
class Entrant:
    """A contestant that is made at its first call; a failure is reported in its row."""

    name: str
    start: Callable[[], Run]
    note: str = ""
    call: Run | None = None

    def result(self) -> list[torch.Tensor]:
        try:
            self.call = self.start()
            # Ours is captured at its second call, and replayed from the third.
            for _ in range(2):
                self.call()
            return [value.detach() for value in self.call()]
        except Unavailable:
            raise
        except Exception as error:
            self.call = None
            raise WorkerFailed(f"{type(error).__name__}: {error}"[:500]) from error

    def seconds(self, calls: int, device: str) -> float:
        assert self.call is not None
        if calls > 1:
            # Caches hold the data of the previous contestant.
            self.call()
        return seconds_a_call(self.call, calls, device)

    def usage(self) -> dict[str, float]:
        return {}


def contest(
    name: str,
    entrants: Sequence[Entrant],
    right: Sequence[torch.Tensor],
    bound: float,
    problem: Any,
    device: str,
    precision: str,
) -> Values:
    """Return errors and times of all, and ours over the best of the others; "failed" if a result is wrong."""
    case = Case(
        name=name,
        contestants=list(entrants),
        error=lambda found: worst_error(found, right),
        bound=bound,
        bytes=problem.bytes,
        macs=problem.macs,
        images=problem.batch,
        device=device,
        precision=precision,
    )
    try:
        values = measure(case, EFFORT[device], peak(device, precision))
    finally:
        for entrant in entrants:
            entrant.call = None
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    rows = values["rows"]
    others = [row for row in rows[1:] if "median_s" in row]
    if "median_s" in rows[0] and others:
        best = min(others, key=lambda row: row["median_s"])
        values["best_other"] = best["name"]
        values["times_faster"] = best["median_s"] / rows[0]["median_s"]
        values["error_to_best_other"] = rows[0]["error"] / max(best["error"], 1e-30)
    if "skipped" in rows[0]:
        raise Skipped(rows[0]["skipped"])
    fine = all(row.get("correct", "skipped" in row) for row in rows)
    return {"state": "ok" if fine else "failed", **values}


def worst_error(found: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    """Return the largest relative error of a tensor, as `benchmarks.harness.crew.worst_error` defines it."""
    if [each.shape for each in found] != [each.shape for each in right]:
        return float("nan")
    errors = [float((a.to(b) - b).norm()) for a, b in zip(found, right, strict=True)]
    return worst_share(errors, [float(each.norm()) for each in right])


@cache
def peak(device: str, precision: str) -> Machine:
    """Return the peak rates, measured once per process; any number in a rehearsal."""
    if device == "cpu":
        return Machine({("cpu", precision): 1e11}, {"cpu": 1e10})
    return Machine({("cuda", precision): best_flops("cuda", precision, False)}, {"cuda": copy("cuda", 1024)})


def oracle(exact: Callable[[Any], Run], problem: Any) -> list[torch.Tensor]:
    """Return the right result, in float64 on the problem's device: to copy maps of gigabytes would take seconds."""
    right = [value.detach() for value in exact(problem)()]
    gc.collect()
    if problem.setting.device == "cuda":
        torch.cuda.empty_cache()
    return right
