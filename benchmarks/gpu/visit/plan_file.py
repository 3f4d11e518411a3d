"""The measured plan of a visit, as a file that `cpm_fast.ops.plans.measured` reads.

Only the standard library is used: the first steps run before anything is installed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from benchmarks.gpu.visit.results import Results

FORMAT, VERSION = "cpm_fast cuda plan", 1


def write_plan(results: Results) -> list[Path]:
    """Write the measurements so far beside results.json, by the chip's name; write no file if there are none."""
    values = plan_of(results)
    if not values["convolutions"] and not values["blocks"]:
        return []
    slug = re.sub(r"[^a-z0-9]+", "-", values["chip"].lower()).strip("-")
    path = results.folder / f"cuda-plan-{slug}.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(as_text(values), encoding="utf-8")
    os.replace(temporary, path)
    return [path]


def plan_of(results: Results) -> dict[str, Any]:
    facts = cases_of(results, "environment").get("torch", {})
    versions = cases_of(results, "environment").get("versions", {}).get("packages", {})
    convolutions = [
        {**case["convolution"], "milliseconds": case["milliseconds"]}
        for case in cases_of(results, "plan").values()
        if "direct" in case.get("milliseconds", {})
    ]
    blocks = [
        {"for": case["block"], "block": case["best"]}
        for case in cases_of(results, "tiles").values()
        if case.get("best")
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "rehearsal": results.rehearsal,
        "chip": "rehearsal" if results.rehearsal else facts.get("name") or "unknown",
        "made": {"torch": facts.get("torch"), "triton": versions.get("triton"), "visits": results.values["visits"]},
        "convolutions": convolutions,
        "blocks": blocks,
    }


def cases_of(results: Results, step: str) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = results.steps.get(step, {}).get("cases", {})
    return cases


def as_text(values: dict[str, Any]) -> str:
    """Return JSON with one line per entry."""
    parts = [
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items() if not isinstance(value, list)
    ]
    for name in ("convolutions", "blocks"):
        lines = ",\n".join(json.dumps(entry) for entry in values[name])
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{" + ",\n".join(parts) + "}\n"
