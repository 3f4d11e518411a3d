"""Training tests run on one thread: networks this small are slower on more."""

import pytest

from cpm_fast.training import run
from support.runs import LOG_EVERY


@pytest.fixture(autouse=True)
def small(monkeypatch, one_thread):
    """Small networks run on one thread, and log often."""
    monkeypatch.setattr(run, "LOG_EVERY_STEPS", LOG_EVERY)
