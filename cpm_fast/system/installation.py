"""The pip commands that reinstall this package or add an extra, for a checkout or an installed wheel."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cpm_fast.system.files import VALUE_ERRORS, parse_json

PACKAGE = "cpm_fast"
# The folder that holds the package: a checkout, or where pip puts all packages.
ROOT = Path(__file__).resolve().parents[2]


def install_command(extra: str) -> str:
    """Return the command that installs the optional packages of an extra.

    Args:
        extra: one of pyproject.toml's: data, export, eval, label, ...

    Examples:
        >>> install_command("label").startswith("pip install ")
        True
    """
    if in_checkout():
        return f"pip install -e {shlex.quote(f'{ROOT}[{extra}]')}"
    return f"pip install {shlex.quote(f'{PACKAGE}[{extra}]{_origin()}')}"


def rebuild_command() -> str:
    """Return the command that compiles the package again and installs it; it never uses a wheel."""
    if in_checkout():
        return f"pip install -e {shlex.quote(str(ROOT))}"
    origin = _origin()
    # A wheel can't be compiled; an index may have the sources.
    sources = PACKAGE if origin.endswith(".whl") else PACKAGE + origin
    again = "pip install --force-reinstall --no-deps --no-cache-dir"
    return f"{again} --no-binary {PACKAGE} {shlex.quote(sources)}"


def in_checkout() -> bool:
    """Return whether the package runs from its sources, as after `pip install -e`."""
    return all((ROOT / name).exists() for name in ("pyproject.toml", "setup.py", "csrc"))


def _origin() -> str:
    """Return the address from which pip installed the package, as pip takes it; nothing if it was an index."""
    try:
        about: Any = parse_json(distribution(PACKAGE).read_text("direct_url.json") or "{}")
        address, versions = str(about.get("url", "")), about.get("vcs_info")
        if versions is not None:
            address = f"{versions['vcs']}+{address}@{versions['commit_id']}"
    except (PackageNotFoundError, *VALUE_ERRORS):
        return ""
    return f" @ {address}" if address else ""
