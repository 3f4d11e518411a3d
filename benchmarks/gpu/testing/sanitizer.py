"""Steps: the core tests again, under one of compute-sanitizer's tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from benchmarks.gpu.testing.tests_run import CORE, CUDA_OPS, pytest_command, pytest_environment
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.gpu.visit.tools import found, run

# The exit code of the tool's own error, not of a test.
FOUND_CODE = 99
SUBSETS = {
    "triton-core": CORE,
    "peaks": (CUDA_OPS[0], "-k", "cuda and matches_reference"),
    "merge_peaks": (CUDA_OPS[1], "-k", "cuda and matches_reference"),
    "resize_merge": (CUDA_OPS[2], "-k", "cuda and matches_reference"),
    "gaussian_targets": (CUDA_OPS[3], "-k", "cuda and matches_reference"),
}
SUBSET_S = 60.0


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    """Return the cases; `step` is the tool's name."""
    need_device(device)
    tool = found("compute-sanitizer")
    for name, arguments in SUBSETS.items():
        yield Case(name, partial(sanitized, tool, step, arguments, device))


def sanitized(tool: str, kind: str, arguments: tuple[str, ...], device: str) -> Values:
    marked = "gpu" if device == "cuda" else "not gpu and not slow"
    command = [tool, "--tool", kind, "--target-processes", "all", "--error-exitcode", str(FOUND_CODE),
               *pytest_command("-x", "-m", marked, *arguments)]  # fmt: skip
    # Freed memory is returned, so that the tool finds uses after that.
    code, text = run(command, SUBSET_S, {**pytest_environment(None), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    summary = re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: .*$", text, re.MULTILINE)
    values: Values = {"code": code, "summary": summary}
    if code == 5:
        return {"state": "skipped", "reason": "pytest found no such test", **values}
    if code == 124:
        return {"state": "cut off", "reason": f"still running after {SUBSET_S:g} s", **values}
    return {"state": "failed", "output": text[-6000:], **values} if code else values
