"""The rows of `cpm-fast doctor`: the fast paths of this installation, and the commands that add missing ones."""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.plans.measured import VARIABLE as PLAN_VARIABLE
from cpm_fast.ops.plans.measured import measured_plan
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.ops.spectral_conv import spectral_conv, spectral_weight_gradient, transform_weight
from cpm_fast.system.installation import rebuild_command
from cpm_fast.system.versions import installed

State = Literal["ok", "note", "problem"]

MIN_PYTHON = (3, 11)
MIN_TORCH = (2, 11)
WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
PIP_TOOLKIT = "pip install " + " ".join(
    f'"nvidia-{name}==13.0.*"' for name in ("cuda-nvcc", "cuda-crt", "cuda-runtime", "cuda-cccl", "nvvm")
)
NEWER_DRIVER = "Update the NVIDIA driver, or use a torch and a CUDA toolkit of an older CUDA."
# The largest difference that float32 rounding makes between two values of a self-test.
SELF_TEST_TOLERANCE = 1e-4
# The same for a convolution of numbers of about 1, in TF32 on both sides if PyTorch is set so.
TF32_TOLERANCE = 2e-2
Test = Callable[[], tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Row:
    """One finding: "ok", a "note" that needs no action, or a "problem" with advice."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, as a table to print."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that this machine can run is there."""
        return all(row.state != "problem" for row in self.rows)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = []
        for row in self.rows:
            lines.append(f"{row.name:<{width}}  {row.state:<7}  {row.found}")
            lines += [f"{'':<{width + 11}}{line}" for line in row.advice.splitlines()]
        return "\n".join(lines)


def report() -> Report:
    """Examine the installation, and run each native op once on every available device. May initialize CUDA.

    Returns:
        A Report. Nothing raises: a failure becomes a row.
    """
    return Report(
        (
            _python(),
            _torch(),
            *(
                _package(name, module)
                for name, module in (("numpy", "numpy"), ("opencv", "opencv-python"), ("safetensors", "safetensors"))
            ),
            _triton(),
            _native_cpu(),
            _native_cuda(),
            _cuda_plan(),
            Row("threads", "ok", _threads()),
            _weights(),
        )
    )


def _threads() -> str:
    text = f"{torch.get_num_threads()} of PyTorch's pool"
    if backend.native_missing("cpu") is None:
        text += f", {backend.threads()} of cpm_fast; {backend.native().usable_cpus()} usable CPUs"
    return text


def _python() -> Row:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] >= MIN_PYTHON:
        return Row("python", "ok", found)
    return Row("python", "problem", found, f"Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer is needed.")


def _torch() -> Row:
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in torch.__version__.split(".")[:2])
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
    trouble = _driver_trouble()
    if trouble:
        return Row("torch", "problem", f"{torch.__version__}, {built}; {trouble}", NEWER_DRIVER)
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    if numbers < MIN_TORCH:
        return Row("torch", "problem", torch.__version__, 'pip install "torch>=2.11"')
    return Row("torch", "ok", f"{torch.__version__}, {built}{device}")


