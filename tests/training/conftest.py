"""Training tests run on one thread: networks this small are slower on more."""

import pytest
import torch

from cpm_fast.training import run
from support.runs import LOG_EVERY


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Networks this small are slower on more threads."""
    monkeypatch.setattr(run, "LOG_EVERY_STEPS", LOG_EVERY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
