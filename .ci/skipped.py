"""Print the ids of the tests that a run of pytest skipped: python .ci/skipped.py REPORT, written by --junitxml."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent


def node_id(classname: str, name: str) -> str:
    """Return the id of a test by its names in a report, which has dots for the slashes of paths."""
    # A module that was skipped as a whole has its path as its name.
    path, names = (classname.split("."), [name]) if classname else (name.split("."), [])
    while path and not (ROOT / "/".join(path)).with_suffix(".py").is_file():
        names.insert(0, path.pop())
    return "::".join(["/".join(path) + ".py", *names])


def skipped(report: Path) -> Iterator[str]:
    """Yield the ids in a report."""
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is not None:
            yield node_id(case.get("classname", ""), case.get("name", ""))


if __name__ == "__main__":
    print(*skipped(Path(sys.argv[1])), sep="\n")
