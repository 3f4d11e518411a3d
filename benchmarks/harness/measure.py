"""The measurement that all suites share: contestants are checked, then timed in turns; and the table of a case."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from tqdm import tqdm

from benchmarks.harness.machine import Machine
from benchmarks.harness.neighbors import neighbors
from benchmarks.harness.timing import seconds_a_call
from benchmarks.harness.worker import Unavailable, WorkerFailed

WARM_UP_CALLS = 3
# A first call as slow as this has warmed up everything.
SLOW_CALL_SECONDS = 0.3
# So long that the clock, Python's overhead and waking a thread are below a percent of a sample.
SAMPLE_SECONDS = 0.02
# Calls per turn when calls are timed one by one.
CALLS_BESIDE_NEIGHBORS = 20


class Entrant(Protocol):
    """One way to compute a case's result. Ratios refer to the first entrant of a case."""

    name: str
    note: str

    def result(self) -> Any: ...

    def seconds(self, calls: int, device: str) -> float: ...

    def usage(self) -> dict[str, float]: ...


@dataclass
class Contestant:
    """An entrant that runs in this process."""

    name: str
    run: Callable[[], Any]
    note: str = ""

    def result(self) -> Any:
        return self.run()

    def seconds(self, calls: int, device: str) -> float:
        return seconds_a_call(self.run, calls, device)

    def usage(self) -> dict[str, float]:
        return {}


@dataclass
class Case:
    """One input.

    Args:
        name: of the row group.
        contestants: ratios refer to the first.
        error: the relative error of a result by a float64 oracle.
        bound: the largest error that is correct.
        bytes: that must move at least; 0: not counted.
        macs: multiply-accumulates of the direct form; 0: not counted.
        images: that a call takes; 0: not counted.
        device: of the times.
        precision: whose peak the shares refer to.
        sizes: for the record.
        neighbors: processes that compute beside it while it is timed, see `neighbors`; then calls are timed one by one.
    """

    name: str
    contestants: list[Any]
    error: Callable[[Any], float]
    bound: float
    bytes: int = 0
    macs: int = 0
    images: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    sizes: dict[str, Any] = field(default_factory=dict)
    neighbors: str | None = None


@dataclass(frozen=True)
class Effort:
    """The number of rounds: those that begin within `seconds`, but at least `least` and at most `most`."""

    least: int
    most: int
    seconds: float

    def rounds(self, name: str) -> Iterator[int]:
        begin = time.monotonic()
        with tqdm(total=self.most, desc=name, unit="round", leave=False, disable=None) as bar:
            for done in range(self.most):
                if done >= self.least and time.monotonic() - begin > self.seconds:
                    return
                yield done
                bar.update()


def measure(case: Case, effort: Effort, machine: Machine) -> dict[str, Any]:
    """Check, warm up and time a case: one row per contestant; one that is wrong, or can't run, gets no time."""
    rows = [_checked(contestant, case) for contestant in case.contestants]
    entered = [(row, it) for row, it in zip(rows, case.contestants, strict=True) if row.get("correct")]
    calls = [_calls_per_sample(contestant, case.device) for _, contestant in entered]
    samples: list[list[float]] = [[] for _ in entered]
    with neighbors(case.neighbors or "0"):
        for _ in effort.rounds(case.name):
            for index, (_, contestant) in enumerate(entered):
                if case.neighbors is None:
                    samples[index].append(contestant.seconds(calls[index], case.device))
                else:
                    samples[index] += contestant.each(CALLS_BESIDE_NEIGHBORS)
    first = samples[0] if samples and rows[0].get("correct") else None
    for (row, contestant), times in zip(entered, samples, strict=True):
        row.update(_timed(case, times, machine), **contestant.usage())
        if first is not None:
            row["ratio"] = statistics.median(mine / theirs for mine, theirs in zip(times, first, strict=True))
    about = {"case": case.name, "device": case.device, "precision": case.precision, **case.sizes}
    return {**about, "images": case.images, "bytes": case.bytes, "macs": case.macs, "bound": case.bound, "rows": rows}


def _checked(contestant: Entrant, case: Case) -> dict[str, Any]:
    row: dict[str, Any] = {"name": contestant.name, "note": contestant.note}
    try:
        error = case.error(contestant.result())
    except Unavailable as reason:
        return {**row, "skipped": str(reason)}
    except WorkerFailed as reason:
        return {**row, "failed": str(reason)}
    # This comparison counts NaN as wrong.
    return {**row, "error": error, "correct": error <= case.bound}


def _calls_per_sample(contestant: Entrant, device: str) -> int:
    """Return the calls per sample, after a warm-up."""
    if contestant.usage().get("first_s", 0.0) > SLOW_CALL_SECONDS:
        return 1
    for _ in range(WARM_UP_CALLS):
        once = contestant.seconds(1, device)
    return max(1, round(SAMPLE_SECONDS / max(once, 1e-7)))


def _timed(case: Case, times: list[float], machine: Machine) -> dict[str, Any]:
    ordered, median = sorted(times), statistics.median(times)
    row: dict[str, Any] = {
        "median_s": median,
        "p10_s": ordered[len(ordered) // 10],
        "p90_s": ordered[-1 - len(ordered) // 10],
        "p95_s": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "rounds": len(times),
        "seconds": times,
    }
    if case.images:
        row["images_per_s"] = case.images / median
    # A CPU's rate in 16 bits is not measured: without instructions for it, that would take minutes.
    if case.macs and (case.device, case.precision) in machine.flops:
        row["peak_share"] = 2 * case.macs / median / machine.flops[case.device, case.precision]
    if case.bytes:
        row["bandwidth_share"] = case.bytes / median / machine.bandwidth[case.device]
    return row


def good(result: dict[str, Any]) -> bool:
    """Return whether a measured case has no wrong or failed result; absent peers are no fault."""
    return all(row.get("correct", "skipped" in row) for row in result["rows"])


def relative_error(result: torch.Tensor, oracle: torch.Tensor) -> float:
    return float((result.double().cpu() - oracle).norm() / oracle.norm())


HEAD = ("", "median ms", "10 to 90 %", "ratio", "images/s", "of peak", "of copy", "error")
FORM = "  {:<26}{:>10}  {:>18}  {:>7}  {:>9}  {:>8}  {:>8}  {:>8}"


def table(result: dict[str, Any]) -> Iterator[str]:
    """Return a measured case as lines for the screen."""
    yield f"\n{result['case']} on {result['device']}, {result['precision']}"
    yield FORM.format(*HEAD)
    for row in result["rows"]:
        name = row["name"]
        for absent in ("skipped", "failed"):
            if absent in row:
                yield f"  {name:<26}{absent.upper() if absent == 'failed' else absent}: {row[absent]}"
        if "error" not in row:
            continue
        if not row["correct"]:
            yield FORM.format(name, "WRONG", "", "", "", "", "", f"{row['error']:.1e}")
            continue
        spread = f"{_milliseconds(row['p10_s'])} to {_milliseconds(row['p90_s'])}"
        ratio = f"{row['ratio']:.2f}x" if "ratio" in row else ""
        rate = f"{row['images_per_s']:.4g}" if "images_per_s" in row else ""
        shares = [f"{row[key]:.1%}" if key in row else "" for key in ("peak_share", "bandwidth_share")]
        if result.get("neighbors") is not None:
            spread = f"95 %: {_milliseconds(row['p95_s'])}"
        values = (name, _milliseconds(row["median_s"]), spread, ratio, rate, *shares, f"{row['error']:.1e}")
        yield f"{FORM.format(*values)}  {row['note']}".rstrip()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.1 else f"{seconds * 1e3:.1f}"
