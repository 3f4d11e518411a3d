"""The work of a step's process: cases one after the other, each of which ends with a row for the visit.

A case that fails does not stop the next. A case that breaks the CUDA context, after which every call fails, ends the
process with the code BROKEN; the visit then starts another, which continues after that case.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# Exit code of a process whose CUDA context is broken.
BROKEN = 86
Values = dict[str, Any]


class Skipped(Exception):
    """A case can't be done here; the message says why."""


class NotNeeded(Exception):
    """The results so far make a step unnecessary; the message says which."""


@dataclass(frozen=True)
class Case:
    """A part of a step: a unique name, and the work, which returns its entry in the results."""

    name: str
    work: Callable[[], Values]


@dataclass
class Rows:
    """The way back to the visit.

    Args:
        descriptor: of the pipe.
        seen: cases to leave out: an earlier process has finished them.
        again: cases to do after all others: an earlier visit did not finish them.
    """

    descriptor: int
    seen: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()

    def send(self, **values: Any) -> None:
        data = json.dumps(plain(values), default=str).encode() + b"\n"
        while data:
            data = data[os.write(self.descriptor, data) :]

    def begin(self, name: str) -> None:
        self.send(case=name, state="begun")

    def end(self, name: str, state: str, **values: Any) -> None:
        self.send(case=name, state=state, values=values)


def plain(value: Any) -> Any:
    """Return the same values, with NaN and infinities, which JSON lacks, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def run_cases(rows: Rows, cases: Iterable[Case]) -> None:
    """Run the cases not seen yet, then those to be done again."""
    later = []
    for case in cases:
        if case.name in rows.again:
            later.append(case)
        elif case.name not in rows.seen:
            run_case(rows, case)
    for case in later:
        run_case(rows, case)


def run_case(rows: Rows, case: Case) -> None:
    print(f"--- {case.name}", flush=True)
    rows.begin(case.name)
    begin = time.monotonic()
    try:
        values = case.work()
    except Skipped as reason:
        rows.end(case.name, "skipped", reason=str(reason))
        return
    # Every error is reported for this case; the next may succeed.
    except Exception as error:
        traceback.print_exc()
        rows.end(case.name, "failed", reason=f"{type(error).__name__}: {error}"[:2000], took_s=time.monotonic() - begin)
        if not context_works():
            print(f"--- {case.name} has broken the CUDA context", flush=True)
            sys.stdout.flush()
            os._exit(BROKEN)
        return
    state = values.pop("state", "ok")
    rows.end(case.name, state, **values, took_s=time.monotonic() - begin)


def context_works() -> bool:
    """Return whether CUDA still works; true if no call was made."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
            torch.zeros(1, device="cuda").item()
    except Exception:
        return False
    return True


def need_device(device: str) -> None:
    """Raise Skipped if there is no such device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Skipped("no CUDA device")
