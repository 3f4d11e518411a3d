"""Thousands of calls with changing shapes, models and threads: memory, descriptors and threads must not grow.

    python benchmarks/checks/many_calls.py [--calls 3000] [--out RESULTS.json]

Counts are taken after the first third, when every shape and model has been seen, and at the end.
"""

from __future__ import annotations

import argparse
import gc
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import cpm_fast  # noqa: E402
from benchmarks.harness import record  # noqa: E402

MODELS = ("compact-lsp", "compact-drawn")
SIZES = (96, 128, 160, 192, 256)
# Memory that allocators keep; a leak of one map per call would be ten times that.
MOST_GROWTH_MB = 64


@dataclass(frozen=True)
class Held:
    """Memory, descriptors and threads of a process.

    Args:
        memory_mb: resident memory.
        descriptors: open files.
        threads: of the process.
    """

    memory_mb: float
    descriptors: int
    threads: int


def held() -> Held:
    """Count this process's memory, descriptors and threads, after a garbage collection."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    memory = int(status["VmRSS"].split()[0]) / 1024
    return Held(memory, len(list(Path("/proc/self/fd").iterdir())), int(status["Threads"]))


def call(random: np.random.Generator, number: int) -> None:
    """Make one call of an engine, of a new model now and then, or of infer."""
    name, threads = MODELS[int(random.integers(len(MODELS)))], int(random.integers(1, 4))
    if number % 50 == 0:
        image = random.integers(0, 255, (int(random.integers(40, 200)), int(random.integers(40, 200)), 3), np.uint8)
        cpm_fast.infer(image, model=name, find=False, threads=threads)
        return
    model = cpm_fast.load(name, device="cpu") if number % 10 == 0 else _model(name)
    count, height, width = int(random.integers(1, 3)), *(int(side) for side in random.choice(SIZES, 2))
    cpm_fast.Engine(model, threads=threads)(torch.zeros(count, 3, height, width))


_models: dict[str, cpm_fast.CPM] = {}


def _model(name: str) -> cpm_fast.CPM:
    if name not in _models:
        _models[name] = cpm_fast.load(name, device="cpu")
    return _models[name]


def growth(calls: int) -> tuple[Held, Held]:
    """Return the holdings after a third of the calls, and after all."""
    random, after_third = np.random.default_rng(0), held()
    for number in range(calls):
        call(random, number)
        if number == calls // 3:
            after_third = held()
    return after_third, held()


def refusal(before: Held, after: Held) -> str | None:
    """Return what has grown, in words; None if nothing has."""
    if after.memory_mb > before.memory_mb + MOST_GROWTH_MB:
        return f"memory grew from {before.memory_mb:.0f} to {after.memory_mb:.0f} MB"
    for name in ("descriptors", "threads"):
        if asdict(after)[name] > asdict(before)[name]:
            return f"{name} grew from {asdict(before)[name]} to {asdict(after)[name]}"
    return None


def main() -> int:
    """Run the calls and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--out", type=Path, help="write the counts to this JSON file")
    arguments = parser.parse_args()
    before, after = growth(arguments.calls)
    print(f"after a third: {before}\nat the end:    {after}")
    grown = refusal(before, after)
    print(grown or "nothing grew")
    if arguments.out is not None:
        command = f"python benchmarks/checks/many_calls.py --calls {arguments.calls}"
        counts = {"after_a_third": asdict(before), "at_the_end": asdict(after), "grown": grown}
        about = {"commit": record.commit(), "hardware": record.hardware(), "versions": record.versions()}
        record.write(arguments.out, {"command": command, "calls": arguments.calls, **counts, **about})
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
