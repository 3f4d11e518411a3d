"""The kernels' own tests under Triton's interpreter, which a process must select before it imports them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from support.beside import Command, Outcome, script

pytest.importorskip("triton")

HERE = Path(__file__).resolve().parent
# Files that take minutes, because they check each address of each launch.
NIGHTLY = ("interpreted_access",)
FILES = [
    pytest.param(file, id=file.stem, marks=[pytest.mark.nightly] if file.stem in NIGHTLY else [])
    for file in sorted(HERE.glob("interpreted_*.py"))
]


VERSIONS = {name: version(name) for name in ("triton", "numpy")}
TRITON, NUMPY = (tuple(map(int, number.split(".")[:2])) for number in VERSIONS.values())
BROKEN = TRITON < (3, 9) and NUMPY >= (2, 4)


def interpreted(_folder: Path, file: Path) -> Command | None:
    """Return the command that runs a file's tests in the interpreter."""
    # One thread: NumPy would otherwise wake another for each of thousands of tiny products.
    environment = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pytest_of_file = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", file)
    return None if BROKEN else script(*pytest_of_file, **environment)


@pytest.mark.slow
@pytest.mark.beside(command=interpreted)
@pytest.mark.parametrize("file", FILES)
def test_interpreted(file: Path, beside: Outcome | None) -> None:
    if beside is None:
        pytest.skip(f"the interpreter of Triton {VERSIONS['triton']} breaks with NumPy {VERSIONS['numpy']}")
    assert beside.code == 0, beside.output[-4000:] + beside.errors[-2000:]
