"""What every suite shares: contestants checked, then timed in turns; what the machine is; the table and the JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cpm_fast.files import atomic_write
from cpm_fast.ops import backend

WARM_UP_CALLS = 3
# Long enough that clock and Python overhead of a sample are below a percent.
SAMPLE_SECONDS = 0.004
PACKAGES = ("torch", "numpy", "triton", "opencv-python", "openvino", "onnxruntime", "cpm_fast")


@dataclass
class Contestant:
    """One way to compute a case's result. The first contestant of a case is the one that ratios refer to."""

    name: str
    run: Callable[[], Any]
    note: str = ""


@dataclass
class Case:
    """One input: contestants, how wrong a result is (relative, float64 oracle), the bound, and bytes that must move."""

    name: str
    contestants: list[Contestant]
    error: Callable[[Any], float]
    bound: float
    bytes: int = 0
    device: str = "cpu"
    sizes: dict[str, Any] = field(default_factory=dict)


def measure(case: Case, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Check, warm up and time a case: one row a contestant; a wrong one has an error and no time."""
    rows: list[dict[str, Any]] = []
    for contestant in case.contestants:
        error = case.error(contestant.run())
        # Written so that NaN is wrong too.
        rows.append({"name": contestant.name, "note": contestant.note, "error": error, "correct": error <= case.bound})
    entered = [(row, contestant.run) for row, contestant in zip(rows, case.contestants, strict=True) if row["correct"]]
    calls = [_calls_per_sample(run, case.device) for _, run in entered]
    samples: list[list[float]] = [[] for _ in entered]
    for _ in range(rounds):
        for index, (_, run) in enumerate(entered):
            samples[index].append(_seconds(run, calls[index], case.device))
    first = samples[0] if rows[0]["correct"] else None
    for (row, _), times in zip(entered, samples, strict=True):
        ordered = sorted(times)
        row["median_s"] = statistics.median(times)
        row["p10_s"], row["p90_s"] = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
        row["rounds"] = rounds
        if first is not None:
            row["ratio"] = statistics.median(mine / theirs for mine, theirs in zip(times, first, strict=True))
        if case.bytes:
            row["bandwidth_share"] = case.bytes / row["median_s"] / bandwidth
    return {"case": case.name, "device": case.device, **case.sizes, "bytes": case.bytes, "rows": rows}


def _calls_per_sample(run: Callable[[], Any], device: str) -> int:
    for _ in range(WARM_UP_CALLS):
        run()
    return max(1, round(SAMPLE_SECONDS / max(_seconds(run, 1, device), 1e-7)))


def _seconds(run: Callable[[], Any], calls: int, device: str) -> float:
    """Of one call, averaged over a sample."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / calls
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def fill_bandwidth(device: str, megabytes: int = 256) -> float:
    """Bytes a second that a plain fill of a buffer far larger than any cache reaches."""
    buffer = torch.empty(megabytes << 18, dtype=torch.float32, device=device)
    times = [_seconds(lambda: buffer.fill_(1.0), 1, device) for _ in range(7)]
    return buffer.numel() * 4 / min(times)


def relative_error(result: torch.Tensor, oracle: torch.Tensor) -> float:
    return float((result.double().cpu() - oracle).norm() / oracle.norm())


def table(result: dict[str, Any]) -> Iterator[str]:
    """A measured case, as lines for the screen."""
    yield f"\n{result['case']} on {result['device']}"
    yield f"  {'':<28}{'median':>10}  {'10 to 90 %':>18}  {'ratio':>7}  {'bandwidth':>9}  {'error':>8}"
    for row in result["rows"]:
        if not row["correct"]:
            yield f"  {row['name']:<28}{'WRONG':>10}  {'':>18}  {'':>7}  {'':>9}  {row['error']:8.1e}"
            continue
        spread = f"{_milliseconds(row['p10_s'])} to {_milliseconds(row['p90_s'])}"
        ratio = f"{row['ratio']:.2f}x" if "ratio" in row else ""
        share = f"{row['bandwidth_share']:.1%}" if "bandwidth_share" in row else ""
        line = f"  {row['name']:<28}{_milliseconds(row['median_s']):>10}  {spread:>18}  {ratio:>7}  {share:>9}"
        yield f"{line}  {row['error']:8.1e}  {row['note']}".rstrip()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.1 else f"{seconds * 1e3:.1f}"


def write(path: Path, suite: str, command: str, bandwidth: dict[str, float], results: list[dict[str, Any]]) -> None:
    """One suite's JSON: what ran, where, with what, and everything measured."""
    record = {
        "suite": suite,
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "build": backend.build_info(),
        "threads": torch.get_num_threads(),
        "fill_bandwidth_bytes_per_s": bandwidth,
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def hardware() -> dict[str, Any]:
    cpu, flags = platform.processor(), ""
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
        values = {name.strip(): value.strip() for name, _, value in lines}
        cpu, flags = values.get("model name", cpu), values.get("flags", "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    simd = [flag for flag in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()]
    return {"cpu": cpu, "cores": os.cpu_count(), "simd": simd, "system": platform.system(), "gpu": gpu}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
