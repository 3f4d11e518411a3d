"""The JSON of a run: command, machine, versions, and all measurements."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import cpm_fast
from benchmarks.harness.machine import Machine
from cpm_fast.ops import backend
from cpm_fast.system.files import write_json
from cpm_fast.system.versions import installed

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "triton", "opencv-python", "openvino", "onnxruntime", "onnx")
# Prefixes of environment variables that may change a peer's speed.
VARIABLES = ("OMP_", "MKL_", "KMP_", "GOMP_", "ONEDNN_", "DNNL_", "ATEN_", "TORCHINDUCTOR_", "CUDA_", "CPM_FAST_")


def record(command: str, machine: Machine, suites: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the record of measured cases by suite, with command, date, versions and machine."""
    return {
        "suites": list(suites),
        **header(command),
        "build": backend.build_info(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)},
        "threads": torch.get_num_threads(),
        "machine": machine.record(),
        "results": [{"suite": suite, **result} for suite, results in suites.items() for result in results],
    }


def about(script: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the head of a study's record, see `header`; arguments are those of `command_of`."""
    return header(command_of(script, arguments))


def command_of(script: str, arguments: Sequence[str]) -> str:
    """Return the command of a script of this checkout.

    Args:
        script: its `__file__`.
        arguments: of its command line.
    """
    return " ".join(["python", Path(script).resolve().relative_to(ROOT).as_posix(), *arguments])


def header(command: str) -> dict[str, Any]:
    """Return a command with date, commit, machine and versions."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "hardware": hardware(),
        "versions": versions(),
    }


def write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def hardware() -> dict[str, Any]:
    cpu, flags = platform.processor(), ""
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
        values = {name.strip(): value.strip() for name, _, value in lines}
        cpu, flags = values.get("model name", cpu), values.get("flags", "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    simd = [flag for flag in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()]
    return {"cpu": cpu, "cores": os.cpu_count(), "simd": simd, "system": platform.system(), "gpu": gpu}


def commit() -> str:
    """Return the commit of this checkout; a star means that files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=*", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of this checkout and of the packages that affect results."""
    packages = {name: installed(name) for name in PACKAGES}
    return {"python": platform.python_version(), "cpm_fast": cpm_fast.__version__, **packages}