def _driver_trouble() -> str:
    """Return PyTorch's message about a driver older than its CUDA; nothing if it is new enough or there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if torch.version.cuda is None or torch.cuda.is_available():
            return ""
        try:
            torch.cuda.init()
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            return said if "too old" in said else ""
    return ""


def _package(name: str, module: str) -> Row:
    found = installed(module)
    if found is None:
        return Row(name, "problem", "missing", f"pip install {module}")
    return Row(name, "ok", found)


def _triton() -> Row:
    found, gpu = installed("triton"), torch.cuda.is_available()
    if found is None:
        return Row("triton", "problem" if gpu else "note", "missing", "pip install triton" if gpu else "")
    if not gpu:
        return Row("triton", "note", f"{found}, without a GPU to run on")
    missing = backend.triton_missing("cuda", torch.cuda.current_device())
    failure = missing or _first_difference({"context_conv": _convolution("cuda")}, TF32_TOLERANCE)
    if failure:
        advice = 'Another version may: pip install "triton>=3.6", or CPM_FAST_BACKEND=reference'
        return Row("triton", "problem", f"{found}; {failure}", advice)
    return Row("triton", "ok", found)


def _native_cpu() -> Row:
    missing = backend.native_missing("cpu")
    if missing is not None:
        note = backend.build_info()["note"]
        advice = f"Everything runs on the slower reference. Install a C++17 compiler and type: {rebuild_command()}"
        return Row("native CPU ops", "problem", missing, f"{note}\n{advice}".strip())
    info = backend.build_info()
    failure = _self_test("cpu")
    if failure:
        return Row("native CPU ops", "problem", failure, f"Build anew: {rebuild_command()}")
    return Row("native CPU ops", "ok", f"live, built by {info['compiler']}")


def _native_cuda() -> Row:
    name, gpu = "native CUDA ops", torch.cuda.is_available()
    missing = backend.native_missing("cuda")
    if missing is not None:
        if not gpu:
            return Row(name, "note", f"{missing}; there is no GPU, so they are not needed")
        rebuild = f"CPM_FAST_CUDA=on {rebuild_command()}"
        advice = f"With a C++ compiler and no CUDA toolkit, type\n{PIP_TOOLKIT}\nand then\n{rebuild}"
        return Row(name, "problem", missing, advice)
    info = backend.build_info()
    built = f"compiled by CUDA {info['cuda']} for {' '.join('sm_' + arch for arch in info['cuda_archs'].split())}"
    if not gpu:
        return Row(name, "note", f"{built}; no GPU to run them")
    failure = _self_test("cuda")
    if failure:
        old = "driver version is insufficient" in failure
        advice = (
            NEWER_DRIVER
            if old
            else f'Build for this GPU: CPM_FAST_CUDA=on CPM_FAST_CUDA_ARCHS="{_architecture()}" {rebuild_command()}'
        )
        return Row(name, "problem", f"{built}; {failure}", advice)
    return Row(name, "ok", f"live, {built}")


def _cuda_plan() -> Row:
    name = "CUDA plan"
    try:
        plan = measured_plan()
    except ValueError as error:
        return Row(name, "problem", str(error), f"Name another file in {PLAN_VARIABLE}, or unset it.")
    if plan.origin:
        return Row(name, "ok", f"{len(plan.forms)} convolutions as measured on {plan.chip}, from {plan.origin}")
    found = "by predictions for an H200; none measured on this chip"
    advice = "docs/measure-your-gpu.md says how to measure it." if torch.cuda.is_available() else ""
    return Row(name, "note", found, advice)


def _architecture() -> str:
    return "".join(str(number) for number in torch.cuda.get_device_capability())


def _self_test(device: str) -> str:
    """Return the fault of the native ops on a device; empty if there is none."""
    tests = _tests_of_maps(device)
    if device == "cpu":
        tests |= _spectral_tests()
    return _first_difference(tests, SELF_TEST_TOLERANCE)


def _tests_of_maps(device: str) -> dict[str, Test]:
    parts = torch.tensor([[[[11.0, 20.5], [3.5, 60.0]]]], device=device)  # [1, 1, 2, 2]
    labeled = torch.ones(1, 1, 2, dtype=torch.bool, device=device)
    frames = torch.tensor([[0.125, 0.125, -0.4375, -0.4375], [0.1, 0.1, -0.3, 0.2]], dtype=torch.float64, device=device)
    size = (72, 56)

    def drawn() -> torch.Tensor:
        return gaussian_targets(parts, labeled, (9, 7), 7.0, 8.0)

    stack = drawn()[:, None].expand(-1, 2, -1, -1, -1).contiguous()  # [1, 2, 3, 9, 7]
    return {
        "gaussian_targets": lambda: (drawn(),),
        "resize_merge": lambda: (resize_merge(stack, frames, size),),
        "peaks": lambda: peaks(drawn(), True),
        "merge_peaks": lambda: merge_peaks(stack, frames, size, True),
    }


def _convolution(device: str) -> Test:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*size, generator=generator).to(device) for size in ((1, 3, 40, 36), (5, 3, 9, 9)))
    return lambda: (context_conv(x, weight / 16, weight[:, 0, 0, 0], True),)


def _spectral_tests() -> dict[str, Test]:
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(1, channels, 40, 36, generator=generator) for channels in (3, 5))
    weight = torch.randn(5, 3, 9, 9, generator=generator) / 16
    tile = 32
    return {
        "spectral_conv": lambda: (spectral_conv(x, transform_weight(weight, tile), weight[:, 0, 0, 0], True, 9),),
        "spectral_weight_gradient": lambda: tuple(
            found / 40 for found in spectral_weight_gradient(gradient, x, None, 9, tile)
        ),
    }


def _first_difference(tests: dict[str, Test], tolerance: float) -> str:
    """Return the first op whose fast form does not run or is wrong; empty if there is none."""
    for op, test in tests.items():
        results = []
        try:
            for name in backend.BACKENDS:
                with backend.use_backend(name):
                    results.append(test())
            error = max(float((fast - right).abs().max()) for fast, right in zip(*results, strict=True))
        except RuntimeError as failure:
            return f"{op} does not run: {str(failure).splitlines()[0]}"
        # Written so that NaN fails too.
        if not error <= tolerance:
            return f"{op} is wrong by {error:.1e} in a self-test"
    return ""


def _weights() -> Row:
    files = sorted(path.name for path in WEIGHTS.glob("*.safetensors"))
    if files:
        return Row("bundled weights", "ok", ", ".join(files))
    return Row(
        "bundled weights", "problem", f"none in {WEIGHTS}", f"The install is incomplete; type: {rebuild_command()}"
    )
