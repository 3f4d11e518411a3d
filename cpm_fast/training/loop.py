"""The training of a network into a run folder, from which it can be resumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.data.sample import Dataset
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import TrainingConfig
from cpm_fast.system.locks import folder_lock
from cpm_fast.system.memory import freed_memory_kept
from cpm_fast.system.ranks import join
from cpm_fast.training.folder import RunFolder, sample_counts
from cpm_fast.training.inputs import annotation_digests
from cpm_fast.training.options import RunOptions
from cpm_fast.training.run import Run
from cpm_fast.weights import find_device


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
    start: str | Path | None = None,
    backgrounds: Backgrounds | None = None,
) -> CPM:
    """Train a network into a run folder.

    The folder gets config.json, metrics.jsonl, curves.png, batch0.png (drawn before the first step), last.safetensors
    (the whole state), best.safetensors (weights of the best validation) and final.safetensors. Order, augmentation
    and dropout are functions of seed, epoch, step and sample, so on a CPU, with as many threads, a resumed run equals
    an unbroken one bit for bit. One process at a time trains in a folder. inputs.json lists the files that the run
    reads; it can't be resumed with others. Samples that can't be read are left out, and steps without any are skipped.

    Under torchrun the processes share every batch, by DistributedDataParallel: the first one writes and validates, all
    must see the folder. The result is that of one process to rounding, but where batch normalization or dropout see a
    process's samples alone (running statistics are the first process's).

    Args:
        network, config: the network and the training.
        data: datasets to train on, mixed; parts are matched by name, and one that a dataset lacks is unlabeled there.
        validation: datasets to score after every epoch, each by itself; may be empty.
        run: the folder; must not hold a run unless `resume`.
        resume: resume from the folder's last checkpoint; starts anew if there is none yet.
        options: of the execution.
        about: further entries of config.json, for instance the path of the data.
        start: a .safetensors file of weights to start from, as far as they fit (`start_from`); start.txt lists them.
        backgrounds: of a finder: pictures without subjects, for its scenes.

    Raises:
        FileExistsError: the folder holds a run and `resume` is off.
        FolderInUse: another process trains in the folder.
        FileNotFoundError: there is no file to start from.
        ValueError: a dataset shares no part with the network, or lacks one and unlabeled parts count as absent; there
            is no sample; nothing fits of the weights to start from; the folder's run is of another network, recipe or
            data.
        RuntimeError: the device is not available, or does not have the precision.
        TrainingError: the loss or a weight is not finite, or no sample of an epoch could be read, or a file can't be
            written (the message names it); the message gives the run's saved state.
        KeyboardInterrupt: passed on after the step is done and the state is saved; a second one at once, unsaved.
    """
    options = options or RunOptions()
    config = without_mirroring(config, network)
    ranks = join(find_device(options.device))
    folder = RunFolder(run)
    ranks.agree(
        {
            "network": network.to_dict(),
            "recipe": config.to_dict(),
            "run folder": str(run),
            "resume": resume,
            "start": str(start),
            "options": options.kept(),
            "samples": sample_counts(data, validation),
            "annotations": annotation_digests([*data, *validation]),
            "backgrounds": len(backgrounds or ()),
        }
    )
    started = Run(network, config, data, validation, folder, options, ranks, backgrounds)
    with ExitStack() as held:
        # The states of PyTorch's random numbers and of the allocator are restored in the end.
        held.enter_context(torch.random.fork_rng([ranks.device] if ranks.device.type == "cuda" else []))
        if ranks.device.type == "cpu":
            held.enter_context(freed_memory_kept())
        if ranks.main:
            with folder.writing(run):
                run.mkdir(parents=True, exist_ok=True)
            # A refused run leaves nothing behind; a folder with anything in it stays.
            held.enter_context(_removed_if_empty(run))
            held.enter_context(folder_lock(run))
        return started.go(resume, about or {}, start)


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def without_mirroring(config: TrainingConfig, network: NetworkConfig) -> TrainingConfig:
    """Switch mirroring off, with a warning, if a part holds a side in its name and has no partner.

    A mirrored picture would show such a part under the wrong name half of the time.
    """
    if not (network.skeleton.one_sided and config.augmentation.flip_probability):
        return config
    warnings.warn(f"mirroring is {network.skeleton.mirroring}", stacklevel=3)
    return replace(config, augmentation=replace(config.augmentation, flip_probability=0.0))
