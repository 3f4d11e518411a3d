"""The process of one step: python benchmarks/gpu_visit.py --worker STEP --device DEVICE --rows NUMBER."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module

from benchmarks.gpu.visit.cases import NotNeeded, Rows, Skipped, run_cases
from benchmarks.gpu.visit.processes import AGAIN, SEEN, die_with_parent
from benchmarks.gpu.visit.steps import step_of


def names_of(variable: str) -> frozenset[str]:
    """Return the list in the file that a variable names; empty if it is unset."""
    path = os.environ.get(variable)
    if not path:
        return frozenset()
    with open(path, encoding="utf-8") as file:
        return frozenset(json.load(file))


def main(arguments: list[str]) -> int:
    """Return 0 when the step has ended, with any results of its cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--rows", type=int, required=True)
    chosen = parser.parse_args(arguments)
    die_with_parent()
    step, rows = step_of(chosen.worker), Rows(chosen.rows, names_of(SEEN), names_of(AGAIN))
    try:
        module = import_module(f"benchmarks.gpu.{step.module}")
        run_cases(rows, module.cases(step.name, chosen.device, rows))
    except Skipped as reason:
        rows.send(step="skipped", reason=str(reason))
    except NotNeeded as reason:
        rows.send(step="not needed", reason=str(reason))
    sys.stdout.flush()
    return 0
