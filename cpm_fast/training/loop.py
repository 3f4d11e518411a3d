"""The training loop: a run folder that holds all that is needed to go on, and to see what was done."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import Batch, TrainingItems, steps_per_epoch, training_batches
from cpm_fast.data.sample import Dataset
from cpm_fast.evaluation import evaluate
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.recipes import TrainingConfig
from cpm_fast.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from cpm_fast.training.interrupt import interrupts_held
from cpm_fast.training.journal import (
    BATCH_FILE,
    CONFIG_FILE,
    CURVES_FILE,
    METRICS_FILE,
    Metrics,
    draw_batch,
    draw_curves,
    versions,
    write_json,
)
from cpm_fast.training.loss import make_targets
from cpm_fast.training.memory import keep_freed_memory
from cpm_fast.training.schemes import make_optimizer, rate_factor, set_rate
from cpm_fast.training.update import update
from cpm_fast.weights import find_device

LAST_FILE, BEST_FILE, FINAL_FILE = "last.safetensors", "best.safetensors", "final.safetensors"
LOG_EVERY_STEPS = 20
MOST_WORKERS = 8


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; nothing here changes its result.

    Args:
        workers: loader processes; None: one a core, at most 8.
        device: "auto", "cpu" or "cuda".
        save_every: steps between checkpoints.
        validate_every: epochs between validations.
        stop_after: stop, saved, after this step (for tests of resuming).
        quiet: no progress bar.

    Raises:
        ValueError: a number is out of its range.
    """

    workers: int | None = None
    device: str = "auto"
    save_every: int = 500
    validate_every: float = 1.0
    stop_after: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers must be 0 or more, got {self.workers}")
        if self.save_every < 1:
            raise ValueError(f"save_every must be at least 1 step, got {self.save_every}")
        if not 0 < self.validate_every < math.inf:
            raise ValueError(f"validate_every must be a positive number of epochs, got {self.validate_every}")


class TrainingError(RuntimeError):
    """Training can't go on; the message says from what and where the run stands."""


def train(
    network: NetworkConfig,
    config: TrainingConfig,
    data: Sequence[Dataset],
    validation: Sequence[Dataset],
    run: Path,
    *,
    resume: bool = False,
    options: RunOptions | None = None,
    about: dict[str, Any] | None = None,
) -> CPM:
    """Train a network into a run folder.

    The folder gets config.json, metrics.jsonl, curves.png, batch0.png (drawn before the first step), last.safetensors
    (the whole state), best.safetensors (weights of the best validation) and final.safetensors. Order, augmentation
    and dropout are functions of seed, epoch, step and sample, so on a CPU, with as many threads, a resumed run equals
    an unbroken one bit for bit.

    Args:
        network, config: what to train, and how.
        data: datasets to train on, one behind the other, all with the network's skeleton.
        validation: datasets to score after every epoch, each by itself; may be empty.
        run: the folder; must not hold a run unless `resume`.
        resume: go on from the folder's last checkpoint; starts anew where there is none yet.
        options: how it is carried out.
        about: what config.json should say beside, for instance where the data is.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
        ValueError: a dataset's skeleton is not the network's, there is no sample, or the folder's run is of another
            network or recipe.
        RuntimeError: the device is not there, or the precision is not for it.
        TrainingError: the loss or a weight is not finite; it names the step.
        KeyboardInterrupt: passed on after the step is done and the state is saved; a second one at once, unsaved.
    """
    return _Run(network, config, data, validation, run, options or RunOptions()).go(resume, about or {})


