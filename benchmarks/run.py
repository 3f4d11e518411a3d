"""The benchmark that judges: python benchmarks/run.py [--suite NAME ...] [--quick | --full] [--json FILE|FOLDER].

README.md beside this file states the method.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
# The benchmarks share the case table of the tests.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.harness import bars, record  # noqa: E402
from benchmarks.harness.crew import Crew  # noqa: E402
from benchmarks.harness.levels import Level  # noqa: E402
from benchmarks.harness.machine import PRECISIONS, Machine, measured_machine  # noqa: E402
from benchmarks.harness.measure import Case, Effort, good, measure, table  # noqa: E402
from benchmarks.harness.problems import Setting  # noqa: E402
from benchmarks.suites import bfloat16, busy, end_to_end, layers, network, post, targets, train_step  # noqa: E402

# Suites of ops run in this process, on every device; suites of peers in their own processes, on the CPU or on CUDA.
OPS = {"targets": targets.cases, "post": post.cases}
NETWORKS = {"layers": layers.cases, "network": network.cases, "train-step": train_step.cases}
BFLOAT16 = "bf16"
BUSY = "busy"
END_TO_END = "end-to-end"
CPU_ONLY = {BFLOAT16: bfloat16.cases, END_TO_END: end_to_end.cases, BUSY: busy.cases}
GPU = "gpu"
SUITES = (*OPS, *NETWORKS, *CPU_ONLY, GPU)
ROUNDS: dict[Level, tuple[int, int]] = {"quick": (3, 3), "tour": (3, 41), "default": (3, 41), "full": (5, 41)}
# A case's rounds begin within this many seconds; there are many layers.
SECONDS: dict[Level, dict[str, float]] = {
    "quick": dict.fromkeys(SUITES, 0.0),
    "tour": {**dict.fromkeys(SUITES, 0.5), "network": 2.0, "train-step": 4.0},
    "default": {**dict.fromkeys(SUITES, 4.0), "layers": 1.0, GPU: 1.0},
    "full": dict.fromkeys(SUITES, 20.0),
}
# On two cores of 190 GFLOP/s at best.
ESTIMATES: dict[Level, dict[str, float]] = {
    "quick": {
        "targets": 1,
        "post": 3,
        "layers": 20,
        "network": 15,
        "train-step": 5,
        BFLOAT16: 15,
        END_TO_END: 10,
        BUSY: 20,
        GPU: 100,
    },
    "tour": {
        "targets": 3,
        "post": 6,
        "layers": 80,
        "network": 65,
        "train-step": 10,
        BFLOAT16: 20,
        END_TO_END: 20,
        BUSY: 60,
        GPU: 600,
    },
    "default": {
        "targets": 15,
        "post": 25,
        "layers": 100,
        "network": 95,
        "train-step": 20,
        BFLOAT16: 80,
        END_TO_END: 30,
        BUSY: 400,
        GPU: 600,
    },
    "full": {
        "targets": 150,
        "post": 200,
        "layers": 2400,
        "network": 900,
        "train-step": 900,
        BFLOAT16: 900,
        END_TO_END: 150,
        BUSY: 1200,
        GPU: 1800,
    },
}
ESTIMATE_FLOPS = 190e9


def cases(suite: str, level: Level, crew: Crew) -> Iterator[Case]:
    if suite in OPS:
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            yield from OPS[suite](level, device)
    elif suite != GPU:
        yield from (NETWORKS | CPU_ONLY)[suite](level, crew, Setting())
    else:
        for precision in PRECISIONS["cuda"]:
            for make in NETWORKS.values():
                yield from make(level, crew, Setting("cuda", precision))


def run_suite(suite: str, level: Level, rounds: int | None, machine: Machine, crew: Crew) -> list[dict[str, Any]]:
    """Measure a suite and print its tables."""
    if suite == GPU and not torch.cuda.is_available():
        print("\ngpu skipped: PyTorch sees no CUDA device; on a machine with one, install a CUDA build of torch")
        return []
    effort = Effort(*ROUNDS[level], SECONDS[level][suite]) if rounds is None else Effort(rounds, rounds, 0)
    results = []
    for case in cases(suite, level, crew):
        results.append(measure(case, effort, machine))
        print("\n".join(table(results[-1])), flush=True)
    return results


def say_estimate(suites: list[str], level: Level, machine: Machine) -> None:
    named = [suite for suite in suites if suite != GPU or torch.cuda.is_available()]
    scale = ESTIMATE_FLOPS / machine.flops["cpu", "fp32"]
    seconds = sum(ESTIMATES[level][suite] for suite in named) * scale
    about = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    print(f"{', '.join(suites)}: about {about}, {torch.get_num_threads()} threads")
    for (device, precision), rate in machine.flops.items():
        print(f"best arithmetic, {device} {precision}: {rate / 1e9:.0f} GFLOP/s")
    for device, rate in machine.bandwidth.items():
        print(f"copy, {device}: {rate / 1e9:.1f} GB/s read and written", flush=True)


def arguments_of(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the parsed arguments and the suites, in the order of SUITES."""
    parser = argparse.ArgumentParser(description="Benchmarks of cpm_fast; the method is in benchmarks/README.md.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}; all when none is named")
    parser.add_argument("--suite", action="append", default=[], metavar="NAME", help="the same; may be repeated")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="tiny cases, 3 rounds: a smoke test, not a measurement")
    effort.add_argument("--full", action="store_true", help="all cases, batches and peers: about an hour on two cores")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (%(default)s)")
    parser.add_argument("--rounds", type=int, help="timed rounds a case; by default as many as time allows")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="only this row; may be repeated")
    parser.add_argument(
        "--json",
        "--out",
        type=Path,
        default=Path("runs/benchmarks"),
        metavar="FILE|FOLDER",
        help="a .json file for all suites, or a folder of one a suite (%(default)s); PNG beside it",
    )
    chosen = parser.parse_args(given)
    named = [*chosen.suites, *chosen.suite]
    unknown = [name for name in named if name not in SUITES]
    if unknown:
        parser.error(f"suite must be one of {', '.join(SUITES)}, got {', '.join(unknown)}")
    for name, count in (("--threads", chosen.threads), ("--rounds", chosen.rounds)):
        if count is not None and count < 1:
            parser.error(f"{name} must be at least 1, got {count}")
    return chosen, [suite for suite in SUITES if not named or suite in named]


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if all results were correct, 1 if one was wrong, 2 for bad use."""
    given = sys.argv[1:] if arguments is None else arguments
    chosen, suites = arguments_of(given)
    asked: Level = "default" if chosen.suites or chosen.suite else "tour"
    level: Level = "quick" if chosen.quick else "full" if chosen.full else asked
    torch.set_num_threads(chosen.threads)
    begin = time.monotonic()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    machine = measured_machine(devices, chosen.quick)
    say_estimate(suites, level, machine)

    measured: dict[str, list[dict[str, Any]]] = {}
    command = " ".join(["python benchmarks/run.py", *given])
    one_file = chosen.json.suffix == ".json"
    with Crew(chosen.threads, chosen.peer) as crew:
        for suite in suites:
            machine = machine.best(measured_machine(devices, chosen.quick))
            results = run_suite(suite, level, chosen.rounds, machine, crew)
            if not results:
                continue
            measured[suite] = results
            # Results are written as they come: an interrupted run keeps those it has.
            path = chosen.json if one_file else chosen.json / f"{suite}.json"
            values = record.record(command, machine, measured if one_file else {suite: results})
            record.write(path, values)
            bars.draw(path.with_suffix(".png"), values)
            print(f"\nwrote {path} and {path.with_suffix('.png').name}")
    print(f"\n{time.monotonic() - begin:.0f} s in all; ratio: time over the first row's, above 1 is slower than ours")
    return 0 if all(good(result) for results in measured.values() for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
