"""A server of the labeling page, and a folder for it."""

from pathlib import Path

import pytest

from support.labeling import Served, make_beetles


@pytest.fixture
def serve():
    """Provide a function that serves a folder; every server is killed at the end."""
    running = []

    def start(folder: Path, port: int = 0, *options: str) -> Served:
        running.append(Served(folder, port, *options))
        return running[-1]

    yield start
    for served in running:
        if served.process.poll() is None:
            served.kill()


@pytest.fixture
def beetles(tmp_path):
    return make_beetles(tmp_path / "beetles")
