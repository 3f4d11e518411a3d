"""Step: versions, the GPU, and the installed tools."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu.visit.cases import Case, Rows, Skipped, Values
from benchmarks.gpu.visit.tools import found, output

PACKAGES = (
    "torch triton numpy opencv-python-headless opencv-python safetensors tqdm matplotlib "
    "pytest hypothesis scipy pybind11 setuptools nvidia-cudnn-cu13"
)
TOOLS = ("nvcc", "ncu", "compute-sanitizer", "cuobjdump", "cmake", "ninja", "c++")
GPU_FACTS = "name,driver_version,memory.total,compute_cap,clocks.sm,clocks.mem,clocks.max.sm,power.draw,temperature.gpu"


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    yield Case("versions", versions)
    yield Case("tools", tools)
    yield Case("nvidia-smi", nvidia_smi)
    yield Case("torch", lambda: torch_facts(device))


def versions() -> Values:
    there = {}
    for package in PACKAGES.split():
        try:
            there[package] = version(package)
        except PackageNotFoundError:
            there[package] = "missing"
    return {"python": sys.version, "system": platform.platform(), "cores": os.cpu_count(), "packages": there}


def tools() -> Values:
    there: Values = {}
    for tool in TOOLS:
        try:
            path = found(tool)
            there[tool] = {"path": path, "version": output([path, "--version"]).strip().splitlines()[-1]}
        except (Skipped, RuntimeError, IndexError) as error:
            there[tool] = str(error)
    return there


def nvidia_smi() -> Values:
    if shutil.which("nvidia-smi") is None:
        raise Skipped("nvidia-smi is not on PATH")
    line = output(["nvidia-smi", f"--query-gpu={GPU_FACTS}", "--format=csv,noheader"]).strip().splitlines()[0]
    return dict(zip(GPU_FACTS.split(","), (value.strip() for value in line.split(",")), strict=False))


def torch_facts(device: str) -> Values:
    import torch

    facts: Values = {"torch": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads()}
    if device == "cpu":
        return facts
    if not torch.cuda.is_available():
        raise RuntimeError(f"no CUDA device: torch {torch.__version__} of CUDA {torch.version.cuda} sees none")
    properties = torch.cuda.get_device_properties(0)
    sizes = "total_memory L2_cache_size shared_memory_per_block_optin regs_per_multiprocessor"
    names = ("name", "major", "minor", "multi_processor_count", *sizes.split())
    return {
        **facts,
        "cudnn": torch.backends.cudnn.version(),
        "devices": torch.cuda.device_count(),
        **{name: getattr(properties, name, None) for name in names},
    }
