"""Peers of the benchmark's tests: functions in a module, so that a worker can import them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.harness.worker import Unavailable


@dataclass(frozen=True)
class Setting:
    device: str = "cpu"
    precision: str = "fp32"


@dataclass(frozen=True)
class Problem:
    """Squares of 0 to 99."""

    batch: int = 1
    macs: int = 100
    bytes: int = 400
    setting: Setting = Setting()


def exact(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    return lambda: [np.arange(100.0) ** 2]


def right(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    print("peers may print")
    return lambda: [np.arange(100, dtype=np.float32) ** 2]


def slow(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    def run() -> Sequence[np.ndarray]:
        time.sleep(0.02)
        return exact(problem)()

    return run


def wrong(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    return lambda: [np.arange(100.0) ** 2 + np.eye(1, 100, 50)[0]]


def not_a_number(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    return lambda: [np.full(100, np.nan)]


def other_shape(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    return lambda: [np.arange(99.0) ** 2]


def absent(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    raise Unavailable("squares not installed; type: pip install squares")


def broken(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    raise ZeroDivisionError("of all things")


def dying(problem: Problem) -> Callable[[], Sequence[np.ndarray]]:
    def run() -> Sequence[np.ndarray]:
        raise SystemExit(3)

    return run
