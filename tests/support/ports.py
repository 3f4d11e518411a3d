"""Ports of this machine."""

from __future__ import annotations

import socket


def free_port() -> str:
    """Return the number of a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
