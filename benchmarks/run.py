"""Run benchmark suites: python benchmarks/run.py [suite ...] [--quick] [--threads N] [--out FOLDER].

README.md beside this file states the method.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
# The case table of the tests is the benchmarks' too.
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import harness  # noqa: E402
import post  # noqa: E402
import targets  # noqa: E402

SUITES = {"targets": targets.cases, "post": post.cases}


def main(arguments: list[str] | None = None) -> int:
    """0: all results were correct; 1: one was wrong; 2: bad use."""
    parser = argparse.ArgumentParser(description="Benchmarks of cpm_fast; the method is in benchmarks/README.md.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds: a smoke test, not a measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (%(default)s)")
    parser.add_argument("--rounds", type=int, help="timed rounds, 5 when quick and 41 otherwise")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON (%(default)s)")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.suites if name not in SUITES]
    if unknown:
        parser.error(f"suite must be one of {', '.join(SUITES)}, got {', '.join(unknown)}")
    rounds = (5 if chosen.quick else 41) if chosen.rounds is None else chosen.rounds
    for name, count in (("--threads", chosen.threads), ("--rounds", rounds)):
        if count < 1:
            parser.error(f"{name} must be at least 1, got {count}")
    torch.set_num_threads(chosen.threads)

    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python benchmarks/run.py", *given])
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    bandwidth = {device: harness.fill_bandwidth(device, 64 if chosen.quick else 256) for device in devices}
    wrong = False
    for name in chosen.suites or SUITES:
        results = []
        for device in devices:
            for case in SUITES[name](chosen.quick, device):
                results.append(harness.measure(case, rounds, bandwidth[device]))
                wrong = wrong or not all(row["correct"] for row in results[-1]["rows"])
                print("\n".join(harness.table(results[-1])), flush=True)
        path = chosen.out / f"{name}.json"
        harness.write(path, name, command, bandwidth, results)
        print(f"\nwrote {path} (times in ms; ratio: time over the first row's)")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
