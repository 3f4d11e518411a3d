"""A forked child does not wait for what its parent's other threads were doing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from cpm_fast.system.fork_lock import fork_lock

pytestmark = pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="forks are for Unix")

SECONDS = 60


def in_child(work) -> int:
    """Return how a child ends: 0 if `work` returns True there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def test_a_lock_of_another_thread_is_free_in_a_child() -> None:
    lock, held, ended = fork_lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            ended.wait(SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(SECONDS)
    try:
        assert in_child(lambda: lock.acquire(timeout=5)) == 0
        assert not lock.acquire(timeout=0.01), "the parent's own lock must stay taken"
    finally:
        ended.set()
        holder.join()


# The parent's other thread is in the middle of a call that prepares or reads; the child makes the same call.
PROGRAM = """
import os, signal, sys, threading
import numpy as np, torch
import cpm_fast
from cpm_fast import weights
from cpm_fast.engine import engine as engine_module

inside, ended = threading.Event(), threading.Event()
parent = os.getpid()

def slow(before):
    def call(*given, **named):
        if os.getpid() == parent:
            inside.set(); ended.wait(60)
        return before(*given, **named)
    return call

torch.set_num_threads(1)
image = np.zeros((64, 48, 3), np.uint8)
if sys.argv[1] == "preparing":
    engine_module.Prepared = slow(engine_module.Prepared)
    model = cpm_fast.load("compact-drawn", device="cpu")
    work = lambda: cpm_fast.Engine(model)(torch.zeros(1, 3, 64, 64))
else:
    weights.load = slow(weights.load)
    work = lambda: cpm_fast.infer(image, model="compact-drawn", find=False)
other = threading.Thread(target=work); other.start()
assert inside.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(60)
    work(); os._exit(0)
status = os.waitpid(child, 0)[1]
ended.set(); other.join()
print("ended with", status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["preparing", "reading"])
def test_a_child_of_a_fork_in_the_middle_of_a_first_call_computes(what: str, tmp_path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, str(path), what], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "ended with 0"


MODES = """
import os, threading
import torch
import cpm_fast
from cpm_fast.system.torch_settings import evaluating

inside, ended = threading.Event(), threading.Event()
model = cpm_fast.load("compact-drawn", device="cpu").train()

def hold():
    with evaluating(model):
        inside.set(); ended.wait(60)

other = threading.Thread(target=hold); other.start(); inside.wait(60)
assert not model.training
child = os.fork()
if child == 0:
    with evaluating(model):
        assert not model.training
    os._exit(0 if model.training else 3)
assert os.waitpid(child, 0)[1] == 0
ended.set(); other.join()
assert model.training
"""


def test_a_child_has_the_modes_of_before_a_block_of_another_thread() -> None:
    done = subprocess.run([sys.executable, "-c", MODES], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
