"""A pytest plugin that sends every test's outcome at once, so that a run that hangs has sent all earlier ones.

The most useful tests come first. After one that breaks the CUDA context, the process ends, and another runs the rest.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest

from benchmarks.gpu.visit.cases import BROKEN, Rows, context_works
from benchmarks.gpu.visit.processes import AGAIN, SEEN
from benchmarks.gpu.visit.worker import names_of

DESCRIPTOR = "CPM_FAST_GPU_VISIT_ROWS"
# Folders and files under tests/, the most useful first.
WORTH = ("kernels", "ops", "engine", "test_engine", "training", "model")
MESSAGE = 2000


class Outcomes:
    """Hooks of one run."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        seen = [item for item in items if item.nodeid in self.rows.seen]
        items[:] = [item for item in items if item.nodeid not in self.rows.seen]
        items.sort(key=lambda item: (item.nodeid in self.rows.again, worth(item.nodeid)))
        if seen:
            config.hook.pytest_deselected(items=seen)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.rows.begin(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            message = ""
            if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
                message = str(report.longrepr[2]).removeprefix("Skipped: ")
            elif report.outcome == "failed":
                message = str(report.longrepr)[-MESSAGE:]
            state = {"passed": "ok"}.get(report.outcome, report.outcome)
            values = {"reason": message} if message else {}
            self.rows.end(report.nodeid, state, **values, took_s=round(report.duration, 3))

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        # The context is checked after every test: an error may appear in a later test than the one that caused it.
        self.broken = not context_works()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self.broken:
            print(f"{nodeid} has broken the CUDA context", flush=True)
            os._exit(BROKEN)

    broken = False


def worth(nodeid: str) -> int:
    """Return the rank of a test, 0 first; tests of equal rank stay in their order."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    names = {part.removesuffix(".py") for part in parts}
    return next((index for index, name in enumerate(WORTH) if name in names), len(WORTH))


def pytest_configure(config: pytest.Config) -> None:
    descriptor = os.environ.get(DESCRIPTOR)
    if descriptor is not None:
        config.pluginmanager.register(Outcomes(Rows(int(descriptor), names_of(SEEN), names_of(AGAIN))))
