"""The visit itself: steps one after the other within the minutes, and a list of those left.

Only the standard library is used: the first steps run before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks.gpu.visit.plan_file import write_plan
from benchmarks.gpu.visit.processes import AGAIN, FAILED, LIMIT, SEEN, Row, Running
from benchmarks.gpu.visit.results import DONE_CASES, TAIL, Results, step_state
from benchmarks.gpu.visit.steps import STEPS, Step, step_of

ENTRY = Path(__file__).resolve().parent.parent.parent / "gpu_visit.py"
# A step does not begin with less time.
LEAST_S = 5.0
# A step's process starts again after a case that killed it or broke its CUDA context: this many times, and with this
# many seconds left.
RESTARTS, RESTART_S = 8, 1.0
# Seconds between two writes of results.json within a step.
WRITE_S = 2.0
LOG, LOG_BYTES, STEP_LOG_BYTES = "log.txt", 12 << 20, 1 << 19
Cases = dict[str, dict[str, Any]]


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C has come."""


class Visit:
    """Steps with one results.json.

    Args:
        results: to be filled.
        device: "cuda", or "cpu" for a rehearsal.
        seconds: for all steps together.
        limit_s: in place of every step's own, if not None.
    """

    def __init__(self, results: Results, device: str, seconds: float, limit_s: float | None = None) -> None:
        self.results, self.device, self.limit_s = results, device, limit_s
        self.begin = time.monotonic()
        self.deadline = self.begin + seconds
        self.entry = results.begin_visit(seconds / 60)
        self.written = 0.0

    def run(self, steps: list[Step]) -> None:
        """Run the steps in turn; results.json is complete at every instant, also after SIGTERM."""
        self.results.write()
        try:
            for step in steps:
                if self.deadline - time.monotonic() < LEAST_S:
                    break
                self.do(step)
                self.write()
        finally:
            self.write()
            for path in write_plan(self.results):
                say(f"wrote {path}")

    def write(self) -> None:
        self.entry["seconds"] = round(time.monotonic() - self.begin, 1)
        self.results.values["left"], self.results.values["skipped"] = self.undone()
        self.results.write()
        self.written = time.monotonic()

    def undone(self) -> tuple[list[str], list[str]]:
        """Return one line per step that is left, and one per step that this machine can't do."""
        left: list[str] = []
        skipped: list[str] = []
        for step in STEPS:
            entry = self.results.steps.get(step.name, {})
            if not self.results.done(step.name):
                undone = sum(case["state"] not in DONE_CASES for case in entry.get("cases", {}).values())
                (skipped if self.results.state(step.name) == "skipped" else left).append(
                    f"{step.name}: {self.results.state(step.name)}"
                    + (f", {undone} cases to look at or to do" if undone else "")
                    + (f" ({entry['reason']})" if entry.get("reason") else "")
                )
        return left, skipped

    def do(self, step: Step) -> None:
        """Run one step within its limit; after a case that ends its process, start another."""
        entry, begin = self.results.step(step.name), time.monotonic()
        if step.every_time:
            entry["cases"] = {}
        again = {name for name, case in entry["cases"].items() if case["state"] not in DONE_CASES}
        limit = min(self.limit_s or step.limit_s, self.deadline - begin)
        entry.update(state="begun", limit_s=round(limit, 1))
        entry.pop("reason", None)
        entry.pop("tail", None)
        self.write()
        say(f"[{begin - self.begin:5.0f} s] {step.name}: at most {limit:.0f} s")
        try:
            with tempfile.TemporaryDirectory(prefix="cpm_fast-visit-") as scratch:
                self.processes(step, entry, again, begin + limit, Path(scratch))
        except Interrupted:
            entry.update(state="interrupted")
            raise
        finally:
            entry["seconds"] = round(time.monotonic() - begin, 1)
        say(f"          {step.name}: {summary(entry)}")

    def processes(self, step: Step, entry: Row, again: set[str], deadline: float, scratch: Path) -> None:
        """Run as many processes as the step needs, each starting after the case that ended the previous one."""
        cases: Cases = entry["cases"]
        seen = cases.keys() - again
        for attempt in range(RESTARTS + 1):
            log, ended = scratch / f"log-{attempt}", set[str]()
            entry["state"] = "begun"
            code = self.process(step, entry, seen, again - seen, ended, deadline - time.monotonic(), log)
            self.keep_log(step, log)
            if code == 0 and entry["state"] == "begun":
                entry["state"] = step_state(cases)
            if code == 0 and entry["state"] != "failed":
                return
            entry["tail"] = log.read_bytes()[-TAIL:].decode(errors="replace")
            if code == 0:
                return
            for name, case in cases.items():
                if case["state"] == "begun":
                    case["state"] = "cut off" if code is None else "crashed"
                    ended.add(name)
            if code is None:
                entry.update(state="timed out", reason=f"killed at its limit of {entry['limit_s']:g} s")
                return
            entry.update(state="failed", reason=died(code, entry["tail"]))
            if not ended or deadline - time.monotonic() < RESTART_S:
                return
            seen |= ended

    def process(
        self, step: Step, entry: Row, seen: set[str], again: set[str], ended: set[str], limit: float, log: Path
    ) -> int | None:
        """Run one process, whose cases go to the entry; return its exit code, None if it was killed at the limit."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.device == "cpu":
            # The sizes are tiny: several threads would mostly wait for each other.
            environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        for variable, names in ((SEEN, seen), (AGAIN, again)):
            path = log.with_name(f"{log.name}-{variable}")
            path.write_text(json.dumps(sorted(names)), encoding="utf-8")
            environment[variable] = str(path)
        environment[LIMIT] = f"{limit:.1f}"
        failed = [name for name, other in self.results.steps.items() if other["state"] in ("failed", "timed out")]
        environment[FAILED] = ",".join(failed)

        def take(row: Row) -> None:
            if "step" in row:
                entry.update(state=row["step"], reason=row.get("reason", ""))
                return
            name, state = row["case"], row["state"]
            entry["cases"][name] = {**row.get("values", {}), "state": state}
            if state != "begun":
                ended.add(name)
            if time.monotonic() - self.written > WRITE_S:
                self.write()

        command = [sys.executable, str(ENTRY), "--worker", step.name, "--device", self.device]
        with open(log, "wb") as file:
            mark = f"{os.getpid()}-{step.name}-{time.monotonic_ns()}"
            return Running(command, mark, file, environment).watch(limit, take)

    def keep_log(self, step: Step, log: Path) -> None:
        """Append the end of a process's output to log.txt, as long as that is short enough to be sent."""
        path, data = self.results.folder / LOG, log.read_bytes()[-STEP_LOG_BYTES:]
        size = path.stat().st_size if path.exists() else 0
        if size + len(data) < LOG_BYTES:
            with open(path, "ab") as file:
                file.write(f"\n===== {step.name}\n".encode() + data)


