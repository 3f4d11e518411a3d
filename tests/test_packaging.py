"""Promises of an installation: light imports, one import name for the kernels, work without native code."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("triton", "scipy", "h5py", "matplotlib", "onnx", "onnxruntime", "torch._dynamo", "torch._inductor")

DRAW = """
import torch
from cpm_fast.ops.gaussian_targets import gaussian_targets
inputs = torch.full((1, 1, 1, 2), 9.0), torch.ones(1, 1, 1).bool(), (4, 4), 7.0, 8.0
"""


def run(code: str, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, cwd=cwd)


def test_import_is_light(tmp_path: Path) -> None:
    """No heavy package and no CUDA call at import, ops included."""
    done = run(
        "import sys, cpm_fast, cpm_fast.ops.gaussian_targets, torch; "
        f"print([name for name in {HEAVY!r} if name in sys.modules], torch.cuda.is_initialized())",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] False"


def test_works_without_the_native_module(tmp_path: Path) -> None:
    """If the compiled module is hidden, there is one warning, and the results are the reference's."""
    done = run(
        "import sys; sys.modules['cpm_fast._C'] = None"
        + DRAW
        + "maps = [gaussian_targets(*inputs) for _ in range(3)]\n"
        "from cpm_fast.reference.gaussian_targets import gaussian_targets as reference\n"
        "assert torch.equal(maps[2], reference(*inputs))\n",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning") == 1
    assert "RuntimeWarning: cpm_fast was installed without its compiled module cpm_fast._C" in done.stderr


def test_kernels_have_one_import_name(tmp_path: Path) -> None:
    done = run("import cpm_fast.kernels, sys; print(cpm_fast.kernels.__name__, 'triton' in sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cpm_fast.kernels", "False"]
    refused = run("import kernels", cwd=ROOT)
    assert refused.returncode != 0
    assert "ImportError: the Triton kernels of cpm_fast must be imported as cpm_fast.kernels" in refused.stderr


def test_doctor_reports(tmp_path: Path) -> None:
    done = run("from cpm_fast.commands import doctor; print(doctor.report()); print(doctor.report().ok)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for row in ("python", "torch", "numpy", "opencv", "triton", "native CPU ops", "native CUDA ops", "bundled weights"):
        assert row in done.stdout


def test_doctor_says_what_to_type_without_the_native_module(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['cpm_fast._C'] = None\nfrom cpm_fast.commands import doctor\n"
    done = run(hidden + "report = doctor.report(); print(report); assert not report.ok", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "native CPU ops   problem" in done.stdout and f"pip install -e {ROOT}" in done.stdout


def test_a_damaged_native_module_is_not_called_missing(tmp_path: Path) -> None:
    damaged = """
import importlib.abc, importlib.machinery, sys, warnings
class Damaged(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "cpm_fast._C" else None
    def create_module(self, spec):
        raise ImportError("invalid ELF header")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Damaged())
from cpm_fast.ops import backend
print(backend.native_missing("cpu"))
"""
    done = run(damaged, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the compiled module cpm_fast._C is there and can't be loaded (invalid ELF header)")


def test_typed_and_licensed() -> None:
    import cpm_fast

    assert (Path(cpm_fast.__file__).parent / "py.typed").exists()
    metadata = importlib.metadata.metadata("cpm_fast")
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"


def test_the_script_is_installed() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="cpm-fast")
    assert [script.value for script in scripts] == ["cpm_fast.cli:main"]


@pytest.mark.parametrize("option", [["CPM_FAST_CUDA", "maybe"], ["CPM_FAST_NATIVE", "1"]], ids=lambda pair: pair[0])
def test_build_rejects_an_unknown_choice(option: list[str], tmp_path: Path) -> None:
    name, value = option
    code = (
        f"import os, sys; os.environ[{name!r}] = {value!r}\n"
        "sys.argv = ['setup.py', 'build_ext', '--build-lib', sys.argv[-1], '--build-temp', sys.argv[-1]]\n"
        "exec(compile(open('setup.py').read(), os.path.abspath('setup.py'), 'exec'), {'__file__': 'setup.py', "
        "'__name__': '__main__'})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0
    assert f"{name} must be auto, on or off, got {value!r}" in done.stderr


def test_type_checkers_follow_an_editable_install(tmp_path: Path) -> None:
    """mypy, run elsewhere, finds the package's own files, not only the hook by which Python imports them."""
    modulefinder = pytest.importorskip("mypy.modulefinder", reason="mypy is not installed")
    from mypy.options import Options

    options = Options()
    options.python_executable = sys.executable
    paths = modulefinder.compute_search_paths([modulefinder.BuildSource(str(tmp_path / "a.py"), None)], options, "")
    found = modulefinder.FindModuleCache(paths, None, options).find_module("cpm_fast.roi")
    assert isinstance(found, str), found
    assert Path(found).samefile(importlib.import_module("cpm_fast.roi").__file__ or "")
