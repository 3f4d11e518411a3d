"""Kill a training run with SIGKILL at random instants, resume it, and compare its weights with an unbroken run's.

python benchmarks/checks/kill_test.py [--kills 50] [--commands 6] [--seed N] [--out FILE.json]

A tiny network saves and validates often, so that it spends much of the time in writing. Most runs are forks of a
process that has PyTorch in memory; `--commands` of them are whole commands (`python kill_test.py --train FOLDER`),
killed at any instant from the start of the interpreter on. A run is killed again and again until it ends. It is lost if
it can't be resumed, and differs if a bit of its weights or a line of its metrics does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpm_fast.config import Conv, preset
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.files import load_model
from cpm_fast.recipes import RECIPES
from cpm_fast.system.files import TEMPORARY_SUFFIX, atomic_write
from cpm_fast.system.versions import versions
from cpm_fast.training.folder import RunFolder
from cpm_fast.training.loop import train
from cpm_fast.training.metrics_log import METRICS_FILE, MetricsLog
from cpm_fast.training.options import RunOptions

NETWORK = replace(
    preset("compact"),
    input_size=(64, 64),
    stages=2,
    trunk=((Conv(3, 4),),) * 3,
    tail=(),
    features=(Conv(1, 4),),
    first=(Conv(3, 8),),
    refine=(Conv(3, 4),),
)
CONFIG = replace(RECIPES["modern"], batch=4, epochs=6)
DATA = [DrawnFigures(20)]
VALIDATION = [DrawnFigures(3, seed=1)]
OPTIONS = RunOptions(workers=0, device="cpu", quiet=True, save_every=2, validate_every=2)
# One in this many runs has a loader process, which outlives a kill by some seconds.
WORKER_EVERY = 5
# The column that differs from run to run even with equal weights.
TIMED = "samples_per_second"
Start = Callable[[Path, int], Any]


def train_tiny(folder: Path, workers: int) -> None:
    """Start or resume the run of a folder."""
    torch.set_num_threads(1)
    train(NETWORK, CONFIG, DATA, VALIDATION, folder, resume=True, options=replace(OPTIONS, workers=workers))


class Fork:
    """A run in a fork of this process."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=_silently, args=(train_tiny, folder, workers))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def wait(self, seconds: float | None) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode


class Command:
    """A run in its own process, from the start of the interpreter."""

    def __init__(self, folder: Path, workers: int) -> None:
        command = [sys.executable, __file__, "--train", str(folder), "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.pid = self.process.pid

    def wait(self, seconds: float | None) -> int | None:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def _silently(run: Callable[[Path, int], None], folder: Path, workers: int) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        run(folder, workers)


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return the final weights, and all lines of metrics without their times."""
    rows = list(MetricsLog(folder / METRICS_FILE).rows())
    return load_model(RunFolder(folder).final).state_dict(), [
        {name: value for name, value in row.items() if name != TIMED} for row in rows
    ]


def where(folder: Path) -> str:
    """Return the run's activity when it was killed, judged by its folder."""
    if not (folder / "config.json").exists():
        return "before config.json"
    if any(folder.glob(f".*{TEMPORARY_SUFFIX}")):
        return "within the writing of a file"
    return "between files" if RunFolder(folder).last.exists() else "before the first checkpoint"


def kill_until_done(
    start: Start, folder: Path, kills: int, longest: float, workers: int, random: np.random.Generator
) -> list[str]:
    """Start a run, kill it this many times, each after a random time, and let it end; return where each kill fell.

    Raises:
        RuntimeError: a run ended with an error of its own.
    """
    fell: list[str] = []
    while True:
        process = start(folder, workers)
        code = process.wait(random.uniform(0, longest) if len(fell) < kills else None)
        if code is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(None)
            fell.append(where(folder))
        elif code == 0:
            return fell
        else:
            raise RuntimeError(f"a resumed run ended with code {code} after {fell}")


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if nothing was lost and nothing differs, otherwise 1."""
    parser = argparse.ArgumentParser(description="Kill training runs at random instants and resume them.")
    parser.add_argument("--kills", type=int, default=50, help="in all, at least (%(default)s)")
    parser.add_argument("--commands", type=int, default=6, help="of these, of whole commands (%(default)s)")
    parser.add_argument("--each", type=int, default=6, help="kills of one run, at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), help="of the instants")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="only start or resume the run of a folder")
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.train:
        train_tiny(chosen.train, chosen.workers)
        return 0
    print(f"seed {chosen.seed}", flush=True)
    random = np.random.default_rng(chosen.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        longest: dict[Start, float] = {}
        # The first run in this process loads the modules that its forks then share.
        _silently(train_tiny, folder / "whole", 0)
        whole = outcome(folder / "whole")
        for start in (Fork, Command) if chosen.commands else (Fork,):
            started = time.monotonic()
            kill_until_done(start, folder / start.__name__, 0, 0.0, 0, random)
            longest[start] = time.monotonic() - started
        fell: Counter[str] = Counter()
        lost = differ = runs = 0
        while fell.total() < chosen.kills:
            start = Command if fell.total() < chosen.commands else Fork
            run, workers = folder / str(runs), int(runs % WORKER_EVERY == WORKER_EVERY - 1)
            runs += 1
            try:
                fell.update(
                    kill_until_done(
                        start, run, int(random.integers(1, chosen.each + 1)), longest[start], workers, random
                    )
                )
            except RuntimeError as error:
                print(error, file=sys.stderr)
                lost += 1
                fell["of a run that was lost"] += 1
                continue
            differ += not equal(outcome(run), whole)
    print(f"{fell.total()} kills of {runs} runs, {lost} lost, {differ} differing, {time.monotonic() - began:.0f} s")
    for place, count in fell.most_common():
        print(f"{count:6}  {place}")
    if chosen.out:
        with atomic_write(chosen.out) as file:
            counts = {"kills": fell.total(), "runs": runs, "lost": lost, "differing": differ}
            found = {**counts, "seed": chosen.seed, "places": dict(fell), "versions": versions()}
            file.write((json.dumps(found, indent=1) + "\n").encode())
    return int(lost + differ > 0)


def equal(a: tuple[dict[str, Any], list[Any]], b: tuple[dict[str, Any], list[Any]]) -> bool:
    """Return whether weights and metrics are the same, bit for bit."""
    return a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(a[0][name], b[0][name]) for name in a[0])


if __name__ == "__main__":
    sys.exit(main())
