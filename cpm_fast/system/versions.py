"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("cpm_fast", "torch", "numpy", "opencv-python", "safetensors")
# Packages with the same module, of which one is installed.
SAME = {"opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")}


def versions() -> dict[str, str]:
    """Return the versions of Python, of the machine and of the packages that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    return found | {package: installed(package) or "not installed" for package in PACKAGES}


def installed(package: str) -> str | None:
    """Return the version of a package, or of another that has the same module; None if none is installed."""
    for name in (package, *SAME.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            pass
    return None
