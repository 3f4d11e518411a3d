"""Commands that take minutes and run beside the other tests: pytest starts them early, and their tests wait for them.

A test has the mark `beside` with `command`, a function of an empty folder and of the test's parameters. It returns the
command, which runs in the repository, and its environment, or None if the test will skip. The fixture `beside` gives
the outcome.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

Command = tuple[list[str], dict[str, str]]
ROOT = Path(__file__).resolve().parents[2]
# The tests themselves have priority.
NICE = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []


def script(*arguments: object, **environment: str) -> Command:
    """Return the command of a Python script."""
    return [sys.executable, *map(str, arguments)], {**os.environ, **environment}


@dataclass(frozen=True)
class Outcome:
    """The end of a command: its exit status, its output, and the folder that it was given."""

    code: int
    output: str
    errors: str
    folder: Path


class Beside:
    """The commands of a session, one per processor but the first at a time."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1))
        self.folder = tempfile.TemporaryDirectory(prefix="beside-")
        self.outcomes: dict[str, Future[Outcome | None]] = {}
        self.running: set[subprocess.Popen[str]] = set()

    def start(self, item: pytest.Item) -> Future[Outcome | None]:
        """Start the command of a test, unless it was started before."""
        if item.nodeid not in self.outcomes:
            mark = item.get_closest_marker("beside")
            assert mark is not None, f"{item.nodeid}: needs the mark beside"
            folder = Path(self.folder.name) / str(len(self.outcomes))
            folder.mkdir()
            params = item.callspec.params if hasattr(item, "callspec") else {}
            # Made here, so that the command has the environment of now: the tests that run beside it change their own.
            command = mark.kwargs["command"](folder, **params)
            self.outcomes[item.nodeid] = self.pool.submit(self._run, command, folder)
        return self.outcomes[item.nodeid]

    def stop(self) -> None:
        """Start no more commands, and kill those that run."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.running):
            process.kill()
        self.pool.shutdown()
        self.folder.cleanup()

    def _run(self, command: Command | None, folder: Path) -> Outcome | None:
        if command is None:
            return None
        arguments, environment = command
        with subprocess.Popen(
            [*NICE, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self.running.add(process)
            output, errors = process.communicate()
            self.running.discard(process)
        return Outcome(process.returncode, output, errors, folder)