def say(line: str) -> None:
    print(line, flush=True)


def summary(entry: Row) -> str:
    counts: dict[str, int] = {}
    for case in entry["cases"].values():
        counts[case["state"]] = counts.get(case["state"], 0) + 1
    parts = [entry["state"], f"{entry['seconds']:.1f} s", *(f"{count} {state}" for state, count in counts.items())]
    return ", ".join(parts) + (f" ({entry['reason']})" if entry.get("reason") else "")


def died(code: int, printed: str) -> str:
    """Return why a step's process ended, with the last line that it printed."""
    ended = f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}"
    last = printed.strip().rpartition("\n")[2]
    return f"{ended}: {last[:300]}" if last else ended


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Build, test, compare, time and tune cpm_fast on a machine with a GPU, in order of worth.",
        epilog="docs/measure-your-gpu.md says what is measured, and where to send the results.",
    )
    made.add_argument("--minutes", type=float, default=8.0, help="for all steps together (%(default)s)")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="DIR", help="folder of a new results.json (runs/gpu-visit)")
    where.add_argument("--resume", type=Path, metavar="DIR", help="continue there with the steps that are not done")
    made.add_argument("--step", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    made.add_argument("--list", action="store_true", help="the steps with their limits")
    made.add_argument("--limit", type=float, metavar="S", help="seconds of every step, in place of its own limit")
    made.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="cpu: a rehearsal of every step on tiny sizes, which measures nothing",
    )
    return made


def chosen_steps(results: Results, names: list[str]) -> list[Step]:
    """Return the steps that are not done, never begun ones first, or the named ones."""
    if names:
        return [step for step in STEPS if step.name in names]
    fresh = [step for step in STEPS if step.every_time or results.state(step.name) == "not begun"]
    rest = [step for step in STEPS if step not in fresh and not results.done(step.name)]
    return fresh + rest


def main(arguments: list[str]) -> int:
    """Return 0 if no step is left, 1 if some are, 2 for bad use, 143 after SIGTERM, 130 after Ctrl-C."""
    made = parser()
    chosen = made.parse_args(arguments)
    if chosen.list:
        for step in STEPS:
            say(f"{step.name:<16}{step.limit_s:>5.0f} s  {step.about}")
        return 0
    for name in ("minutes", "limit"):
        value = getattr(chosen, name)
        if value is not None and not value > 0:
            made.error(f"--{name} must be above 0, got {value}")
    try:
        for name in chosen.step:
            step_of(name)
        if chosen.resume:
            results = Results.read(chosen.resume)
        else:
            results = Results.new(chosen.out or Path("runs/gpu-visit"), rehearsal=chosen.device == "cpu")
    except (ValueError, OSError) as error:
        made.error(str(error))
    if results.rehearsal != (chosen.device == "cpu"):
        made.error(
            f"{results.folder} holds {'a rehearsal' if results.rehearsal else 'measurements'}: --device "
            f"must be {'cpu' if results.rehearsal else 'cuda'}"
        )
    return visit(results, chosen)


def visit(results: Results, chosen: argparse.Namespace) -> int:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        # Only the first signal counts: the rest is writing the results.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(128 + number)

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    code = 0
    try:
        Visit(results, chosen.device, 60 * chosen.minutes, chosen.limit).run(chosen_steps(results, chosen.step))
    except Interrupted as interrupted:
        code = int(interrupted.args[0])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    left, skipped = results.values["left"], results.values["skipped"]
    say(f"\nwrote {results.folder / 'results.json'}")
    for head, lines in (("skipped:", skipped), (f"left, for --resume {results.folder}:", left)):
        if lines:
            say("\n".join([head, *(f"  {line}" for line in lines)]))
    return code or int(bool(left))
