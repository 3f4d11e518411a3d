"""The best spinning time of PyTorch's idle threads: python benchmarks/studies/waiting.py [--json FILE].

A training step and a single inference of cpm_fast, each with several values of GOMP_SPINCOUNT (how often a thread of
libgomp, PyTorch's pool, looks for more work before it sleeps; 300,000 by default), in turns, each in its own process.
Spinning threads of PyTorch take processors from the threads of cpm_fast. `cpm-fast` sets the value that this table
supports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.harness import record  # noqa: E402
from benchmarks.harness.bounds import BOUNDS  # noqa: E402
from benchmarks.harness.crew import Crew  # noqa: E402
from benchmarks.harness.machine import measured_machine  # noqa: E402
from benchmarks.harness.measure import Case, Effort, good, measure, table  # noqa: E402
from benchmarks.harness.problems import NetworkProblem, Setting, TrainProblem  # noqa: E402
from benchmarks.peers.pytorch import Peer, cpm_fast_network, cpm_fast_step, exact_network, exact_step  # noqa: E402
from benchmarks.suites.busy import config_of  # noqa: E402

SPINS = ("300000", "30000", "10000", "1000", "0")
TRAININGS = (("compact", 4),)
INFERENCES = (("wide-lsp", 1),)
NEIGHBORS = (None, "1")


def cases(crew: Crew, trainings: Sequence[tuple[str, int]], inferences: Sequence[tuple[str, int]]) -> Iterator[Case]:
    setting = Setting()
    for name, batch in trainings:
        steps = TrainProblem(replace(config_of(name), dropout=0.0), batch, torch.seed() % 2**32, setting)
        peers = [Peer(f"{spins} spins", cpm_fast_step, environment={"GOMP_SPINCOUNT": spins}) for spins in SPINS]
        case = crew.case(
            f"training step {name}, batch {batch}",
            steps,
            crew.oracle(exact_step, steps),
            peers,
            BOUNDS["train-step", setting.precision],
            {"network": name},
        )
        yield from _beside(case)
    for name, batch in inferences:
        images = NetworkProblem(config_of(name), batch, torch.seed() % 2**32, setting)
        peers = [Peer(f"{spins} spins", cpm_fast_network, environment={"GOMP_SPINCOUNT": spins}) for spins in SPINS]
        case = crew.case(
            f"{name}, batch {batch}",
            images,
            crew.oracle(exact_network, images),
            peers,
            BOUNDS["network", setting.precision],
            {"network": name},
        )
        yield from _beside(case)


def _beside(case: Case) -> Iterator[Case]:
    for kind in NEIGHBORS:
        yield case if kind is None else replace(case, name=f"{case.name}, beside {kind} process", neighbors=kind)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of each case (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that it runs")
    options = parser.parse_args(arguments)
    machine = measured_machine(["cpu"], options.quick)
    results = []
    networks = ((("compact", 1),), ()) if options.quick else (TRAININGS, INFERENCES)
    with Crew(2) as crew:
        for case in cases(crew, *networks):
            results.append(measure(case, Effort(options.rounds, options.rounds, 0), machine))
            print("\n".join(table(results[-1])), flush=True)
    if options.json:
        given = sys.argv[1:] if arguments is None else arguments
        record.write(options.json, record.record(record.command_of(__file__, given), machine, {"waiting": results}))
    return 0 if all(good(result) for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
