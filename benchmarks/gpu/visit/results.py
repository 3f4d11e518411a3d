"""results.json of a visit: reading, complete writing, and the steps that are left.

Only the standard library is used: the first steps run before anything is installed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FORMAT = "cpm_fast gpu visit"
FILE = "results.json"
# States of cases and of steps that need not be done again.
DONE_CASES = ("ok", "skipped")
DONE_STEPS = ("passed", "not needed")
# Characters of a failed step's output that go into the results.
TAIL = 4000


class Results:
    """The results of a visit so far.

    Args:
        folder: of results.json.
        values: the JSON's values.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder, self.values = folder, values

    @classmethod
    def new(cls, folder: Path, rehearsal: bool) -> Results:
        """Return an empty visit in a folder, which is created.

        Raises:
            FileExistsError: there are results already.
        """
        if (folder / FILE).exists():
            raise FileExistsError(f"{folder / FILE} is there already; continue it with --resume {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, {"format": FORMAT, "version": 1, "rehearsal": rehearsal, "visits": [], "steps": {}})

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Return the results of an earlier visit.

        Raises:
            FileNotFoundError: there are none.
            ValueError: the file is not of this kind.
        """
        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; begin with --out {folder}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != 1:
            raise ValueError(f"{path} must have format {FORMAT!r} and version 1")
        return cls(folder, values)

    @property
    def rehearsal(self) -> bool:
        return bool(self.values["rehearsal"])

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        steps: dict[str, dict[str, Any]] = self.values["steps"]
        return steps

    def begin_visit(self, minutes: float) -> dict[str, Any]:
        """Add the entry of a call of the command, whose seconds are set later, and return it."""
        entry: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(["python", *sys.argv]),
            "commit": commit(),
            "minutes": minutes,
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "seconds": None,
        }
        self.values["visits"].append(entry)
        return entry

    def step(self, name: str) -> dict[str, Any]:
        """Return the entry of a step, which is created if there is none."""
        entry: dict[str, Any] = self.steps.setdefault(name, {"state": "not begun", "cases": {}})
        return entry

    def state(self, name: str) -> str:
        return str(self.steps.get(name, {}).get("state", "not begun"))

    def done(self, name: str) -> bool:
        """Return whether a step need not be done again; a tool that is missing may be installed the next time."""
        return self.state(name) in DONE_STEPS

    def write(self) -> None:
        """Write the results to the disk; the file is complete at every instant."""
        path = self.folder / FILE
        temporary = path.with_name(f".{FILE}.{os.getpid()}")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.values, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def commit() -> str | None:
    """Return the commit of this checkout, with a star if files differ from it; None if git does not know it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=*", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def step_state(cases: dict[str, dict[str, Any]]) -> str:
    """Return the state of a step whose process has ended, by its cases."""
    states = [case["state"] for case in cases.values()]
    if any(state not in DONE_CASES for state in states):
        return "failed"
    return "skipped" if states and all(state == "skipped" for state in states) else "passed"
