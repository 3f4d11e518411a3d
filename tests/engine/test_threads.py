"""An engine in several threads, with its own thread count, and in a forked process."""

from __future__ import annotations

import dataclasses
import os
import threading
import time

import pytest
import torch

from cpm_fast import Engine
from cpm_fast.ops import backend
from cpm_fast.system.torch_settings import cpu_threads, wanted_threads
from support.small_network import BOUND, SMALL, crops, error, network


def test_several_threads_at_once(device):
    model = network(SMALL, device)
    engines = [Engine(model), Engine(network(dataclasses.replace(SMALL, stages=2), device))]
    inputs = [crops(SMALL, 1 + i % 2, device) for i in range(8)]
    wanted = [engines[i % 2](x) for i, x in enumerate(inputs)]
    found: list[list[torch.Tensor] | None] = [None] * len(inputs)

    def work(i: int) -> None:
        for _ in range(5):
            found[i] = engines[i % 2](inputs[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, right in zip(found, wanted, strict=True):
        assert one is not None and error(one, right) < BOUND


def test_threads_are_those_of_the_call(monkeypatch):
    seen, model, x = [], network(SMALL), crops(SMALL)
    monkeypatch.setattr(backend.native(), "usable_cpus", lambda: (seen.append(wanted_threads()), 2)[1])
    before = torch.get_num_threads()
    Engine(model, threads=before + 1)(x)
    assert set(seen) == {before + 1} and torch.get_num_threads() == before
    seen.clear()
    Engine(model)(x)
    assert set(seen) == {before}


def test_two_calls_at_once_have_threads_of_their_own():
    """Each thread reads its count repeatedly while the other thread has another one."""
    wrong = []

    def work(count: int) -> None:
        for _ in range(200):
            with cpu_threads(count):
                time.sleep(0)
                if wanted_threads() != count:
                    wrong.append(count)

    before = torch.get_num_threads()
    workers = [threading.Thread(target=work, args=(count,)) for count in (1, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 1025, 100_000, 2.0, True])
def test_rejects_threads(threads):
    with pytest.raises(ValueError, match="threads must be a whole number from 1 to 1024"):
        Engine(network(SMALL), threads=threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_works_in_a_process_forked_after_use():
    engine, x = Engine(network(SMALL)), crops(SMALL)
    wanted = engine(x)
    child = os.fork()
    if child == 0:
        # One thread: PyTorch's own OpenMP pool does not survive a fork.
        torch.set_num_threads(1)
        os._exit(0 if error(engine(x), wanted) < BOUND else 1)
    assert os.waitpid(child, 0)[1] == 0
