"""Steps: the core tests again, under one of compute-sanitizer's tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from benchmarks.gpu.testing.tests_run import CORE, CUDA_OPS, pytest_command, pytest_environment
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from benchmarks.gpu.visit.tools import ALL_BUT_THE_END, found, left_s, run

# The exit code of the tool's own error, not of a test.
FOUND_CODE = 99
# One process per kind of kernel: an error in one does not hide those of the other. The numbers are the shares of the
# step's time at which they end.
SUBSETS = {
    "triton-core": (CORE, 0.65),
    "cuda-ops": ((*CUDA_OPS, "-k", "cuda and matches_reference and not whole and not 368"), ALL_BUT_THE_END),
}


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    """Return the cases; `step` is the tool's name."""
    need_device(device)
    tool = found("compute-sanitizer")
    for name, (arguments, share) in SUBSETS.items():
        yield Case(name, partial(sanitized, tool, step, arguments, device, share))


def sanitized(tool: str, kind: str, arguments: tuple[str, ...], device: str, share: float) -> Values:
    seconds = left_s(share)
    marked = "gpu" if device == "cuda" else "not gpu and not slow"
    options = f"--tool {kind} --target-processes all --launch-timeout 60 --error-exitcode {FOUND_CODE}"
    command = [tool, *options.split(), *pytest_command("-x", "-m", marked, *arguments)]
    # Freed memory is returned, so that the tool finds uses after that.
    code, text = run(command, seconds, {**pytest_environment(None), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    summary = re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: .*$", text, re.MULTILINE)
    values: Values = {"code": code, "summary": summary}
    if code == 5:
        return {"state": "skipped", "reason": "pytest found no such test", **values}
    if code == 124:
        return {"state": "cut off", "reason": f"still running after {seconds:.0f} s", "output": text[-6000:], **values}
    return {"state": "failed", "output": text[-6000:], **values} if code else values
