"""The choice between native code and the reference: automatic, requested, refused, announced once."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.system.installation import rebuild_command


def draw() -> torch.Tensor:
    return gaussian_targets(torch.full((1, 1, 1, 2), 9.0), torch.ones(1, 1, 1).bool(), (4, 4), 7.0, 8.0)


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave like an installation without compiled code."""
    monkeypatch.setattr(backend, "_native", None)
    monkeypatch.setattr(backend, "_has_cuda", False)
    monkeypatch.setattr(backend, "_native_error", "the compiled module cpm_fast._C is missing (hidden by a test)")
    monkeypatch.setattr(backend, "_announced", set())
    monkeypatch.setattr(backend, "_requested", None)


def test_falls_back_with_one_warning(without_native: None) -> None:
    with pytest.warns(RuntimeWarning, match=r"gaussian_targets on cpu .*reference.*cpm_fast\._C is missing.*doctor"):
        maps = draw()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(draw(), maps)


def test_explicit_request_is_not_bent(without_native: None) -> None:
    with backend.use_backend("fast"), pytest.raises(RuntimeError, match=r"fast .*missing.*there is: reference"):
        draw()
    with backend.use_backend("reference"):
        draw()


def test_native_names_what_is_missing(without_native: None) -> None:
    with pytest.raises(RuntimeError, match=r"cpm_fast\._C is missing \(hidden by a test\)"):
        backend.native()
    assert backend.available() == ["reference (every device)"]
    assert "hidden by a test" in backend.build_info()["error"]


def test_use_backend_nests_and_restores() -> None:
    before = backend._requested
    with backend.use_backend("reference"):
        with pytest.raises(KeyError), backend.use_backend("fast"):
            raise KeyError
        assert backend._requested == "reference"
    assert backend._requested == before


def test_use_backend_rejects() -> None:
    message = r"backend must be one of \['fast', 'reference'\], got 'cuda'"
    with pytest.raises(ValueError, match=message), backend.use_backend("cuda"):
        pass


def test_other_devices_are_named() -> None:
    missing = backend.native_missing("mps")
    assert missing is not None and ("mps" in missing or "_C" in missing)
    with backend.use_backend("fast"), pytest.raises(RuntimeError, match="some_op on mps"):
        backend.use_fast("some_op", "mps", missing)


CALL = """
import torch
from cpm_fast.ops.gaussian_targets import gaussian_targets
print(gaussian_targets(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1).bool(), (2, 2), 7.0, 8.0).sum().item())
"""


@pytest.mark.parametrize(("value", "works"), [("reference", True), ("", True), ("quick", False)])
def test_environment_variable(value: str, works: bool) -> None:
    env = {**os.environ, "CPM_FAST_BACKEND": value}
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, env=env)
    assert (done.returncode == 0) is works, done.stderr
    if not works:
        assert "CPM_FAST_BACKEND must be one of ['fast', 'reference'], got 'quick'; there is:" in done.stderr


FORK = """
import os, torch
torch.set_num_threads(2)
from cpm_fast.ops.gaussian_targets import gaussian_targets
inputs = torch.rand(8, 2, 14, 2) * 368, torch.ones(8, 2, 14).bool(), (46, 46), 7.0, 8.0
maps = gaussian_targets(*inputs)
child = os.fork()
if child == 0:
    # Compared by NumPy: PyTorch's own parallel loops do hang here.
    os._exit(0 if (gaussian_targets(*inputs).numpy() == maps.numpy()).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_survives_a_fork_after_use() -> None:
    """A forked data loader worker must not wait for OpenMP threads that only its parent has."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


STALE = """
import sys, types
from importlib.machinery import ModuleSpec
old = types.ModuleType("cpm_fast._C")
old.__spec__ = ModuleSpec("cpm_fast._C", None)
old.has_cuda = False
ABI
sys.modules["cpm_fast._C"] = old
from cpm_fast.ops import backend
print(backend.native_missing("cpu"))
"""


@pytest.mark.parametrize(("abi", "number"), [("", 0), ("old.abi = 10 ** 6", 10**6)], ids=["without", "another"])
def test_a_module_of_other_sources_is_told_at_import(abi: str, number: int) -> None:
    code = STALE.replace("ABI", abi) + CALL
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = f"it has interface {number}, these need {backend.ABI}; rebuild it: {rebuild_command()}"
    assert done.stdout.splitlines()[0].endswith(wanted)
    assert "gaussian_targets on cpu runs on the slower reference backend" in done.stderr and wanted in done.stderr
    request = {**os.environ, "CPM_FAST_BACKEND": "fast"}
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=request)
    assert (
        refused.returncode != 0
        and "RuntimeError: the fast backend was requested for gaussian_targets" in refused.stderr
    )
    assert wanted in refused.stderr


ROOT = Path(__file__).resolve().parent.parent.parent
# The digest covers the lines of _C.pyi that are neither blank nor a comment. A change of them changes the interface:
# add one to ABI in csrc/include/cpm/abi.h and cpm_fast/ops/backend.py, and put the digest that the test names here.
INTERFACE = (13, "d2a082c06d7fc9b2")


def test_the_interface_has_a_number_of_its_own() -> None:
    header = (ROOT / "csrc" / "include" / "cpm" / "abi.h").read_text()
    found = re.search(r"ABI = (\d+);", header)
    assert found is not None and int(found[1]) == backend.ABI
    lines = [line.strip() for line in (ROOT / "cpm_fast" / "_C.pyi").read_text().splitlines()]
    text = "".join(line for line in lines if line and not line.startswith("#"))
    assert (backend.ABI, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()) == INTERFACE
