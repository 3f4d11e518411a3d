"""Another build of cpm_fast against this one, in turns: python benchmarks/studies/builds.py CHECKOUT [--json FILE].

CHECKOUT is a checkout of another commit, with that commit installed in its own environment, CHECKOUT/.venv. Every
measurement has a process of its own, since a process's memory decides on some of its speed: the medians of one build's
processes differ more than two builds do. A build's figure is the median of them; a ratio is the median of the rounds'
ratios, because a machine's speed changes from round to round too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.harness import record  # noqa: E402
from benchmarks.harness.build_timer import THREADS  # noqa: E402
from benchmarks.harness.machine import measured_machine  # noqa: E402

# Network, batch, calls per process.
ROWS = (("wide-lsp", 1, 60), ("compact-lsp", 1, 60), ("wide-lsp", 8, 12), ("compact-lsp", 8, 20), ("cpm6", 1, 10))
QUICK_ROWS = (("compact-lsp", 1, 2),)
TAIL = 0.95


@dataclass(frozen=True)
class Build:
    """A checkout and the interpreter that its package is installed for."""

    name: str
    checkout: Path
    python: Path

    def seconds(self, network: str, batch: int, calls: int) -> list[float]:
        """Return the seconds of calls in a new process.

        Raises:
            SystemExit: the process failed, or its package is not the checkout's.
        """
        script = ROOT / "benchmarks" / "harness" / "build_timer.py"
        command = [str(self.python), str(script), network, str(batch), str(calls)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.checkout)
        if done.returncode:
            raise SystemExit(f"{self.checkout}: {network} failed:\n{done.stderr[-2000:]}")
        printed = json.loads(done.stdout)
        if not Path(printed["package"]).resolve().is_relative_to(self.checkout):
            raise SystemExit(f"{self.python} must have the package of {self.checkout}, got {printed['package']}")
        return printed["seconds"]

    def commit(self) -> str:
        command = ["git", "-C", str(self.checkout), "describe", "--always", "--dirty=*", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def compared(builds: Sequence[Build], row: tuple[str, int, int], rounds: int) -> dict[str, Any]:
    """Return the medians and tails of one row, in seconds; the builds take turns, and each second round is reversed."""
    network, batch, calls = row
    processes: dict[str, list[list[float]]] = {build.name: [] for build in builds}
    for i in tqdm(range(rounds), desc=f"{network}, batch {batch}", unit="round", leave=False):
        for build in builds if i % 2 == 0 else builds[::-1]:
            processes[build.name].append(build.seconds(*row))
    result: dict[str, Any] = {"name": f"{network}, batch {batch}", "network": network, "batch": batch, "calls": calls}
    for name, each in processes.items():
        medians = [median(seconds) for seconds in each]
        result[name] = {"median_s": median(medians), "p95_s": median(map(tail, each)), "medians_s": medians}
    earlier, this = (processes[build.name] for build in builds)
    result["ratio"] = median(median(a) / median(b) for a, b in zip(earlier, this, strict=True))
    result["p95_ratio"] = median(tail(a) / tail(b) for a, b in zip(earlier, this, strict=True))
    return result


def tail(seconds: Sequence[float]) -> float:
    return float(np.quantile(seconds, TAIL))


def line(result: dict[str, Any]) -> str:
    times = "  ".join(
        f"{name} {1e3 * result[name]['median_s']:.1f} ms ({1e3 * result[name]['p95_s']:.1f})"
        for name in ("earlier", "this")
    )
    return f"{result['name']:<22} {times}  ratio {result['ratio']:.2f} ({result['p95_ratio']:.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="of the other build")
    parser.add_argument("--python", type=Path, help="the other build's interpreter (CHECKOUT/.venv/bin/python)")
    parser.add_argument("--rounds", type=int, default=10, help="processes per row and build (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that it runs")
    options = parser.parse_args(arguments)
    checkout = options.checkout.resolve()
    builds = (
        Build("earlier", checkout, options.python or checkout / ".venv" / "bin" / "python"),
        Build("this", ROOT, Path(sys.executable)),
    )
    for build in builds:
        if not build.python.exists():
            parser.error(f"--python must be an interpreter, got {build.python}")
    results = []
    print("medians of processes' medians, and of their 95th percentiles")
    for row in QUICK_ROWS if options.quick else ROWS:
        results.append(compared(builds, row, options.rounds))
        print(line(results[-1]), flush=True)
    if options.json:
        given = sys.argv[1:] if arguments is None else arguments
        machine = measured_machine(["cpu"], options.quick)
        values = record.record(record.command_of(__file__, given), machine, {"builds": results})
        record.write(options.json, {**values, "threads": THREADS, "earlier_commit": builds[0].commit()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
