"""Thousands of forks, half of them in the middle of other threads' calls: every child computes, and computes the same.

    python benchmarks/checks/forks.py [--forks 2000] [--out RESULTS.json]

A child that has not ended after a minute counts as hanging.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import trange

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import cpm_fast  # noqa: E402
from benchmarks.harness import record  # noqa: E402

SECONDS = 60
SIDE = 64


@dataclass
class Ends:
    """Children by the way they ended.

    Args:
        right: with the parent's result, bit for bit.
        wrong: with another result.
        hanging: not after a minute.
        failed: by an error or a signal.
    """

    right: int = 0
    wrong: int = 0
    hanging: int = 0
    failed: int = 0


class Callers:
    """Threads that call an engine without pause, so that forks fall into their calls."""

    def __init__(self, engine: cpm_fast.Engine, crops: torch.Tensor, count: int = 2) -> None:
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._call, args=(engine, crops)) for _ in range(count)]

    def __enter__(self) -> None:
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _call(self, engine: cpm_fast.Engine, crops: torch.Tensor) -> None:
        while not self.ended.is_set():
            engine(crops)


def fork_one(engine: cpm_fast.Engine, crops: torch.Tensor, wanted: list[torch.Tensor], ends: Ends) -> None:
    """Fork a child that calls the engine with two threads of its own, and count how it ends."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            # One thread for PyTorch's own operations: its OpenMP pool does not survive a fork.
            torch.set_num_threads(1)
            code = 0 if all(map(torch.equal, engine(crops), wanted)) else 3
        finally:
            # An error must not reach the caller, whose code the parent runs too.
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        name = "hanging" if os.WTERMSIG(status) == signal.SIGALRM else "failed"
    else:
        name = {0: "right", 3: "wrong"}.get(os.WEXITSTATUS(status), "failed")
    setattr(ends, name, getattr(ends, name) + 1)


def fork_many(count: int) -> dict[str, Ends]:
    """Fork a number of children, half from a quiet parent and half beside two threads that call."""
    engine = cpm_fast.Engine(cpm_fast.load("compact-drawn", device="cpu"), threads=2, frozen=True)
    crops = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    wanted = engine(crops)
    found = {"quiet": Ends(), "beside calls": Ends()}
    for _ in trange(count // 2, desc="forks", unit="fork", disable=None):
        fork_one(engine, crops, wanted, found["quiet"])
    with Callers(engine, crops):
        for _ in trange(count - count // 2, desc="forks beside calls", unit="fork", disable=None):
            fork_one(engine, crops, wanted, found["beside calls"])
    return found


def main() -> int:
    """Fork, print and write how the children ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--forks", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="write the counts to this JSON file")
    arguments = parser.parse_args()
    found = fork_many(arguments.forks)
    for parent, ends in found.items():
        print(f"{parent}: {asdict(ends)}")
    if arguments.out is not None:
        counts = {parent: asdict(ends) for parent, ends in found.items()}
        command = f"python benchmarks/checks/forks.py --forks {arguments.forks}"
        record.write(
            arguments.out,
            {"command": command, "commit": record.commit(), **counts, "versions": record.versions()},
        )
    return 0 if sum(ends.right for ends in found.values()) == arguments.forks else 1


if __name__ == "__main__":
    sys.exit(main())
