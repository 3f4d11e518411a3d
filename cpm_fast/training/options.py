"""Options of a run's execution, and the error that ends a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from cpm_fast.system.numbers import is_finite, is_whole, make_plain

MOST_WORKERS, LARGEST_WORKERS = 8, 256
MOST_EPOCHS = 1e9


@dataclass(frozen=True)
class RunOptions:
    """Options of a run's execution; none of them changes its result.

    Args:
        workers: loader processes; None: one per core, at most 8.
        device: "auto", "cpu" or "cuda".
        save_every: steps between checkpoints.
        validate_every: epochs between validations.
        recompute: keep fewer activations and run parts of the network again when they are needed: less memory, more
            time.
        gradients_every: steps between histograms of the gradients' magnitudes, in gradients.jsonl; 0: none.
        stop_after: stop, saved, after this step (for tests of resuming).
        quiet: no progress bar.

    Raises:
        ValueError: a number is out of its range.
    """

    workers: int | None = None
    device: str = "auto"
    save_every: int = 500
    validate_every: float = 1.0
    recompute: bool = False
    gradients_every: int = 0
    stop_after: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        if self.workers is not None and not (is_whole(self.workers) and 0 <= self.workers <= LARGEST_WORKERS):
            raise ValueError(f"workers must be 0 or more and at most {LARGEST_WORKERS}, got {self.workers!r}")
        if not is_whole(self.save_every) or self.save_every < 1:
            raise ValueError(f"save_every must be at least 1 step, got {self.save_every!r}")
        if not is_whole(self.gradients_every) or self.gradients_every < 0:
            raise ValueError(f"gradients_every must be 0 or more steps, got {self.gradients_every!r}")
        if not is_finite(self.validate_every) or not 0 < self.validate_every <= MOST_EPOCHS:
            wanted = f"a positive number of epochs, at most {MOST_EPOCHS:g}"
            raise ValueError(f"validate_every must be {wanted}, got {self.validate_every!r}")
        if self.stop_after is not None and not is_whole(self.stop_after):
            raise ValueError(f"stop_after must be a number of steps, got {self.stop_after!r}")

    def loader_workers(self, processes: int) -> int:
        """Return the loader processes of each of several training processes on this machine."""
        return min(MOST_WORKERS, (os.cpu_count() or 1) // processes) if self.workers is None else self.workers

    def kept(self) -> dict[str, Any]:
        """Return the options that a resumed run keeps, for its config.json."""
        names = ("save_every", "validate_every", "recompute", "gradients_every")
        return {name: getattr(self, name) for name in names}


class TrainingError(RuntimeError):
    """An error that ends a training; the message gives the reason and the run's saved state."""
