"""A visit with steps that fail, hang, crash and count, run like benchmarks/gpu_visit.py, with the same other code.

Every step appends a line to the file that PRETENDED_LOG names. PRETENDED_STEPS names the steps, with commas (all).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.gpu.visit import run, worker
from benchmarks.gpu.visit.cases import BROKEN, Case, NotNeeded, Skipped
from benchmarks.gpu.visit.steps import Step

LIMITS = {"always": 20, "fails": 20, "hangs": 3, "crashes": 20, "skips": 20, "spared": 20, "counts": 20, "waits": 60}
NAMES = os.environ.get("PRETENDED_STEPS", ",".join(LIMITS)).split(",")
STEPS = tuple(Step(name, LIMITS[name], name, "none", every_time=name == "always") for name in NAMES)


def said(line: str) -> None:
    with open(os.environ["PRETENDED_LOG"], "a") as file:
        file.write(f"{line}\n")


def cases(step: str) -> Iterator[Case]:
    said(step)
    if step == "skips":
        raise Skipped("no tool")
    if step == "spared":
        raise NotNeeded("others have passed")

    def ok() -> dict:
        said(f"{step} ok")
        return {"value": float("nan"), "case": "a name that rows have too"}

    def fails() -> dict:
        raise ValueError("of all things")

    def hangs() -> dict:
        # Children that ignore signals and leave the process group are killed with it.
        command = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        for new_session in (False, True):
            child = subprocess.Popen([sys.executable, "-c", command], start_new_session=new_session)
            said(f"child {child.pid}")
        time.sleep(600)
        return {}

    def dies() -> dict:
        os.kill(os.getpid(), signal.SIGSEGV)
        return {}

    def breaks() -> dict:
        os._exit(BROKEN)

    def waits() -> dict:
        said(f"waiting {os.getpid()}")
        time.sleep(600)
        return {}

    yield Case("first", ok)
    yield from {
        "fails": [Case("fails", fails)],
        "hangs": [Case("hangs", hangs)],
        "crashes": [Case("dies", dies), Case("breaks", breaks)],
        "counts": [Case(str(index), ok) for index in range(3)],
        "waits": [Case("waits", waits)],
    }.get(step, [])
    yield Case("last", ok)


def work(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker")
    parser.add_argument("--device")
    parser.add_argument("--rows", type=int)
    chosen = parser.parse_args(arguments)
    worker.die_with_parent()
    rows = worker.Rows(chosen.rows, worker.names_of(worker.SEEN), worker.names_of(worker.AGAIN))
    try:
        worker.run_cases(rows, cases(chosen.worker))
    except Skipped as reason:
        rows.send(step="skipped", reason=str(reason))
    except NotNeeded as reason:
        rows.send(step="not needed", reason=str(reason))
    return 0


def main(arguments: list[str]) -> int:
    if "--worker" in arguments:
        return work(arguments)
    run.STEPS = STEPS
    run.step_of = lambda name: next(step for step in STEPS if step.name == name)
    run.ENTRY = Path(__file__).resolve()
    return run.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
