"""A run's folder: its files, the checks before resuming, and errors when it can't be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cpm_fast.config import NetworkConfig
from cpm_fast.data.sample import Dataset
from cpm_fast.recipes import TrainingConfig
from cpm_fast.system.files import VALUE_ERRORS, parse_json, write_json, write_text
from cpm_fast.system.limits import file_exists
from cpm_fast.system.versions import versions
from cpm_fast.system.words import in_short
from cpm_fast.training.options import TrainingError

CONFIG_FILE, START_FILE = "config.json", "start.txt"
LAST_FILE, BEST_FILE, FINAL_FILE = "last.safetensors", "best.safetensors", "final.safetensors"


class RunFolder:
    """Paths of a run's files.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, self.last = path / CONFIG_FILE, path / LAST_FILE
        self.best, self.final = path / BEST_FILE, path / FINAL_FILE

    def check(
        self, resume: bool, network: NetworkConfig, config: TrainingConfig, samples: Mapping[str, list[list[Any]]]
    ) -> None:
        """Refuse to start over an existing run, and to resume a run other than the folder's.

        Raises:
            FileExistsError: the folder holds a run and `resume` is off.
            ValueError: config.json can't be understood, or the run is of another network, recipe or data.
        """
        if not file_exists(self.config):
            return
        if not resume:
            raise FileExistsError(
                f"{self.path} holds a run already; resume it with --resume {self.path}, or name another folder"
            )
        try:
            values = parse_json(self.config.read_text(encoding="utf-8"))
            theirs = NetworkConfig.from_dict(values["network"]), TrainingConfig.from_dict(values["training"])
            counts = values["samples"]
        except VALUE_ERRORS as error:
            raise ValueError(f"{self.config}: not the config of a run: {in_short(error)}") from None
        for name, own, given in (("network", theirs[0], network), ("recipe", theirs[1], config)):
            if own != given:
                raise ValueError(f"{self.config}: the run has another {name} than the one given")
        if counts != samples:
            raise ValueError(
                f"{self.config}: the run's data was {_counted(counts)}, now it is {_counted(samples)}: "
                "restore it, or start another run"
            )

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write config.json where there is none yet."""
        if not self.config.exists():
            with self.writing(self.config):
                write_json(self.config, {**about, "versions": versions()})

    def write_start(self, table: str) -> None:
        """Write start.txt, which lists the weights that were loaded at the start."""
        with self.writing(self.path / START_FILE):
            write_text(self.path / START_FILE, table + "\n")

    def state(self) -> str:
        """Return how far the run is saved, for messages."""
        return f"the last good state is in {self.last}" if self.last.exists() else "no state was saved before"

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Turn a failure to write a file (disk full, for instance) into a message with the run's saved state.

        Raises:
            TrainingError: in place of an OSError.
        """
        try:
            yield
        except OSError as error:
            raise TrainingError(f"{path} can't be written: {error.strerror or error}; {self.state()}") from error


def sample_counts(data: Sequence[Dataset], validation: Sequence[Dataset]) -> dict[str, list[list[Any]]]:
    """Return name and number of samples of every dataset, for config.json."""
    return {
        use: [[dataset.name, len(dataset)] for dataset in datasets]
        for use, datasets in (("training", data), ("validation", validation))
    }


def _counted(samples: Mapping[str, list[list[Any]]]) -> str:
    return "; ".join(
        f"{use}: " + (", ".join(f"{name} {count}" for name, count in counts) or "none")
        for use, counts in samples.items()
    )