class _Run:
    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        data: Sequence[Dataset],
        validation: Sequence[Dataset],
        run: Path,
        options: RunOptions,
    ) -> None:
        for dataset in (*data, *validation):
            if dataset.skeleton.names != network.skeleton.names:
                raise ValueError(
                    f"{dataset.name}: parts must be the network's {list(network.skeleton.names)}, "
                    f"got {list(dataset.skeleton.names)}"
                )
        if sum(len(dataset) for dataset in data) == 0:
            raise ValueError("data must hold at least one sample, got none")
        self.network, self.config, self.options = network, config, options
        self.validation, self.run = validation, run
        filled = [dataset for dataset in data if len(dataset)]
        self.items = TrainingItems(filled, network, config.augmentation, config.seed)
        self.batch = min(config.batch, len(self.items))
        self.per_epoch = steps_per_epoch(len(self.items), self.batch)
        self.steps = max(1, round(config.epochs * self.per_epoch))
        self.last = self.steps if options.stop_after is None else min(self.steps, options.stop_after)
        self.validate_every = max(1, round(options.validate_every * self.per_epoch))
        self.device = find_device(options.device)
        if config.precision == "tf32" and self.device.type != "cuda":
            raise RuntimeError(f"precision tf32 is for CUDA, got device {self.device}")
        self.metrics = Metrics(run / METRICS_FILE)
        # Losses of the steps since the last line of metrics, and the samples seen since the clock was set.
        self.window: list[torch.Tensor] = []
        self.seen, self.clock = 0, time.monotonic()

    def go(self, resume: bool, about: dict[str, Any]) -> CPM:
        if not resume and (self.run / CONFIG_FILE).exists():
            raise FileExistsError(f"{self.run} holds a run already; go on with --resume {self.run}, or name another")
        if (self.run / CONFIG_FILE).exists():
            self.check_config()
        self.run.mkdir(parents=True, exist_ok=True)
        if self.device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(self.config.seed)
        model = CPM(self.network).to(self.device)
        optimizer = make_optimizer(model, self.config)
        progress = Progress()
        if resume and (self.run / LAST_FILE).exists():
            progress = load_checkpoint(self.run / LAST_FILE, model, optimizer)
        self.metrics.rewind(progress.step)
        if not (self.run / CONFIG_FILE).exists():
            described = {"network": self.network.to_dict(), "training": self.config.to_dict()}
            write_json(self.run / CONFIG_FILE, {**about, **described, "versions": versions()})
        progress = self.steps_from(progress, model, optimizer)
        if progress.step == self.steps:
            save_model(model.eval(), self.run / FINAL_FILE)
        return model

    def check_config(self) -> None:
        path = self.run / CONFIG_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            network, config = NetworkConfig.from_dict(values["network"]), TrainingConfig.from_dict(values["training"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not the config of a run: {error}") from None
        for name, own, given in (("network", network, self.network), ("recipe", config, self.config)):
            if own != given:
                raise ValueError(f"{path}: the run has another {name} than the one to go on with")

    def steps_from(self, progress: Progress, model: CPM, optimizer: torch.optim.Optimizer) -> Progress:
        """Run the steps that are left, or those up to `stop_after`; leaves a checkpoint behind."""
        workers = self.options.workers
        if workers is None:
            workers = min(MOST_WORKERS, os.cpu_count() or 1)
        batches = training_batches(self.items, self.batch, self.config.seed, progress.step, self.last, workers)
        self.window = [torch.tensor(losses, device=self.device) for losses in progress.unlogged]
        self.seen, self.clock = 0, time.monotonic()
        bar = tqdm(batches, initial=progress.step, total=self.steps, unit="step", disable=self.options.quiet)
        whole = True  # whether weights, optimizer and progress are of one step
        try:
            for batch in bar:
                with interrupts_held():
                    whole = False
                    progress = self.advance(progress, batch, model, optimizer, bar)
                    whole = True
        except KeyboardInterrupt:
            if whole:
                self.save(progress, model, optimizer)
                done = f"stopped after step {progress.step}, saved"
            else:
                done = f"stopped within step {progress.step + 1}, which is lost with all after the last checkpoint"
            tqdm.write(f"{done}; go on with: cpm-fast train --resume {self.run}")
            raise
        finally:
            bar.close()
        return progress

    def advance(
        self, progress: Progress, batch: Batch, model: CPM, optimizer: torch.optim.Optimizer, bar: tqdm
    ) -> Progress:
        """One step, and what is due after it: metrics, validation, checkpoint."""
        for message in batch.unreadable:
            tqdm.write(message)
        self.window.append(self.step(progress.step, batch, model, optimizer))
        self.seen += len(batch.crops)
        progress = replace(progress, step=progress.step + 1)
        step = progress.step
        if step % LOG_EVERY_STEPS == 0 or step == self.steps:
            bar.set_postfix_str(self.log(step, model, optimizer))
        validate = step % self.validate_every == 0 or step == self.steps
        if validate:
            self.check_finite(step, model)
            started = time.monotonic()
            progress = self.validate(model, progress)
            self.clock += time.monotonic() - started
        if validate or step % self.options.save_every == 0 or step == self.last:
            self.save(progress, model, optimizer)
        return progress

    def log(self, step: int, model: CPM, optimizer: torch.optim.Optimizer) -> str:
        """Write the means since the last line of metrics; returns them for the progress bar."""
        self.check_finite(step, model)
        means = torch.stack(self.window).mean(dim=0).tolist()
        per_second = self.seen / (time.monotonic() - self.clock)
        self.metrics.write({
            "step": step, "epoch": step / self.per_epoch, "losses": means,
            "rate": optimizer.param_groups[0]["lr"], "samples_per_second": per_second,
        })  # fmt: skip
        self.window.clear()
        self.seen, self.clock = 0, time.monotonic()
        return " ".join(f"s{t} {value:.2f}" for t, value in enumerate(means, 1)) + f" {per_second:.0f} img/s"

    def save(self, progress: Progress, model: CPM, optimizer: torch.optim.Optimizer) -> None:
        self.check_finite(progress.step, model)
        unlogged = tuple(tuple(losses.tolist()) for losses in self.window)
        save_checkpoint(self.run / LAST_FILE, model, optimizer, replace(progress, unlogged=unlogged))

    def check_finite(self, step: int, model: CPM) -> None:
        """Refuse to go on with, or to save, what is not finite.

        Raises:
            TrainingError: a loss since the last line of metrics, or a weight, is not finite.
        """
        for at, losses in enumerate(self.window, step - len(self.window) + 1):
            if not bool(losses.isfinite().all()):
                problem = f"the losses of the stages are {losses.tolist()} at step {at}"
                break
        else:
            if all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
                return
            problem = f"weights are not finite after step {step}"
        last = self.run / LAST_FILE
        state = f"the last good state is in {last}" if last.exists() else "no state was saved before"
        raise TrainingError(f"{problem}: lower the learning rate; {state}")

    def step(self, step: int, batch: Batch, model: CPM, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        """One update; returns the loss of every stage, [T]."""
        torch.manual_seed(self.config.seed * 1_000_003 + step)  # dropout is a function of seed and step
        batch = batch.to(self.device)
        targets = make_targets(batch, self.network, self.config.part_sigma, self.config.loss_mode)
        if step == 0:
            draw_batch(batch, targets, self.network, self.run / BATCH_FILE)
        factor = rate_factor(self.config, step, self.steps, len(self.items) / self.batch)
        set_rate(optimizer, self.config.learning_rate * factor)
        return update(model, optimizer, batch, targets, self.config)

    def validate(self, model: CPM, progress: Progress) -> Progress:
        """Score every validation set; the mean of their last stages decides which weights are best."""
        scores = []
        for dataset in self.validation:
            result = evaluate(model, dataset, batch=self.batch, device=str(self.device), progress=False)
            pck = [score.mean for score in result.stages]
            scores.append(pck[-1])
            self.metrics.write({"step": progress.step, "epoch": progress.step / self.per_epoch,
                                "data": dataset.name, "pck": pck, "samples": result.stages[-1].samples,
                                "left_out": result.stages[-1].left_out})  # fmt: skip
            tqdm.write(
                f"step {progress.step}  {dataset.name}  PCK@0.2 "
                + "  ".join(f"stage {t} {100 * value:.1f}" for t, value in enumerate(pck, 1))
            )
        draw_curves(self.metrics, self.run / CURVES_FILE)
        if scores and sum(scores) / len(scores) > progress.best_score:
            save_model(model, self.run / BEST_FILE)
            return replace(progress, best_score=sum(scores) / len(scores), best_step=progress.step)
        return progress
