"""The choice of implementation of the ops: `fast` native code by device, or `reference`, the plain PyTorch oracle.

Without a request each op takes the fast one where it exists, and otherwise falls back to the reference with one
warning. CPM_FAST_BACKEND=fast|reference or `use_backend` make a request, which is met or raises an error.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch

from cpm_fast.system.installation import rebuild_command
from cpm_fast.system.torch_settings import wanted_threads

BACKENDS = ("fast", "reference")
# The first chips with asynchronous copies and TF32 and bfloat16 tensor cores, which the Triton kernels need.
LEAST_CAPABILITY = (8, 0)
# As csrc/include/cpm/abi.h; a module of another number was compiled from other sources.
ABI = 13
FAILURE_NOTE = Path(__file__).resolve().parent.parent / "_build_failure.txt"

_native: ModuleType | None = None
_native_error = ""
try:
    from cpm_fast import _C

    found = getattr(_C, "abi", 0)
    if found == ABI:
        _native = _C
    else:
        _native_error = (
            f"the compiled module cpm_fast._C is from other sources: it has interface {found}, these need {ABI}; "
            f"rebuild it: {rebuild_command()}"
        )
except ImportError as error:
    _native_error = (
        f"the compiled module cpm_fast._C is missing ({error})"
        if find_spec("cpm_fast._C") is None
        else f"the compiled module cpm_fast._C is there and can't be loaded ({error}); rebuild it: {rebuild_command()}"
    )
_has_triton = find_spec("triton") is not None
_has_cuda = _native is not None and bool(_native.has_cuda)

# The request, and which fallbacks have been announced.
_requested: str | None = os.environ.get("CPM_FAST_BACKEND") or None
_announced: set[tuple[str, str]] = set()
_forked = False


def _after_fork() -> None:
    """Set a child's PyTorch to one thread, as in the workers of its data loaders: its pool stayed with the parent.

    A parallel operation would wait for those threads forever.
    """
    global _forked
    _forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use the backend `name`, "fast" or "reference", for every op in every thread within the block.

    Raises:
        ValueError: no such backend. A backend that the machine cannot run raises RuntimeError when an op is called.
    """
    global _requested
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {list(BACKENDS)}, got {name!r}")
    before, _requested = _requested, name
    try:
        yield
    finally:
        _requested = before


def native_missing(device_type: str) -> str | None:
    """Return why native code cannot run on a kind of device ("cpu", "cuda", ...); None if it can.

    The answer depends on the compilation only; nothing is initialized.
    """
    if _native is None:
        return _native_error
    if device_type in ("cpu", "meta") or (device_type == "cuda" and _has_cuda):
        return None
    if device_type == "cuda":
        return "cpm_fast._C was compiled without CUDA"
    return f"there is no native code for {device_type} devices"


def triton_missing(device_type: str, index: int | None) -> str | None:
    """Return why the Triton kernels cannot run on a device ("cuda", 0); None if they can. Triton is not imported."""
    if device_type != "cuda" or torch.version.hip is not None:
        return f"there are no kernels for {'AMD' if device_type == 'cuda' else device_type} devices"
    if not _has_triton:
        return "Triton is not installed"
    # A graph under compilation has no device to query; there the op itself refuses when it runs.
    return None if torch.compiler.is_compiling() else capability_missing(torch.cuda.get_device_capability(index))


def capability_missing(capability: tuple[int, int]) -> str | None:
    """Return why a CUDA device of this compute capability cannot run the Triton kernels; None if it can."""
    if capability >= LEAST_CAPABILITY:
        return None
    wanted, got = (f"{major}.{minor}" for major, minor in (LEAST_CAPABILITY, capability))
    return f"the device has compute capability {got}, and the kernels need {wanted}"


def available() -> list[str]:
    """List the backends that can be requested on this installation, one line each."""
    fast = [f"fast ({kind})" for kind in ("cpu", "cuda") if native_missing(kind) is None]
    return [*fast, "reference (every device)"]


def use_fast(op: str, device_type: str, missing: str | None) -> bool:
    """Return whether an op takes its fast form; `missing` says what that lacks on this kind of device.

    Raises:
        RuntimeError: the fast form was requested and is missing, or the requested backend does not exist.
    """
    if _requested == "reference":
        return False
    if _requested is not None and (_requested != "fast" or missing is not None):
        raise RuntimeError(_refusal(op, device_type, missing))
    if missing is None:
        return True
    # The package itself warned at its import where there is no such file.
    if _native is None and importlib.util.find_spec("cpm_fast._C") is None:
        return False
    if (device_type, missing) not in _announced:
        _announced.add((device_type, missing))
        warnings.warn(
            f"{op} on {device_type} runs on the slower reference backend: {missing}. `cpm-fast doctor` says what to do",
            RuntimeWarning,
            stacklevel=3,
        )
    return False


def _refusal(op: str, device_type: str, missing: str | None) -> str:
    there_is = ", ".join(available())
    if _requested not in BACKENDS:
        return f"CPM_FAST_BACKEND must be one of {list(BACKENDS)}, got {_requested!r}; there is: {there_is}"
    return f"the fast backend was requested for {op} on {device_type}, but {missing}; there is: {there_is}"


def native() -> ModuleType:
    """Return the compiled module.

    Raises:
        RuntimeError: it is missing.
    """
    if _native is None:
        raise RuntimeError(f"{native_missing('cpu')}; there is: {', '.join(available())}")
    return _native


def threads() -> int:
    """Return the CPU threads of native code: the requested number or PyTorch's, and at most the usable CPUs."""
    return min(wanted_threads(), native().usable_cpus())


def forked() -> bool:
    """Return whether this process is a forked child, in which PyTorch's own operations may wait for threads forever."""
    return _forked


def build_info() -> dict[str, str]:
    """Return how the native module was built, or why there is none; for `cpm-fast doctor` and benchmark records."""
    if _native is None:
        note = FAILURE_NOTE.read_text(encoding="utf-8").strip() if FAILURE_NOTE.exists() else ""
        return {"error": _native_error, "note": note}
    return {
        "compiler": _native.compiler,
        "cuda": _native.cuda_version if _native.has_cuda else "",
        "cuda_archs": _native.cuda_archs if _native.has_cuda else "",
    }
