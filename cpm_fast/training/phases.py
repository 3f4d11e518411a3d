"""The four training schemes that Wei et al. 2016 compare (section 4.2.1 and Figure 6b), as phases of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpm_fast.model.layers import CPM_STAGE_OUTPUT, Layer
from cpm_fast.recipes import TrainingConfig


@dataclass(frozen=True)
class Phase:
    """Steps of a run with the same losses and the same trainable weights.

    Args:
        first, last: the steps from `first` (counted from 0) to below `last`.
        stages: number of stages that run.
        supervised: stages whose losses count, from 1.
        learning: the stage that learns, with its trunk; None: everything does.
    """

    first: int
    last: int
    stages: int
    supervised: tuple[int, ...]
    learning: int | None = None

    @property
    def steps(self) -> int:
        return self.last - self.first


def run_phases(config: TrainingConfig, stages: int, steps: int) -> tuple[Phase, ...]:
    """Return the phases of a run of `steps` steps, in order; a phase may be empty.

    "joint": all stages from the start, each with its loss (Eq. 5). "final_only": all stages, the last one's loss alone.
    "stagewise": stage after stage, each on the output of the frozen ones before it, with equally many steps (the paper
    gives no number). "stagewise_then_joint": half of the steps stagewise, half joint.
    """
    every = tuple(range(1, stages + 1))
    match config.scheme:
        case "joint":
            return (Phase(0, steps, stages, every),)
        case "final_only":
            return (Phase(0, steps, stages, (stages,)),)
    alone = steps if config.scheme == "stagewise" else steps // 2
    edges = [round(stage * alone / stages) for stage in range(stages + 1)]
    phases = [Phase(edges[stage - 1], edges[stage], stage, (stage,), stage) for stage in every]
    if alone < steps:
        phases.append(Phase(alone, steps, stages, every))
    return tuple(phases)


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """Return the phase of a step; the last one after the end."""
    return next((phase for phase in phases if phase.first <= step < phase.last), phases[-1])


def frozen_layers(layers: Sequence[Layer], phase: Phase) -> frozenset[str]:
    """Return the convolutions that are frozen in a phase: those of other stages and of other stages' trunks."""
    convs = [layer for layer in layers if layer.kind == "conv"]
    if phase.learning is None:
        return frozenset()
    trunk = {1: "trunk1", 2: "trunk2"}.get(phase.learning)
    return frozenset(
        layer.name
        for layer in convs
        if layer.stage != phase.learning and not (layer.stage == 0 and trunk and layer.name.startswith(trunk))
    )


def block_layers(layers: Sequence[Layer], blocks: int) -> frozenset[str]:
    """Return the convolutions of the first blocks of every trunk."""
    first = tuple(f"trunk{trunk}_block{block}_" for trunk in (1, 2) for block in range(1, blocks + 1))
    return frozenset(layer.name for layer in layers if layer.kind == "conv" and layer.name.startswith(first))


def layers_of(layers: Sequence[Layer], phase: Phase) -> tuple[Layer, ...]:
    """Return the layers that run in a phase: all up to the beliefs of its last stage."""
    last = CPM_STAGE_OUTPUT.format(phase.stages)
    count = next(number for number, layer in enumerate(layers, 1) if layer.name == last)
    return tuple(layers[:count])
