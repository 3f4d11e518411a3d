"""A run under way: its steps, the work that is due after them, and its files."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import steps_per_epoch, training_batches
from cpm_fast.data.sample import Dataset
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.model.cpm import CPM
from cpm_fast.model.tensor_file import write_network
from cpm_fast.recipes import TrainingConfig
from cpm_fast.system.files import remove_leftovers
from cpm_fast.system.interrupt import interrupts_held
from cpm_fast.system.progress import is_quiet
from cpm_fast.system.ranks import Ranks
from cpm_fast.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from cpm_fast.training.diagnostics import GRADIENTS_FILE, gradient_histograms, what_is_not_finite
from cpm_fast.training.folder import RunFolder, sample_counts
from cpm_fast.training.forward import Forward
from cpm_fast.training.inputs import INPUTS_FILE, Digests, check_inputs, input_digests, write_inputs
from cpm_fast.training.metrics_log import METRICS_FILE, MetricsLog
from cpm_fast.training.optimization import WeightAverage, make_optimizer, rate_factor, set_rate
from cpm_fast.training.options import RunOptions, TrainingError
from cpm_fast.training.phases import Phase, block_layers, phase_at, run_phases
from cpm_fast.training.pictures import BATCH_FILE, CURVES_FILE, draw_batch, draw_curves
from cpm_fast.training.start import start_from
from cpm_fast.training.task import AnyBatch, AnyTargets, task_of
from cpm_fast.training.update import update

LOG_EVERY_STEPS = 20


class Run:
    """A training run between its first step and its last.

    Args:
        network, config, data, validation, options, backgrounds: as for `train`.
        folder: of the run.
        ranks: the processes that share it.

    Raises:
        ValueError: a dataset lacks a part and unlabeled parts count as absent, or there are too few samples.
        RuntimeError: the precision is not for the device.
    """

    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        data: Sequence[Dataset],
        validation: Sequence[Dataset],
        folder: RunFolder,
        options: RunOptions,
        ranks: Ranks,
        backgrounds: Backgrounds | None = None,
    ) -> None:
        filled = [dataset for dataset in data if len(dataset)]
        if not filled:
            raise ValueError("data must hold at least one sample, got none")
        self.network, self.config, self.options = network, config, options
        self.validation, self.folder = validation, folder
        self.backgrounds = backgrounds or Backgrounds([])
        self.ranks, self.device = ranks, ranks.device
        self.samples = sample_counts(data, validation)
        self.task = task_of(network, config, ranks.device, backgrounds)
        self.items = self.task.items(filled, config.seed)
        self.batch = min(config.batch, len(self.items))
        if self.batch < ranks.world:
            raise ValueError(f"batch must be at least one sample per process ({ranks.world}), got {self.batch}")
        self.per_epoch = steps_per_epoch(len(self.items), self.batch)
        self.steps = max(1, round(config.epochs * self.per_epoch))
        self.last = self.steps if options.stop_after is None else min(self.steps, options.stop_after)
        self.validate_every = max(1, round(options.validate_every * self.per_epoch))
        if config.precision == "tf32" and self.device.type != "cuda":
            raise RuntimeError(f"precision tf32 is for CUDA, got device {self.device}")
        self.phases = run_phases(config, network.stages, self.steps)
        self.metrics = MetricsLog(folder.path / METRICS_FILE)
        self.gradients = MetricsLog(folder.path / GRADIENTS_FILE)
        # Losses of the steps since the last line of metrics, and the samples seen since the clock was set.
        self.window: list[torch.Tensor] = []
        self.seen, self.clock = 0, time.monotonic()
        self.average: WeightAverage | None = None
        self.phase = self.phases[0]
        self.forward: torch.nn.Module | None = None
        self.frozen_blocks = 0
        # Samples that could not be read, since the last line of metrics and in all, and steps in a row without any.
        self.unreadable, self.left_out, self.skipped = 0, 0, 0
        self.reported: set[str] = set()

    def go(self, resume: bool, about: dict[str, Any], start: str | Path | None) -> CPM:
        self.folder.check(resume, self.network, self.config, self.samples)
        inputs = input_digests([*self.items.datasets, *self.validation, self.backgrounds]) if self.ranks.main else {}
        if resume and self.ranks.main:
            check_inputs(self.folder.path / INPUTS_FILE, inputs)
        self.ranks.wait()  # every process has looked before one writes
        torch.manual_seed(self.config.seed)
        model = CPM(self.network)
        going_on = resume and self.folder.last.exists()
        loaded = start_from(model, start) if start is not None and not going_on else None
        self.frozen_blocks = 0 if start is None else self.config.frozen_blocks
        if loaded is not None:
            loaded.check_whole(block_layers(model.layers, self.frozen_blocks))
        model = model.to(self.device)
        optimizer = make_optimizer(model, self.config)
        progress = Progress()
        self.average = WeightAverage(model, self.config.average) if self.config.average else None
        if going_on:
            progress = load_checkpoint(self.folder.last, model, optimizer, self.averaged())
        self.ranks.wait()  # every process has read before one writes
        if self.ranks.main:
            self.prepare_folder(progress, about, inputs)
            if loaded is not None:
                self.folder.write_start(loaded.table())
        self.enter(phase_at(self.phases, progress.step), model)
        if self.due(progress.step) and progress.validated < progress.step:
            progress = self.validate(model, progress)
        progress = self.steps_from(progress, model, optimizer)
        if self.left_out and self.ranks.main:
            tqdm.write(f"left out {self.left_out} times a sample that could not be read; run cpm-fast data check")
        if progress.step == self.steps and self.ranks.main:
            with self.folder.writing(self.folder.final):
                self.keep(model, self.folder.final)
        return self.judged(model)

    def averaged(self) -> CPM | None:
        return None if self.average is None else self.average.model

    def judged(self, model: CPM) -> CPM:
        """Return the weights that are scored and kept."""
        return model if self.average is None else self.average.model

    def keep(self, model: CPM, path: Path) -> None:
        """Write the weights to keep, with the calibration of their last validation."""
        network = self.task.calibrated(self.metrics.rows())
        write_network(self.judged(model).eval().state_dict(), network, path)

    def enter(self, phase: Phase, model: CPM) -> None:
        """Set the stages that run and the weights that learn in a phase."""
        self.phase = phase
        self.forward = Forward(model, phase, self.options.recompute, self.frozen_blocks)
        if self.ranks.world > 1:
            self.forward = DistributedDataParallel(self.forward, [self.device] if self.device.type == "cuda" else None)

    def prepare_folder(self, progress: Progress, about: dict[str, Any], inputs: Digests) -> None:
        """Restore the folder's state of a step."""
        remove_leftovers(self.folder.path)
        with self.folder.writing(self.metrics.path):
            self.metrics.rewind(progress.step, progress.validated)
        if self.options.gradients_every:
            with self.folder.writing(self.gradients.path):
                self.gradients.rewind(progress.step)
        with self.folder.writing(self.folder.path / INPUTS_FILE):
            if not (self.folder.path / INPUTS_FILE).exists():
                write_inputs(self.folder.path / INPUTS_FILE, inputs)
        description = {
            **about,
            "network": self.network.to_dict(),
            "training": self.config.to_dict(),
            "samples": self.samples,
            "options": self.options.kept(),
            "processes": self.ranks.world,
        }
        self.folder.describe(description)

    def steps_from(self, progress: Progress, model: CPM, optimizer: torch.optim.Optimizer) -> Progress:
        """Run the remaining steps, or those up to `stop_after`, and write a checkpoint at the end."""
        workers = self.options.loader_workers(self.ranks.local)
        steps, rank, world = (progress.step, self.last), self.ranks.rank, self.ranks.world
        batches = training_batches(self.items, self.batch, self.config.seed, *steps, workers, rank, world)
        self.window = [torch.tensor(losses, device=self.device) for losses in progress.unlogged]
        self.seen, self.clock = 0, time.monotonic()
        silent = self.options.quiet or is_quiet() or not self.ranks.main
        bar = tqdm(batches, initial=progress.step, total=self.steps, unit="step", disable=silent)
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
            if self.ranks.main:
                resume = shlex.join(["cpm-fast", "train", "--resume", str(self.folder.path)])
                tqdm.write(f"{done}; resume with: {resume}")
            raise
        finally:
            bar.close()
        return progress

    def advance(
        self, progress: Progress, batch: AnyBatch, model: CPM, optimizer: torch.optim.Optimizer, bar: tqdm
    ) -> Progress:
        """Do one step, and the work that is due after it: metrics, checkpoint, validation."""
        self.note_unreadable(progress.step, batch)
        samples = self.ranks.total(len(batch.crops))
        self.skipped = 0 if samples else self.skipped + 1
        if samples:
            self.window.append(self.step(progress.step, batch, samples, model, optimizer))
        elif self.skipped >= self.per_epoch:
            raise TrainingError(
                f"no sample of {self.skipped} batches up to step {progress.step + 1} could be read; the last: "
                f"{batch.unreadable[-1] if batch.unreadable else 'of another process'}; run cpm-fast data check; "
                f"{self.folder.state()}"
            )
        progress = replace(progress, step=progress.step + 1)
        step = progress.step
        if step % LOG_EVERY_STEPS == 0 or step == self.steps:
            bar.set_postfix_str(self.log(step, model, optimizer))
        if self.due(step) or step % self.options.save_every == 0 or step == self.last:
            self.save(progress, model, optimizer)
        if self.due(step):
            # The step is saved before the validation, so that it can't be lost.
            started = time.monotonic()
            progress = self.validate(model, progress)
            self.save(progress, model, optimizer)
            self.clock += time.monotonic() - started
        return progress

    def note_unreadable(self, step: int, batch: AnyBatch) -> None:
        """Count the samples of a batch that could not be read, and report each once."""
        for message in batch.unreadable:
            if message not in self.reported:
                self.reported.add(message)
                tqdm.write(message)
        self.unreadable += len(batch.unreadable)
        self.left_out += len(batch.unreadable)
        if batch.unreadable and not len(batch.crops):
            tqdm.write(f"step {step + 1} is skipped: none of its samples could be read; run cpm-fast data check")

    def due(self, step: int) -> bool:
        """Return whether a validation follows a step."""
        return step > 0 and (step % self.validate_every == 0 or step == self.steps)

    def log(self, step: int, model: CPM, optimizer: torch.optim.Optimizer) -> str:
        """Write the means since the last line of metrics; return them for the progress bar."""
        self.check_finite(step, model)
        means = torch.stack(self.window).mean(dim=0).tolist() if self.window else [None] * self.network.stages
        per_second = self.seen / (time.monotonic() - self.clock)
        row: dict[str, Any] = {"step": step, "epoch": step / self.per_epoch, "losses": means}
        row |= {"rate": optimizer.param_groups[0]["lr"], "samples_per_second": per_second}
        self.write_row(row | ({"unreadable": self.unreadable} if self.unreadable else {}))
        self.window.clear()
        self.unreadable = 0
        self.seen, self.clock = 0, time.monotonic()
        shown = " ".join(f"s{t} {value:.2f}" for t, value in enumerate(means, 1) if value is not None)
        return f"{shown} {per_second:.0f} img/s"

    def write_row(self, row: dict[str, Any], rows: MetricsLog | None = None) -> None:
        rows = rows or self.metrics
        if self.ranks.main:
            with self.folder.writing(rows.path):
                rows.write(row)

    def save(self, progress: Progress, model: CPM, optimizer: torch.optim.Optimizer) -> None:
        self.check_finite(progress.step, model)
        if not self.ranks.main:
            return
        unlogged = tuple(tuple(losses.tolist()) for losses in self.window)
        with self.folder.writing(self.folder.last):
            save_checkpoint(self.folder.last, model, optimizer, replace(progress, unlogged=unlogged), self.averaged())

    def check_finite(self, step: int, model: CPM) -> None:
        """Refuse to use or save losses or weights that are not finite.

        Raises:
            TrainingError: a loss since the last line of metrics, or a weight, is not finite.
        """
        problem = what_is_not_finite(self.window, step, model)
        if problem:
            raise TrainingError(f"{problem}: lower the learning rate; {self.folder.state()}")

    def step(
        self, step: int, batch: AnyBatch, samples: int, model: CPM, optimizer: torch.optim.Optimizer
    ) -> torch.Tensor:
        """Update the weights once; return the loss of every stage, [T]."""
        self.seen += samples
        # Dropout is a function of seed, step and process.
        torch.manual_seed((self.config.seed * 1_000_003 + step) * self.ranks.world + self.ranks.rank)
        batch, targets = self.prepared(batch)
        if self.ranks.main and not (self.folder.path / BATCH_FILE).exists():
            with self.folder.writing(self.folder.path / BATCH_FILE):
                draw_batch(batch, targets, self.network, self.folder.path / BATCH_FILE)
        phase = phase_at(self.phases, step)
        if phase != self.phase:
            self.enter(phase, model)
        factor = rate_factor(self.config, step - phase.first, phase.steps, len(self.items) / self.batch)
        set_rate(optimizer, self.config.learning_rate * factor)
        losses = update(
            model,
            optimizer,
            batch,
            targets,
            self.config,
            forward=self.forward,
            ranks=self.ranks,
            samples=samples,
            supervised=phase.supervised,
        )
        if self.average is not None:
            self.average.update(model, step + 1)
        every = self.options.gradients_every
        if every and (step + 1) % every == 0:
            self.write_row({"step": step + 1, "layers": gradient_histograms(model)}, self.gradients)
        return losses

    def prepared(self, batch: AnyBatch) -> tuple[AnyBatch, AnyTargets]:
        """Return the batch on the device, and its targets; if none of it can be read, a blank one that does not count.

        The other processes wait for this one's gradients, even where they are 0.
        """
        readable = len(batch.crops) > 0
        batch = (batch if readable else self.task.blank(1)).to(self.device)
        targets = self.task.targets(batch)
        return batch, targets if readable else targets.without_counts()

    def validate(self, model: CPM, progress: Progress) -> Progress:
        """Score every validation set; the mean of their last stages decides which weights are best."""
        progress = replace(progress, validated=progress.step)
        if not self.ranks.main:
            return progress
        scores = []
        for dataset in self.validation:
            outcome = self.task.validate(self.judged(model), dataset, self.batch, self.device)
            scores.append(outcome.score)
            self.write_row({"step": progress.step, "epoch": progress.step / self.per_epoch, **outcome.row})
            tqdm.write(f"step {progress.step}  {outcome.text}")
        with self.folder.writing(self.folder.path / CURVES_FILE):
            draw_curves(self.metrics, self.folder.path / CURVES_FILE)
        if scores and sum(scores) / len(scores) > progress.best_score:
            with self.folder.writing(self.folder.best):
                self.keep(model, self.folder.best)
            return replace(progress, best_score=sum(scores) / len(scores), best_step=progress.step)
        return progress
