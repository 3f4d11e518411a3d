"""The C++ unit tests, built without CUDA or Python and run by ctest; and nvcc's report on every kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def program(name: str) -> str:
    """Return the program's path, beside this Python or else on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install cmake ninja")
    return found


# .ci/run builds and runs the same tests under sanitizers.
@pytest.mark.nightly
@pytest.mark.slow
def test_ctest(tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        pytest.skip("no C++ compiler")
    cmake, ctest, ninja = program("cmake"), program("ctest"), program("ninja")
    settings = {
        "CMAKE_MAKE_PROGRAM": ninja,
        "CMAKE_BUILD_TYPE": "Release",
        "CPM_FAST_CUDA": "off",
        "CPM_FAST_PYTHON": "OFF",
        "CPM_FAST_TESTS": "ON",
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    for command in (
        [cmake, "-S", str(ROOT), "-B", str(tmp_path), "-G", "Ninja", *options],
        [cmake, "--build", str(tmp_path), "--parallel", "2"],
        [ctest, "--test-dir", str(tmp_path), "--output-on-failure", "--no-tests=error"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def nvcc() -> str:
    """Return nvcc: CUDACXX, or in CUDA_HOME, PATH or /usr/local/cuda, in the order of CMake."""
    homes = [str(Path(os.environ[name]) / "bin") for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    places = os.pathsep.join([*homes, os.environ.get("PATH", ""), "/usr/local/cuda/bin"])
    found = os.environ.get("CUDACXX") or shutil.which("nvcc", path=places)
    if found is None:
        pytest.skip("no nvcc in CUDA_HOME, on PATH or in /usr/local/cuda")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("arch", [pytest.param("sm_80", marks=pytest.mark.nightly), "sm_90"])
@pytest.mark.parametrize("path", sorted((ROOT / "csrc" / "cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_kernels_do_not_spill(path: Path, arch: str, tmp_path: Path) -> None:
    options = ["-std=c++17", "-O3", "-cubin", f"-arch={arch}", "-Xptxas", "-v", f"-I{ROOT / 'csrc' / 'include'}"]
    done = subprocess.run(
        [nvcc(), *options, str(path), "-o", str(tmp_path / "kernel.cubin")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"Used \d+ registers.*", done.stderr):
        print(f"{path.stem} {arch}: {line}")
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
    assert spills and set(spills) == {"0"}, done.stderr
