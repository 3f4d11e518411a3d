"""State machines of hypothesis: two fixed runs per commit, many random ones in .ci/nightly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

# CPM_FAST_MACHINE_RUNS is the number of runs, each with other events.
LONG = "CPM_FAST_MACHINE_RUNS" in os.environ
RUNS, STEPS = int(os.environ.get("CPM_FAST_MACHINE_RUNS", "2")), 6


def run_machine(machine: type[RuleBasedStateMachine], steps: int = STEPS) -> None:
    """Run a state machine for so many steps."""
    checks: list[HealthCheck] = list(HealthCheck)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=checks,
            derandomize=not LONG,
        ),
    )
