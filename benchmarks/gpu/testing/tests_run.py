"""Steps: the tests marked gpu; pytest's own process sends their outcomes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from benchmarks.gpu.testing.outcomes import DESCRIPTOR
from benchmarks.gpu.visit.cases import Case, Rows, Skipped, need_device
from benchmarks.gpu.visit.tools import NEVER_S, ROOT, python, run

# Arguments of pytest.
CORE = ("tests/kernels/test_on_gpu.py", "-k", "core")
CUDA_OPS = tuple(f"tests/ops/test_{op}.py" for op in ("peaks", "merge_peaks", "resize_merge", "gaussian_targets"))
SELECTIONS: dict[str, tuple[str, ...]] = {
    "core-tests": CORE,
    "cuda-ops-tests": (*CUDA_OPS, "-k", "cuda"),
    "tests": ("tests",),
}
# These apply with --device cpu; the tests marked gpu are collected and skipped.
REHEARSED: dict[str, tuple[str, ...]] = {
    "core-tests": ("-m", "not gpu and not slow", *CORE),
    "cuda-ops-tests": ("-m", "gpu", *CUDA_OPS),
    "tests": ("-m", "gpu", "tests/kernels", "tests/ops"),
}
# pytest's own codes: all passed, some failed, none selected. Any other code means that its process died.
USUAL_CODES = (0, 1, 5)


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    """Return no cases of this process: pytest takes its place."""
    need_device(device)
    arguments = REHEARSED[step] if device == "cpu" else ("-m", "gpu", *SELECTIONS[step])
    code, text = run(pytest_command(*arguments), NEVER_S, pytest_environment(rows.descriptor), [rows.descriptor])
    if code not in USUAL_CODES:
        os._exit(code if 0 < code < 256 else 1)
    if code == 5 and "deselected" not in text:
        raise Skipped("pytest found no such test")
    yield from ()


def pytest_command(*arguments: str) -> list[str]:
    return python(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.gpu.testing.outcomes",
        "--tb=short",
        *arguments,
    )


def pytest_environment(descriptor: int | None) -> dict[str, str]:
    """Return an environment in which the plugin is found; its rows go to the descriptor, nowhere if None."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, **({} if descriptor is None else {DESCRIPTOR: str(descriptor)})}
