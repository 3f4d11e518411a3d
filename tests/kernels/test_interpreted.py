"""Runs the kernels' own tests under Triton's interpreter, which a process must choose before it imports them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = Path(__file__).resolve().parent
# Minutes, because each address of each launch is looked at.
NIGHTLY = ("interpreted_access",)
FILES = [
    pytest.param(file, id=file.stem, marks=[pytest.mark.nightly] if file.stem in NIGHTLY else [])
    for file in sorted(HERE.glob("interpreted_*.py"))
]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_interpreted(file: Path) -> None:
    triton, numpy = (tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy"))
    if triton < (3, 9) and numpy >= (2, 4):
        pytest.skip(f"the interpreter of Triton {version('triton')} breaks with NumPy {version('numpy')}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", str(file)]
    # Thousands of tiny products, for each of which NumPy would else wake a thread.
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
