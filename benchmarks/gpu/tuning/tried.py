"""Variants of one computation: each is checked against the first, then timed in turns, with median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.gpu.visit.cases import Values
from benchmarks.harness.problems import Setting
from benchmarks.harness.timing import seconds_a_call
from benchmarks.peers.pytorch import repeated

Call = Callable[[], list[torch.Tensor]]
ROUNDS = {"cuda": 7, "cpu": 2}
SAMPLE_S = {"cuda": 0.004, "cpu": 0.0}
# Two forms in one arithmetic may differ by their rounding; a wrong border or tap causes a larger difference.
BOUNDS = {"bf16": 4e-2, "fp16": 4e-3, "tf32": 4e-3, "tf32x3": 2e-5, "ieee": 2e-5}


def tried(variants: Mapping[str, Callable[[], Call]], mode: str, device: str) -> Values:
    """Return milliseconds by variant, and the reason why others have none.

    Args:
        variants: by name, the functions that make the calls; results are compared with the first.
        mode: of the arithmetic, for how far results may differ.
        device: of the calls; on CUDA they are captured in graphs.
    """
    wanted: list[torch.Tensor] | None = None
    calls: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, make in variants.items():
        begin = time.monotonic()
        try:
            call = make()
            found = [each.detach().clone() for each in call()]
            if wanted is None:
                wanted = found
            error = max(relative(a, b) for a, b in zip(found, wanted, strict=True))
            # This comparison counts NaN as wrong.
            if not error <= BOUNDS[mode]:
                raise ArithmeticError(f"is {error:.1e} from the first variant, at most {BOUNDS[mode]:.0e} is right")
            calls[name] = repeated(call, Setting(device))
        except Exception as reason:
            failed[name] = f"{type(reason).__name__}: {reason}"[:300]
            if device == "cuda":
                # A broken context is a failure of this case, not of the variant.
                torch.cuda.synchronize()
        print(f"    {name}: {failed.get(name, 'right')}, ready after {time.monotonic() - begin:.1f} s", flush=True)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    counts = {name: _count(call, device) for name, call in calls.items()}
    for _ in range(ROUNDS[device]):
        for name, call in calls.items():
            samples[name].append(1e3 * seconds_a_call(call, counts[name], device))
    return {
        "milliseconds": {name: statistics.median(times) for name, times in samples.items()},
        "spread": {name: [min(times), max(times)] for name, times in samples.items()},
        "failed": failed,
        **({} if calls else {"state": "failed", "reason": "no variant works"}),
    }


def _count(call: Callable[[], Any], device: str) -> int:
    seconds_a_call(call, 1, device)
    return max(1, round(SAMPLE_S[device] / max(seconds_a_call(call, 1, device), 1e-6)))


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    a, b = found.double(), wanted.double()
    return float((a - b).norm() / b.norm())
