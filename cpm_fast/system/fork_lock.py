"""Locks that are free in the child of a fork: there, one that another thread held would stay locked forever."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

_locks: WeakSet[threading.Lock] = WeakSet()


def fork_lock() -> threading.Lock:
    """Return a lock that is free in the child of a fork.

    Guard with it only state that is whole at every step, since the child may find a block of another thread unfinished.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _free() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)
