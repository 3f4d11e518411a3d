"""Other programs that compute on the same machine while something is measured."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOP = "while True: sum(range(10000))"
# A command that trains with two threads until it is stopped.
TRAINING = ("train", "--data", "synthetic:1000000", "--preset", "compact", "--epochs", "1", "--workers", "0")
# A neighbor ends with the process that started it, even if that is killed.
FOLLOW = """
import os, threading, time
def follow(parent=os.getppid()):
    while os.getppid() == parent: time.sleep(0.5)
    os._exit(0)
threading.Thread(target=follow, daemon=True).start()
"""
TRAIN = f"import sys, cpm_fast.cli; sys.exit(cpm_fast.cli.main({[*TRAINING, '-o', 'run']}))"
TRAINING_STARTS_SECONDS = 20.0
LOOP_STARTS_SECONDS = 1.0


@contextmanager
def neighbors(kind: str) -> Iterator[None]:
    """Run neighbors of normal priority within the block.

    Args:
        kind: the number of computing processes, "0" to "64"; or "training": one training of `compact` with two threads.
    """
    with tempfile.TemporaryDirectory(prefix="cpm_fast-neighbors-") as folder:
        code, count = (TRAIN, 1) if kind == "training" else (LOOP, int(kind))
        command = [sys.executable, "-c", FOLLOW + code]
        running = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
            for _ in range(count)
        ]
        try:
            if running:
                time.sleep(TRAINING_STARTS_SECONDS if kind == "training" else LOOP_STARTS_SECONDS)
            if any(process.poll() is not None for process in running):
                raise RuntimeError(f"a neighbor ended by itself: {code}")
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()
