"""Training tests run on one thread: networks this small are slower on more."""

import pytest

from cpm_fast.system.files import write_text
from cpm_fast.training import run
from support.runs import LOG_EVERY


@pytest.fixture(autouse=True)
def small(monkeypatch, one_thread):
    """Run small networks on one thread, and log often."""
    monkeypatch.setattr(run, "LOG_EVERY_STEPS", LOG_EVERY)


@pytest.fixture
def plain_curves(monkeypatch):
    """Draw curves of a few bytes: real ones took four fifths of a short run; their file is written like others.

    Every step is logged.
    """
    monkeypatch.setattr(run, "LOG_EVERY_STEPS", 1)
    monkeypatch.setattr(run, "draw_curves", lambda metrics, path: write_text(path, f"{list(metrics.rows())}"))
