"""Step: `cpm-fast doctor`, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.visit.cases import Case, Rows, Values
from benchmarks.gpu.visit.tools import left_s, python, run


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    yield Case("doctor", doctor)


def doctor() -> Values:
    code, text = run(python("-m", "cpm_fast", "doctor"), left_s())
    return {"state": "failed" if code else "ok", "code": code, "lines": text.splitlines()}
