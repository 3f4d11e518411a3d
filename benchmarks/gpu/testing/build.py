"""Step: install the package from this folder without a registry, with its CUDA part if there is a toolkit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.visit.cases import Case, Rows, Skipped, Values
from benchmarks.gpu.visit.tools import ALL_BUT_THE_END, ROOT, found, left_s, output, python, run

PROBE = """
import json, cpm_fast, cpm_fast._C
from cpm_fast.ops import backend
print(json.dumps({
    "build": backend.build_info(),
    "native": backend.native_missing("cpu"),
    "place": cpm_fast.__file__,
    "module": cpm_fast._C.__file__,
}))
"""
INSTALL = "-m pip install -e . --no-build-isolation --no-deps -v --disable-pip-version-check --no-index"
# Shares of the step's time at which these end: the import of a package that is there already, the installation of the
# whole one, and, if that fails, of the one without native code. The rest is for the import of what was installed.
THERE_SHARE, BUILD_SHARE, PLAIN_SHARE = 0.15, 0.7, 0.85


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    yield Case("install", lambda: install(device))
    yield Case("import", lambda: complete(device))


def install(device: str) -> Values:
    """Install the whole package; if that fails or takes too long, install without a compiler, since Triton needs none.

    Nothing is done if the required parts are installed already, as in a resumed visit on the same machine.
    """
    try:
        there = imported(THERE_SHARE)
        # An earlier installation from another folder may be found too.
        here = all(Path(there[name]).is_relative_to(ROOT) for name in ("place", "module"))
        if here and (device == "cpu" or there["build"].get("cuda")):
            return {"there": True, **there}
    except RuntimeError:
        pass
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 2)}
    if "CPM_FAST_CUDA_ARCHS" not in os.environ and (arch := capability(device)):
        environment["CPM_FAST_CUDA_ARCHS"] = arch
    build_s = left_s(BUILD_SHARE)
    code, text = run(python(*INSTALL.split()), build_s, environment)
    if code == 0:
        return {"there": False, "environment": environment, "output": text[-6000:]}
    reason = f"pip took more than {build_s:.0f} s" if code == 124 else f"pip ended with code {code}"
    plain = run(python(*INSTALL.split()), left_s(PLAIN_SHARE), {"CPM_FAST_NATIVE": "off"})[0]
    return {
        "state": "failed",
        "reason": f"{reason}; without native code it ended with code {plain}",
        "environment": environment,
        "output": text[-6000:],
    }


def imported(share: float = ALL_BUT_THE_END) -> Values:
    """Return facts of the installed package.

    Raises:
        RuntimeError: it can't be imported, or has no working module of C++.
    """
    values: Values = json.loads(output(python("-c", PROBE), left_s(share)).strip().splitlines()[-1])
    if values["native"]:
        raise RuntimeError(values["native"])
    return values


def complete(device: str) -> Values:
    """Return facts of the installed package; "failed" if the CUDA part could have been built, but was left out."""
    values = imported()
    if device == "cuda" and not values["build"].get("cuda"):
        try:
            return {"state": "failed", "reason": f"the CUDA part was not built, but {found('nvcc')} is there", **values}
        except Skipped:
            pass
    return values


def capability(device: str) -> str | None:
    """Return the architecture of the GPU, the only one to compile for; None without a GPU."""
    if device == "cpu":
        return None
    import torch

    return "".join(map(str, torch.cuda.get_device_capability())) if torch.cuda.is_available() else None
