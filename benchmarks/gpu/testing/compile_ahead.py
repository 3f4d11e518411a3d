"""Steps: compile the kernels of later steps on every core; each of those would compile one after the other.

Triton keeps compiled kernels on the disk, where the other steps find them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.gpu.testing.launches_ahead import by_step, launches_of
from benchmarks.gpu.tuning.plan_table import capability_of
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.gpu.visit.processes import die_with_parent
from cpm_fast.kernels.launch import Launch

MOST_PROCESSES = 16
REHEARSED_CAPABILITY, REHEARSED_KERNELS = 90, 1


@dataclass(frozen=True)
class Job:
    """A launch as another process takes it: dtypes in place of tensors, names in place of the kernel."""

    module: str
    kernel: str
    arguments: dict[str, str | int]
    options: dict[str, str | int]

    @classmethod
    def of(cls, launch: Launch) -> Job:
        arguments = {
            name: str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else value
            for name, value in launch.arguments.items()
        }
        options = {**launch.constants, "num_warps": launch.warps, "num_stages": launch.stages}
        return cls(launch.kernel.__module__, launch.kernel.__name__, arguments, options)


class NoGpu:
    """A driver of Triton that names the chip to compile for, and runs nothing."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    processes = min(MOST_PROCESSES, os.cpu_count() or 1) if device == "cuda" else 1
    done: set[Any] = set()
    # Processes that start afresh, since CUDA does not work in forked ones.
    with ProcessPoolExecutor(processes, get_context("spawn"), prepare, (device,)) as pool:
        capability = capability_of(device) or REHEARSED_CAPABILITY
        for name, wanted in by_step(capability)[step].items():
            found = launches_of(wanted, capability)
            jobs = [Job.of(launch) for key, launch in found.items() if key not in done]
            done |= found.keys()
            yield Case(name, partial(compiled, pool, jobs if device == "cuda" else jobs[:REHEARSED_KERNELS]))


def compiled(pool: ProcessPoolExecutor, jobs: Iterable[Job]) -> Values:
    begin, failed = time.monotonic(), {}
    running = {pool.submit(compile_job, job): job for job in jobs}
    for future in as_completed(running):
        job = running[future]
        if error := future.exception():
            failed[f"{job.kernel} {job.options}"] = f"{type(error).__name__}: {error}"[:500]
    values = {"kernels": len(running), "seconds": round(time.monotonic() - begin, 1), "failed": failed}
    return {**values, "state": "failed", "reason": f"{len(failed)} kernels do not compile"} if failed else values


def prepare(device: str) -> None:
    """Set up a process of the pool."""
    die_with_parent()
    if device == "cpu":
        from triton.runtime import driver

        driver.set_active(NoGpu(REHEARSED_CAPABILITY))


def compile_job(job: Job) -> None:
    """Compile a kernel as a launch would, with the part that passes its arguments; nothing runs."""
    from triton.runtime.jit import MockTensor

    kernel = getattr(import_module(job.module), job.kernel)
    arguments = {
        name: MockTensor(getattr(torch, value)) if isinstance(value, str) else value
        for name, value in job.arguments.items()
    }
    made = kernel.warmup(grid=(1,), **arguments, **job.options)
    if torch.cuda.is_available():
        made._init_handles()
