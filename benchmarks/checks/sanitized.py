"""Run a module with a build of `cpm_fast._C` that has AddressSanitizer and UndefinedBehaviorSanitizer in it.

    cmake --preset sanitize-python -Dpybind11_DIR="$(python -m pybind11 --cmakedir)"
    cmake --build --preset sanitize-python
    python benchmarks/checks/sanitized.py benchmarks.checks.guarded_ops 1 60
    python benchmarks/checks/sanitized.py pytest tests/ops -q

The first memory fault or undefined operation of native code ends the process with a report. Leaks are not checked:
Python and PyTorch keep memory until the end.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitize-python"
MODULE = "cpm_fast._C"
LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so")


def libraries() -> list[str]:
    """Return the sanitizers' libraries of the compiler; they must be loaded before all others."""
    compiler = os.environ.get("CXX", "c++")
    asked = (
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        for name in LIBRARIES
    )
    return [str(Path(answer.stdout.strip()).resolve()) for answer in asked]


def load() -> None:
    """Put the instrumented module where `import cpm_fast._C` finds it.

    Raises:
        FileNotFoundError: it is not built.
    """
    built = sorted(BUILD.glob("_C*.so"))
    if not built:
        raise FileNotFoundError(f"{BUILD}: must hold _C; build it by cmake --build --preset sanitize-python")
    spec = importlib.util.spec_from_file_location(MODULE, built[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Start this file again with the sanitizers loaded; there, run the named module."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if "CPM_FAST_SANITIZED" not in os.environ:
        options = "detect_leaks=0:detect_odr_violation=0:handle_segv=1:allocator_may_return_null=1"
        started = {"LD_PRELOAD": " ".join(libraries()), "ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=1"}
        environment = {**os.environ, **started, "CPM_FAST_SANITIZED": "1"}
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], environment)
    sys.path.insert(0, str(ROOT))
    load()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
