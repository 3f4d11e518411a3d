"""Rates and memory of `examples/ray_folder.py` on this machine: one worker with two threads against two with one.

    python benchmarks/checks/ray_workers.py [--pictures 4000] [--workers 1x2 2x1] [--rounds 3] [--out FILE.json]

2x1 is two workers of one thread. The arrangements take turns, each in a Ray of its own. The rate counts the pictures
of the time in which every worker works, so starting Ray and preparing the network are left out. The exit code is 1 if
a picture has no poses. Needs Ray: pip install -e ".[ray]".
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import ray_folder  # noqa: E402
from benchmarks.checks.many_pictures import resident_mb, write_pictures  # noqa: E402
from benchmarks.harness import record  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402

MODEL = "compact-drawn"
Row = dict[str, Any]


class TimedPoses(ray_folder.Poses):  # type: ignore[misc]
    """The example's actor, which also says when it worked on a batch, and its memory after it."""

    def __call__(self, batch: Row) -> Row:
        begin = time.time()
        rows: Row = super().__call__(batch)
        measured = {"worker": os.getpid(), "begin": begin, "end": time.time(), "mb": resident_mb(os.getpid())}
        return {**rows, **{name: [value] * len(rows["path"]) for name, value in measured.items()}}


@dataclass(frozen=True)
class Arrangement:
    """A number of workers, and of threads of each."""

    workers: int
    threads: int

    @classmethod
    def parse(cls, text: str) -> Arrangement:
        try:
            workers, threads = map(int, text.split("x"))
        except ValueError:
            workers = threads = 0
        if min(workers, threads) < 1:
            raise argparse.ArgumentTypeError(f"must be WORKERSxTHREADS, such as 2x1, got {text}")
        return cls(workers, threads)

    def __str__(self) -> str:
        return f"{self.workers}x{self.threads}"


def run(folder: Path, arrangement: Arrangement) -> list[Row]:
    """Return a row per picture of one run in a Ray of its own."""
    import ray

    paths = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    # Reading has a CPU too, or it would wait for the workers, which wait for it.
    ray.init(
        num_cpus=arrangement.workers * arrangement.threads + 1,
        include_dashboard=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    try:
        chosen = {"workers": arrangement.workers, "threads": arrangement.threads, "poses": TimedPoses}
        rows: list[Row] = ray_folder.locate(str(folder), MODEL, **chosen).take_all()
        return rows
    finally:
        ray.shutdown()


def rate(rows: Iterable[Row]) -> float:
    """Return pictures per second while every worker works, after its first batch; a batch counts by its share of that.

    Raises:
        ValueError: there is no such time.
    """
    batches: dict[int, dict[tuple[float, float], int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        batches[row["worker"]][row["begin"], row["end"]] += 1
    begin = max(min(end for _, end in own) for own in batches.values())
    end = min(max(end for _, end in own) for own in batches.values())
    if not begin < end:
        raise ValueError("the workers never work side by side after their first batch: give more --pictures")
    pictures = 0.0
    for own in batches.values():
        for (first, last), count in own.items():
            pictures += count * max(0.0, min(last, end) - max(first, begin)) / max(last - first, 1e-9)
    return pictures / (end - begin)


def measured(rows: list[Row], arrangement: Arrangement) -> dict[str, Any]:
    """Return the rate of a run, the memory of each worker, and what is missing."""
    memory: dict[int, float] = defaultdict(float)
    for row in rows:
        memory[row["worker"]] = max(memory[row["worker"]], row["mb"])
    return {
        "workers": str(arrangement),
        "pictures": len(rows),
        "without_poses": sum(not row["poses"] for row in rows),
        "pictures_per_s": round(rate(rows), 2),
        "worker_mb": sorted(round(mb, 1) for mb in memory.values()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every picture has poses in every run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pictures", type=int, default=4000, help="%(default)s")
    parser.add_argument(
        "--workers",
        type=Arrangement.parse,
        nargs="+",
        default=[Arrangement(1, 2), Arrangement(2, 1)],
        metavar="WxT",
        help="workers x threads of each, in turns (1x2 2x1)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--out", type=Path, help="a .json file of the measurements")
    parser.add_argument("--note", default="", help="goes into that file, such as: other work shared the processor")
    chosen = parser.parse_args(arguments)
    if min(chosen.pictures, chosen.rounds) < 1:
        parser.error("--pictures and --rounds must be at least 1")
    try:
        import ray
    except ImportError:
        parser.error('Ray is missing: pip install -c constraints.txt -e ".[ray]"')
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        write_pictures(Path(scratch), chosen.pictures, 0)
        for _ in range(chosen.rounds):
            for arrangement in chosen.workers:
                runs.append(measured(run(Path(scratch), arrangement), arrangement))
                memory = " and ".join(f"{mb:.0f}" for mb in runs[-1]["worker_mb"])
                print(f"{arrangement}: {runs[-1]['pictures_per_s']:.1f} pictures/s, {memory} MB", flush=True)
    rates = {
        str(each): statistics.median(run["pictures_per_s"] for run in runs if run["workers"] == str(each))
        for each in chosen.workers
    }
    print(f"median pictures/s by workers x threads: {rates}")
    if chosen.out is not None:
        command = " ".join(["python benchmarks/checks/ray_workers.py", *sys.argv[1:]])
        found = {"command": command, "commit": record.commit(), "note": chosen.note, "model": MODEL}
        found |= {"pictures_per_s": rates, "runs": runs, "ray": ray.__version__}
        write_json(chosen.out, {**found, "hardware": record.hardware(), "versions": versions()})
        print(f"wrote {chosen.out}")
    missing = any(run["without_poses"] or run["pictures"] != chosen.pictures for run in runs)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
