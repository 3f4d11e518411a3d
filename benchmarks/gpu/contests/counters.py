"""Step: the longest kernels of a network by PyTorch's profiler, then the hardware counters of each by ncu."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.contests.peers_of import our_network
from benchmarks.gpu.contests.sizes import network
from benchmarks.gpu.visit.cases import Case, Rows, Skipped, Values, need_device
from benchmarks.gpu.visit.tools import found, left_s, run
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.harness.worker import Run

LONGEST = 5
# (network, batch, precision)
SUBJECTS = {"cuda": ("cpm6", 8, "bf16"), "cpu": ("tiny", 1, "fp32")}
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")
# Patterns of the metrics to keep from `--page raw`; the names differ a little between versions.
WANTED = re.compile(
    r"gpu__time_duration\.sum|(sm|gpu__compute_memory|gpu__dram|dram|l1tex|lts)__throughput\.avg\.pct|dram__bytes|"
    r"launch__(registers_per_thread|shared_mem_per_block|occupancy_limit|grid_size|block_size|waves)|"
    r"sm__warps_active\.avg\.pct|l1tex__data_bank|lts__t_sector_hit_rate|smsp__average_warp_latency_issue_stalled|"
    r"l1tex__t_sector_hit_rate|sm__inst_executed_pipe_tensor"
)
ENTRY = Path(__file__).resolve().parent.parent.parent / "gpu_visit.py"


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    profile = Profile(device)
    yield Case("longest kernels", profile.longest)
    yield Case("ncu", partial(counted, profile, device))


class Profile:
    """Find the longest kernels, once."""

    def __init__(self, device: str) -> None:
        self.device, self.names = device, list[str]()

    def longest(self) -> Values:
        from torch.profiler import ProfilerActivity, profile

        call = subject(self.device)
        on_gpu = self.device == "cuda"
        for _ in range(3):
            call()
        with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
            call()
            if on_gpu:
                torch.cuda.synchronize()
        attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, attribute))
        total = sum(getattr(event, attribute) for event in events)
        rows = [
            {"kernel": event.key, "us": getattr(event, attribute), "launches": event.count} for event in events[:20]
        ]
        # ncu counts kernels, not copies.
        kernels = [str(row["kernel"]) for row in rows if not str(row["kernel"]).startswith(("Memcpy", "Memset"))]
        self.names = kernels[:LONGEST]
        return {"total_us": total, "kernels": rows}


def subject(device: str) -> Run:
    """Return a call of an engine; its first run is plain, and those from the third on are replayed."""
    name, batch, precision = SUBJECTS[device]
    return our_network(NetworkProblem(network(name), batch, 0, Setting(device, precision)))


def counted(profile: Profile, device: str) -> Values:
    tool = found("ncu")
    if not profile.names:
        raise Skipped("the longest kernels are not known")
    # ncu takes names without a template's arguments.
    names = sorted(
        {re.escape(re.split(r"[<(]", name.removeprefix("void "))[0].split("::")[-1]) for name in profile.names}
    )
    options = ["--clock-control", "none", "--target-processes", "all", "--csv", "--page", "raw"]
    options += [part for section in SECTIONS for part in ("--section", section)]
    options += ["-k", f"regex:^({'|'.join(names)})$", "--launch-skip", "0", "--launch-count", str(8 * LONGEST)]
    command = [tool, *options, sys.executable, str(ENTRY), "--subject", device]
    code, text = run(command, left_s())
    kernels = read(text)
    if code or not kernels:
        return {"state": "failed", "reason": f"ncu ended with code {code}", "output": text[-3000:], "kernels": kernels}
    return {"kernels": kernels}


def read(text: str) -> list[dict[str, str]]:
    """Return the longest launch of each kernel in ncu's output: metrics with their units in the names."""
    lines = text.splitlines()
    begin = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        return []
    head, units, *rows = csv.reader(io.StringIO("\n".join(line for line in lines[begin:] if line.startswith('"'))))
    best: dict[str, dict[str, str]] = {}
    for row in rows:
        values = dict(zip(head, row, strict=False))
        metrics = {
            f"{name} {unit}".strip(): values[name]
            for name, unit in zip(head, units, strict=False)
            if WANTED.search(name) and values.get(name)
        }
        kernel = values.get("Kernel Name", "")
        if kernel not in best or seconds(metrics) > seconds(best[kernel]):
            best[kernel] = {"kernel": kernel, **metrics}
    return list(best.values())


def seconds(metrics: dict[str, str]) -> float:
    """Return the duration in ncu's unit, which is the same within one run."""
    for name, value in metrics.items():
        if name.startswith("gpu__time_duration"):
            return float(value.replace(",", ""))
    return 0.0
