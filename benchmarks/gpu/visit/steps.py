"""The steps of a visit, the most useful first, each with its limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One part of a visit, done in its own process.

    Args:
        name: in results.json and after --step.
        limit_s: seconds after which its process is killed.
        about: one line for --list.
        module: below benchmarks.gpu; its `cases(device, name)` gives the step's cases.
        every_time: whether a resumed visit does it again, since its effect may be gone with the machine.
    """

    name: str
    limit_s: float
    about: str
    module: str
    every_time: bool = False


STEPS = (
    Step("environment", 45, "versions, the GPU, and the tools that are there", "testing.environment", every_time=True),
    Step("build", 180, "install the package with its CUDA part, and import it", "testing.build", every_time=True),
    Step("doctor", 30, "cpm-fast doctor", "testing.doctor"),
    Step("compile", 75, "compile the later steps' kernels on every core", "testing.compile_ahead", every_time=True),
    Step("core-tests", 75, "the smallest tests of the Triton kernels", "testing.tests_run"),
    Step("other-ptxas", 75, "the core tests with the toolkit's ptxas, if they failed", "testing.tests_run"),
    Step("cuda-ops-tests", 75, "tests of the ops whose kernels are CUDA C++", "testing.tests_run"),
    Step("parity", 75, "networks in every precision, ours and cuDNN's, against float64", "contests.parity"),
    Step("network", 100, "networks forward, against cuDNN's best", "contests.network_times"),
    Step("tests", 150, "all other tests marked gpu", "testing.tests_run"),
    Step("compile-plan", 60, "compile the kernels that the next steps try, on every core", "testing.compile_ahead"),
    Step("plan", 120, "direct against spectral, tile by tile, per layer: a plan for this chip", "tuning.plan_table"),
    Step("training", 75, "training steps, against cuDNN's best", "contests.training_times"),
    Step("layers", 75, "layers forward and backward, against cuDNN's best", "contests.layer_times"),
    Step("tiles", 75, "blocks, warps and stages of the longest kernels: more of the plan", "tuning.tile_table"),
    Step("memcheck", 75, "core tests under compute-sanitizer --tool memcheck", "testing.sanitizer"),
    Step("racecheck", 75, "core tests under compute-sanitizer --tool racecheck", "testing.sanitizer"),
    Step("counters", 75, "ncu's counters of the five longest kernels", "contests.counters"),
)
NAMES = tuple(step.name for step in STEPS)


def step_of(name: str) -> Step:
    """Return the step with a name.

    Raises:
        ValueError: there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise ValueError(f"step must be one of {', '.join(NAMES)}, got {name}")
