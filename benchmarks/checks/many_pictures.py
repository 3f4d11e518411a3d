"""`cpm-fast infer` on a folder of many pictures, a few of them bad: its results, rate and memory.

python benchmarks/checks/many_pictures.py [--pictures 1000] [--bad 5] [--readers 0 1] [--rounds 3] [--out FILE.json]

Each choice of --readers is a separate command, `cpm-fast infer` on the same folder; the commands take turns. The
resident memory of the process is sampled while it runs; it is level if its peak in the last quarter of the pictures is
no more than in the second quarter plus an allowance. The exit code is 1 if a result is missing, a bad picture is not
reported, or memory grows.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.harness import record  # noqa: E402
from cpm_fast.data.drawn.synthetic import DrawnFigures  # noqa: E402
from cpm_fast.results.result import Results  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402

JPEG_QUALITY = 90
SAMPLE_SECONDS = 0.02
# The chance difference between the peaks of a run's quarters: -32 to +20 MB in six runs. Half of 1,000 drawn pictures,
# if kept, would take 94 MB.
ALLOWANCE_MB = 40.0
# Kinds of damage to the bytes of a JPEG, in turn.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "words": lambda data: b"no picture",
    "zeros": lambda data: bytes(len(data)),
    "head": lambda data: data[:4],
}


def write_pictures(folder: Path, count: int, bad: int) -> set[str]:
    """Write JPEGs of drawn figures, some of them damaged, and return the names of those."""
    every = max(1, count // max(1, bad))
    damaged: set[str] = set()
    figures = DrawnFigures(count)
    for i in tqdm(range(count), desc="pictures", unit="picture", leave=False, disable=None):
        done, data = cv2.imencode(".jpg", figures[i].image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert done
        content, name = data.tobytes(), f"{i:06}.jpg"
        if i % every == every // 2 and len(damaged) < bad:
            content = list(DAMAGE.values())[len(damaged) % len(DAMAGE)](content)
            damaged.add(name)
        (folder / name).write_bytes(content)
    return damaged


def run_infer(pictures: Path, out: Path, readers: int, threads: int) -> dict[str, Any]:
    """Run one command; return the rate that it prints, and its memory over time."""
    infer = [sys.executable, "-m", "cpm_fast", "infer", str(pictures), "-o", str(out)]
    command = [*infer, "--readers", str(readers), "--no-pictures", "--model", "compact-drawn", "--find", "whole"]
    alone = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    samples: list[tuple[int, float]] = []
    with (out.parent / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=alone)
        while process.poll() is None:
            samples.append((pictures_done(out), resident_mb(process.pid)))
            time.sleep(SAMPLE_SECONDS)
        said.seek(0)
        text = said.read()
    rate = re.search(r"([\d.]+) pictures/s", text)
    if rate is None:
        raise RuntimeError(f"infer ended with {process.returncode} and no rate:\n{text}")
    return {"readers": readers, "pictures_per_s": float(rate[1]), "exit_code": process.returncode, **quarters(samples)}


def pictures_done(out: Path) -> int:
    """Return the lines of the journal that `infer` keeps until its results are written; 0 before and after that."""
    try:
        return (out / ".unfinished" / "0-0.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def resident_mb(process: int) -> float:
    """Return the resident memory of a process in MB; 0 if it has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return float(found[1]) / 1024 if found else 0.0


def quarters(samples: list[tuple[int, float]]) -> dict[str, float | None]:
    """Return the peaks of memory, MB, in the second and in the last quarter of the pictures; None without samples.

    Args:
        samples: pictures done, and MB.
    """
    count = max(done for done, _ in samples)

    def peak(low: float, high: float) -> float | None:
        within = [mb for done, mb in samples if done and low * count <= done <= high * count]
        return round(max(within), 1) if within else None

    return {"second_quarter_mb": peak(0.25, 0.5), "last_quarter_mb": peak(0.75, 1.0)}


def problems(run: dict[str, Any], out: Path, count: int, bad: set[str]) -> list[str]:
    """Return a sentence for each problem."""
    results = Results.load(out / "results.json")
    found = []
    if {Path(name).name for name in results.failures} != bad:
        found.append(f"reported {sorted(results.failures)}, damaged were {sorted(bad)}")
    if len(results) != count - len(bad):
        found.append(f"{len(results)} results of {count - len(bad)}")
    if run["exit_code"] != (1 if bad else 0):
        found.append(f"exit code {run['exit_code']}")
    early, late = run["second_quarter_mb"], run["last_quarter_mb"]
    if early is not None and late is not None and late > early + ALLOWANCE_MB:
        found.append(f"memory grew from {early} to {late} MB")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if nothing was missing and memory was level."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pictures", type=int, default=1000, help="%(default)s")
    parser.add_argument("--bad", type=int, default=5, help="of them damaged (%(default)s)")
    parser.add_argument("--readers", type=int, nargs="+", default=[0, 1], help="threads that read ahead (0 1)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the network (%(default)s)")
    parser.add_argument("--out", type=Path, help="a .json file of what was found")
    chosen = parser.parse_args(arguments)
    if min(chosen.pictures, chosen.rounds, chosen.threads) < 1 or not 0 <= chosen.bad <= chosen.pictures:
        parser.error("--pictures, --rounds and --threads must be at least 1, --bad from 0 to --pictures")
    runs, wrong = [], []
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        bad = write_pictures(pictures, chosen.pictures, chosen.bad)
        for turn in range(chosen.rounds):
            for readers in chosen.readers:
                out = Path(scratch) / f"out-{turn}-{readers}"
                run = run_infer(pictures, out, readers, chosen.threads)
                runs.append(run)
                wrong += [f"{readers} readers: {problem}" for problem in problems(run, out, chosen.pictures, bad)]
                memory = f"{run['second_quarter_mb']} MB in the second quarter, {run['last_quarter_mb']} MB in the last"
                print(f"{readers} readers: {run['pictures_per_s']:.1f} pictures/s, {memory}", flush=True)
    rates = {
        str(readers): statistics.median(run["pictures_per_s"] for run in runs if run["readers"] == readers)
        for readers in chosen.readers
    }
    print(f"{chosen.pictures - len(bad)} results and {len(bad)} reports a run; median pictures/s by readers: {rates}")
    for problem in wrong:
        print(problem, file=sys.stderr)
    if chosen.out is not None:
        write_json(
            chosen.out,
            {
                "command": " ".join(["python benchmarks/checks/many_pictures.py", *sys.argv[1:]]),
                "pictures": chosen.pictures,
                "bad": len(bad),
                "threads": chosen.threads,
                "pictures_per_s": rates,
                "runs": runs,
                "wrong": wrong,
                "hardware": record.hardware(),
                "versions": versions(),
            },
        )
        print(f"wrote {chosen.out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
