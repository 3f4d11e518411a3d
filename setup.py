"""Package list, the kernels/ mapping, and one CMake run; everything else stands in pyproject.toml.

CPM_FAST_NATIVE=auto|on|off      auto: a failing or missing compiler leaves a working install on the reference backend
CPM_FAST_CUDA=auto|on|off        auto: CUDA is compiled where CMake finds a toolkit that works (see CMakeLists.txt)
CPM_FAST_CUDA_ARCHS="80;90"      GPU architectures; PTX of the last one is added
CMAKE_BUILD_PARALLEL_LEVEL=2     compiler processes
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
# Left beside the package when native code could not be built, for `cpm-fast doctor` to show.
FAILURE_NOTE = "_build_failure.txt"


def choice(name: str) -> str:
    value = os.environ.get(name) or "auto"
    if value not in ("auto", "on", "off"):
        raise SystemExit(f"{name} must be auto, on or off, got {value!r}")
    return value


def tool(name: str, folder: str) -> str:
    """The program of the build requirement's wheel, or else the one on PATH."""
    try:
        program = Path(getattr(import_module(name), folder)) / (name + (".exe" if os.name == "nt" else ""))
        if program.exists():
            return str(program)
    except (ImportError, AttributeError):
        pass
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; type: pip install {name}")
    return found


class CMakeBuild(build_ext):
    """Builds cpm_fast._C by CMake, or leaves it out and says so."""

    def build_extension(self, ext: Extension) -> None:
        native, cuda = choice("CPM_FAST_NATIVE"), choice("CPM_FAST_CUDA")
        demanded = native == "on" or cuda == "on"
        module = Path(self.get_ext_fullpath(ext.name)).resolve()
        self.remove_stale(ext.name)
        reason = "CPM_FAST_NATIVE=off"
        if native != "off":
            for attempt in (cuda, "off") if cuda == "auto" else (cuda,):
                try:
                    return self.compile(module, attempt)
                except (OSError, ImportError, RuntimeError) as error:
                    reason = str(error)
        elif demanded:
            raise SystemExit("CPM_FAST_CUDA=on needs native code, but CPM_FAST_NATIVE=off")
        if demanded:
            raise SystemExit(f"cpm_fast: native code was demanded (CPM_FAST_NATIVE or CPM_FAST_CUDA is on): {reason}")
        self.report(ext.name, reason)

    def compile(self, module: Path, cuda: str) -> None:
        import pybind11

        cmake, ninja = tool("cmake", "CMAKE_BIN_DIR"), tool("ninja", "BIN_DIR")
        build = Path(self.build_temp).resolve() / f"cmake-cuda-{cuda}"
        build.mkdir(parents=True, exist_ok=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_MAKE_PROGRAM": ninja,
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": module.parent,
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "CPM_FAST_CUDA": cuda,
            "CPM_FAST_CUDA_ARCHS": os.environ.get("CPM_FAST_CUDA_ARCHS") or "80;90",
            "CPM_FAST_TESTS": "OFF",
        }
        settings = [f"-D{name}={value}" for name, value in options.items()]
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or "2"
        self.step([cmake, "-S", str(ROOT), "-B", str(build), "-G", "Ninja", *settings])
        self.step([cmake, "--build", str(build), "--parallel", jobs])
        if not module.exists():
            raise FileNotFoundError(f"CMake finished without writing {module}")

    def step(self, command: list[str]) -> None:
        """Runs one command, shows its output, and raises its first error in a line or two."""
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        print(done.stdout, flush=True)
        if done.returncode:
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            first = next((i for i, line in enumerate(lines) if re.search(r"\berror\b", line, re.I)), len(lines) - 1)
            raise RuntimeError(
                " ".join(lines[max(first, 0) : first + 4])[:400] or f"{command[0]} failed without a word"
            )

    def remove_stale(self, name: str) -> None:
        """No module of an earlier build may survive a build that fails."""
        for place in self.places(name):
            place.unlink(missing_ok=True)
            (place.parent / FAILURE_NOTE).unlink(missing_ok=True)

    def places(self, name: str) -> list[Path]:
        built = Path(self.build_lib) / self.get_ext_filename(name)
        return [built, ROOT / self.get_ext_filename(name)] if self.editable_mode or self.inplace else [built]

    def report(self, name: str, reason: str) -> None:
        text = (
            f"native code was not built: {reason}\n"
            "cpm_fast works without it, on its slower reference backend. For the fast one install a C++17 compiler\n"
            "(Debian and Ubuntu: apt-get install g++) and install cpm_fast again; pip's -v shows the compiler's output."
        )
        for place in self.places(name):
            place.parent.mkdir(parents=True, exist_ok=True)
            (place.parent / FAILURE_NOTE).write_text(text + "\n", encoding="utf-8")
        print(f"\n*** cpm_fast: {text}\n", file=sys.stderr, flush=True)


class PathToo:
    """The way of an editable install, and a line that puts this folder on Python's path: mypy and editors follow it.

    They can't follow the import hook alone that setuptools installs for the mapping of kernels/.
    """

    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        self.inner.__enter__()
        return self

    def __exit__(self, *error):
        self.inner.__exit__(*error)

    def __call__(self, wheel, files, mapping):
        self.inner(wheel, files, mapping)
        wheel.writestr("__editable__.cpm_fast.path.pth", f"{ROOT}\n")


class EditableWheel(editable_wheel):
    def _select_strategy(self, *arguments):
        return PathToo(super()._select_strategy(*arguments))


setup(
    packages=[*find_packages(include=["cpm_fast", "cpm_fast.*"]), "cpm_fast.kernels"],
    package_dir={"cpm_fast.kernels": "kernels"},
    package_data={
        "cpm_fast": [
            "py.typed",
            "_C.pyi",
            "weights/*.safetensors",
            "weights/*.md",
            "labeling/page/*",
        ],
        "cpm_fast.ops.plans": ["chips/*.json"],
    },
    ext_modules=[Extension("cpm_fast._C", sources=[], optional=True)],
    cmdclass={"build_ext": CMakeBuild, "editable_wheel": EditableWheel},
)
