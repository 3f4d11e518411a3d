"""The clock of every sample, in this process or in a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[], Any]


def seconds_a_call(run: Run, calls: int, device: str) -> float:
    """Return the seconds of one call, averaged over `calls`; a GPU's work is timed by events on the stream."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / calls
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls
