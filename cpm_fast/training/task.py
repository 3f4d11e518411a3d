"""The task of a training, locating parts or finding subjects, with all that a run does differently for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import Batch, TrainingItems, blank_batch
from cpm_fast.data.mapped import Mapped, mapped
from cpm_fast.data.sample import Dataset
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.data.scenes.loader import SceneBatch, SceneItems, blank_scenes
from cpm_fast.evaluation import evaluate
from cpm_fast.evaluation.finding.finder import evaluate_finder
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import TrainingConfig
from cpm_fast.training.targets.finding import FinderTargets, finder_targets
from cpm_fast.training.targets.loss import Targets, make_targets
from cpm_fast.training.targets.teacher import Teacher

AnyBatch = Batch | SceneBatch
AnyTargets = Targets | FinderTargets


@dataclass(frozen=True)
class Validation:
    """The outcome of one validation set.

    Args:
        row: for the metrics log.
        score: the larger the better.
        text: the score in words.
    """

    row: dict[str, Any]
    score: float
    text: str


class Task(Protocol):
    """The parts of a run that depend on its task."""

    def items(self, data: Sequence[Dataset], seed: int) -> TrainingItems | SceneItems:
        """Return the data to train on; raise ValueError if a dataset can't serve."""
        ...

    def blank(self, count: int) -> AnyBatch:
        """Return a batch of `count` blank samples."""
        ...

    def targets(self, batch: Any) -> AnyTargets:
        """Return the targets of a batch, on its device."""
        ...

    def validate(self, model: CPM, dataset: Dataset, batch: int, device: torch.device) -> Validation:
        """Score a validation set."""
        ...

    def calibrated(self, rows: Iterable[dict[str, Any]]) -> NetworkConfig:
        """Return the network to keep, with the calibration of the last validation in a log."""
        ...


class PoseTask:
    """The task of locating the parts of subjects in regions.

    Args:
        network, config: the network and the training.
        device: of the run.
    """

    def __init__(self, network: NetworkConfig, config: TrainingConfig, device: torch.device) -> None:
        self.network, self.config = network, config
        self.teacher = Teacher.load(config.teacher, network, config.teacher_share, device) if config.teacher else None

    def items(self, data: Sequence[Dataset], seed: int) -> TrainingItems:
        filled = [mapped(dataset, self.network.skeleton) for dataset in data]
        for dataset in filled:
            if isinstance(dataset, Mapped) and dataset.missing and self.config.loss_mode == "zero":
                raise ValueError(
                    f"{dataset.name}: lacks {', '.join(dataset.missing)}, so loss_mode must be 'mask', got 'zero'"
                )
        return TrainingItems(filled, self.network, self.config.augmentation, seed)

    def blank(self, count: int) -> Batch:
        return blank_batch(self.network, count)

    def targets(self, batch: Batch) -> Targets:
        targets = make_targets(batch, self.network, self.config.part_sigma, self.config.loss_mode)
        return targets if self.teacher is None else self.teacher.softened(targets, batch)

    def validate(self, model: CPM, dataset: Dataset, batch: int, device: torch.device) -> Validation:
        result = evaluate(model, dataset, batch=batch, device=str(device), progress=False)
        pck = [score.mean for score in result.stages]
        last = result.stages[-1]
        text = f"{dataset.name}  PCK@0.2 " + "  ".join(f"stage {t} {100 * value:.1f}" for t, value in enumerate(pck, 1))
        return Validation(
            {"data": dataset.name, "pck": pck, "samples": last.samples, "left_out": last.left_out}, pck[-1], text
        )

    def calibrated(self, rows: Iterable[dict[str, Any]]) -> NetworkConfig:
        del rows
        return self.network


class FindTask:
    """The task of finding subjects in pictures.

    Args:
        network, config: the network and the training.
        backgrounds: pictures without subjects, or None.

    Raises:
        ValueError: the network has no map of sides, or the training is one of networks that locate parts.
    """

    def __init__(self, network: NetworkConfig, config: TrainingConfig, backgrounds: Backgrounds | None = None) -> None:
        if config.teacher or config.robust:
            raise ValueError("teacher and robust are for networks that locate parts, got a finder")
        if not network.side_map:
            raise ValueError(
                "a finder that is trained must have a map of sides, got one without, as the release's person network; "
                "--preset finder has one"
            )
        self.network, self.config = network, config
        self.backgrounds = backgrounds or Backgrounds([])

    def items(self, data: Sequence[Dataset], seed: int) -> SceneItems:
        same = [mapped(dataset, data[0].skeleton) for dataset in data]
        return SceneItems(TrainingItems(same, self.network, self.config.augmentation, seed), self.backgrounds)

    def blank(self, count: int) -> SceneBatch:
        return blank_scenes(self.network, count)

    def targets(self, batch: SceneBatch) -> FinderTargets:
        return finder_targets(batch, self.network)

    def validate(self, model: CPM, dataset: Dataset, batch: int, device: torch.device) -> Validation:
        del batch, device
        found = evaluate_finder(model, dataset)
        row = {"data": dataset.name, **found.row()}
        return Validation(row, found.f_score, f"{dataset.name}  {found}")

    def calibrated(self, rows: Iterable[dict[str, Any]]) -> NetworkConfig:
        validations = [row for row in rows if "threshold" in row]
        last = [row["threshold"] for row in validations if row["step"] == validations[-1]["step"]]
        if not last:
            return self.network
        return replace(self.network, find_score=round(sum(last) / len(last), 3))


def task_of(
    network: NetworkConfig, config: TrainingConfig, device: torch.device, backgrounds: Backgrounds | None = None
) -> Task:
    """Return the task of a network's kind.

    Raises:
        ValueError: backgrounds are given for a network that locates parts.
    """
    if network.kind == "find":
        return FindTask(network, config, backgrounds)
    if backgrounds is not None:
        raise ValueError(f"backgrounds are for the training of a finder, got {backgrounds.name} for a pose network")
    return PoseTask(network, config, device)
