"""A wheel and a source distribution contain the whole package; the wheel contains nothing else."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("cpm_fast", "kernels", "csrc", "cmake", "tests", "benchmarks", "examples")
BUILT = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "_build_failure.txt")
# pyproject.toml requires this version, which only an isolated build would fetch.
LEAST_SETUPTOOLS = 80


def setuptools_version() -> int:
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


pytestmark = pytest.mark.skipif(
    setuptools_version() < LEAST_SETUPTOOLS, reason=f"setuptools {LEAST_SETUPTOOLS} is missing: pip install setuptools"
)


def build(kind: str, sources: Path, out: Path) -> Path:
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    environment = {**os.environ, "CPM_FAST_NATIVE": "off"}
    done = subprocess.run([sys.executable, "-c", code], cwd=sources, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("sources")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=BUILT)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, copy)
    return copy


def files_of(sources: Path, folder: str) -> set[str]:
    return {path.relative_to(sources).as_posix() for path in (sources / folder).rglob("*") if path.is_file()}


def test_a_wheel_holds_the_package_and_nothing_else(sources, tmp_path):
    # Files are listed before the build, which leaves a note in its own folders only.
    package = files_of(sources, "cpm_fast")
    kernels = {f"cpm_fast/{name}" for name in files_of(sources, "kernels")}
    with zipfile.ZipFile(build("wheel", sources, tmp_path)) as wheel:
        held = set(wheel.namelist())
    note = {"cpm_fast/_build_failure.txt"}
    about = {name for name in held if ".dist-info/" in name}
    assert held - about == package | kernels | note
    assert {"cpm_fast/py.typed", "cpm_fast/weights/compact-drawn.safetensors", "cpm_fast/labeling/page/app.js"} <= held


def test_a_source_distribution_holds_everything_that_a_build_reads(sources, tmp_path):
    wanted = set.union(*(files_of(sources, name) for name in ("cpm_fast", "kernels", "csrc", "cmake", "examples")))
    wanted |= {"setup.py", "pyproject.toml", "CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE"}
    with tarfile.open(build("sdist", sources, tmp_path)) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert wanted <= held, wanted - held
