"""Steps: the tests marked gpu; pytest's own process sends their outcomes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.testing.outcomes import DESCRIPTOR
from benchmarks.gpu.visit.cases import Case, NotNeeded, Rows, Skipped, need_device
from benchmarks.gpu.visit.processes import FAILED
from benchmarks.gpu.visit.tools import NEVER_S, ROOT, found, python, run

# Arguments of pytest.
CORE = ("tests/kernels/test_on_gpu.py", "-k", "core")
OPS = ("peaks", "merge_peaks", "many_peaks", "resize_merge", "gaussian_targets")
CUDA_OPS = tuple(f"tests/ops/test_{op}.py" for op in OPS)
# The folders of the tests marked gpu: collecting all others would take most of a minute.
WITH_GPU = ("tests/kernels", "tests/ops", "tests/engine", "tests/benchmarks/test_parity.py")
# The core tests with the CUDA toolkit's assembler in place of Triton's own: users of other kernels report wrong results
# on Hopper with version 12.8 (fla-org/flash-linear-attention#1262).
OTHER_PTXAS = "other-ptxas"
SELECTIONS: dict[str, tuple[str, ...]] = {
    "core-tests": CORE,
    "cuda-ops-tests": (*CUDA_OPS, "-k", "cuda"),
    OTHER_PTXAS: CORE,
    "tests": WITH_GPU,
}
# These apply with --device cpu; the tests marked gpu are collected and skipped.
REHEARSED: dict[str, tuple[str, ...]] = {
    "core-tests": ("-m", "not gpu and not slow", *CORE),
    "cuda-ops-tests": ("-m", "gpu", *CUDA_OPS),
    OTHER_PTXAS: ("-m", "not gpu and not slow", *CORE),
    "tests": ("-m", "gpu", "tests/kernels", "tests/ops"),
}
# pytest's own codes: all passed, some failed, none selected. Any other code means that its process died.
USUAL_CODES = (0, 1, 5)


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    """Return no cases of this process: pytest takes its place."""
    need_device(device)
    other = other_ptxas() if step == OTHER_PTXAS else {}
    arguments = REHEARSED[step] if device == "cpu" else ("-m", "gpu", *SELECTIONS[step])
    environment = pytest_environment(rows.descriptor) | other
    code, text = run(pytest_command(*arguments), NEVER_S, environment, [rows.descriptor])
    if code not in USUAL_CODES:
        os._exit(code if 0 < code < 256 else 1)
    if code == 5 and "deselected" not in text:
        raise Skipped("pytest found no such test")
    yield from ()


def other_ptxas() -> dict[str, str]:
    """Return the variable that selects the toolkit's assembler.

    Raises:
        NotNeeded: the core tests did not fail with Triton's own.
        Skipped: there is no toolkit.
    """
    if "core-tests" not in os.environ.get(FAILED, "").split(","):
        raise NotNeeded("the core tests have not failed with Triton's own ptxas")
    return {"TRITON_PTXAS_PATH": str(Path(found("nvcc")).resolve().parent / "ptxas")}


def pytest_command(*arguments: str) -> list[str]:
    return python(
        "-m",
        "pytest",
        "-q",
        # One file that can't be imported must not stop the others.
        "--continue-on-collection-errors",
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
