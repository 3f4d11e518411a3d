"""Run folders in any order of starts, kills and failing writes, resumptions, changes and second processes."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from safetensors import safe_open

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import Subset
from cpm_fast.recipes import RECIPES
from cpm_fast.system.files import TEMPORARY_SUFFIX
from cpm_fast.system.locks import LOCK_FILE, FolderInUse, folder_lock
from cpm_fast.training.folder import RunFolder
from cpm_fast.training.loop import train
from cpm_fast.training.options import TrainingError
from support.disk import Disk, Killed
from support.machine import LONG, run_machine
from support.runs import COMPACT, QUIET, history, weights

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds the file of a descriptor by /proc"),
    pytest.mark.usefixtures("plain_curves"),
]
# Two steps, a checkpoint after each, one validation.
RECIPE = replace(RECIPES["modern"], batch=4, epochs=1.0)
OPTIONS = replace(QUIET, save_every=1, validate_every=1.0)
MINE = "notes.txt"
# A checkpoint is written, synced and renamed.
SAVE_EVENTS = 3
STEPS_AFTER_DEATHS = 4
# A position among the events of all files, about 60, or among those of one file.
FILES = ("metrics", "last", "best", "final", "config", "inputs")
EVENTS = st.tuples(st.just(""), st.integers(0, 60)) | st.tuples(st.sampled_from(FILES), st.integers(0, 8))


def run(folder: Path, seed: int, resume: bool, samples: int = 8) -> None:
    """Train by the recipe of a seed."""
    data, validation = [DrawnFigures(samples)], [Subset(DrawnFigures(2, seed=9), range(2))]
    train(COMPACT, replace(RECIPE, seed=seed), data, validation, folder, resume=resume, options=OPTIONS)


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file except the lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*")) if path.name != LOCK_FILE}


class RunFolderMachine(RuleBasedStateMachine):
    """Trainings of two recipes in one folder.

    Shown to find, within the two runs of a commit: a final.safetensors written under its own name instead of renamed
    once whole, by `files_are_whole` after the first write of that file fails.
    """

    place: Path
    truth: dict[int, Path]

    # Few runs begin with the deaths that matter most; of many, half do.
    @initialize(
        deaths=st.booleans() if LONG else st.just(True),
        logged=st.integers(0, 2 * SAVE_EVENTS - 1),
        scored=st.integers(0, SAVE_EVENTS - 1),
        # The first event of a file is its write, of which half reaches the disk.
        ended=st.integers(0, SAVE_EVENTS - 1) if LONG else st.just(0),
        kill=st.booleans(),
    )
    def begin(self, deaths: bool, logged: int, scored: int, ended: int, kill: bool) -> None:
        shutil.rmtree(self.place / "run", ignore_errors=True)
        self.folder = RunFolder(self.place / "run")
        self.folder.path.mkdir(parents=True)
        (self.folder.path / MINE).write_text("mine")
        self.seed: int | None = None
        if deaths:
            self.die_between_a_line_and_its_checkpoint(logged, scored, kill)
            self.start(0, True, ("final", ended), kill)

    def die_between_a_line_and_its_checkpoint(self, logged: int, scored: int, kill: bool) -> None:
        """Die or fail where the metrics are ahead of the checkpoint: after a step's line, and after the scores."""
        saved = logged // SAVE_EVENTS
        self.start(0, False, ("last", logged), kill)
        assert len(history(self.folder.path)) == 1 + saved
        # A resumed run first removes the temporary file that a killed one left.
        self.start(0, True, ("last", int(kill) + SAVE_EVENTS * (2 - saved) + scored), kill)
        assert len(history(self.folder.path)) == 3

    def check_finished(self, seed: int) -> None:
        """Check that the folder equals that of an undisturbed run."""
        if seed not in self.truth:
            self.truth[seed] = self.place / f"true{seed}"
            run(self.truth[seed], seed, False)
        for name, tensor in weights(self.truth[seed]).items():
            assert torch.equal(tensor, weights(self.folder.path)[name]), name
        assert history(self.folder.path) == history(self.truth[seed])
        assert not list(self.folder.path.glob(f"*{TEMPORARY_SUFFIX}"))
        assert sorted(content(self.folder.path)) == sorted([*content(self.truth[seed]), MINE])

    @rule(seed=st.integers(0, 1), resume=st.booleans(), event=st.none() | EVENTS, kill=st.booleans())
    def start(self, seed: int, resume: bool, event: tuple[str, int] | None, kill: bool) -> None:
        only, at = event or ("", None)
        before = content(self.folder.path)
        begun = self.folder.config.exists()
        with Disk(self.folder.path, at, kill, only).mounted() as disk, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lock of a dead process is taken over
            try:
                run(self.folder.path, seed, resume)
            except Killed:
                assert kill
            except (FileExistsError, ValueError) as error:
                assert begun and (not resume or seed != self.seed), error
                assert content(self.folder.path) == before
                return
            except (TrainingError, OSError) as error:
                assert disk.failed and not kill and "No space left" in str(error), error
            else:
                assert not (begun and (not resume or seed != self.seed))
                self.check_finished(seed)
        if self.folder.config.exists() and not begun:
            self.seed = seed

    @rule(event=EVENTS, kill=st.booleans())
    def go_on(self, event: tuple[str, int], kill: bool) -> None:
        """Start or resume, as the folder requires, and fail or die."""
        begun = self.folder.config.exists()
        self.start(self.seed if begun and self.seed is not None else 0, begun, event, kill)

    @rule()
    def other_runs_are_refused(self) -> None:
        """A second process, another recipe, other data, a new run: the folder stays as it is."""
        if self.seed is None:
            return
        before = content(self.folder.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with folder_lock(self.folder.path), pytest.raises(FolderInUse):
                run(self.folder.path, self.seed, True)
            with pytest.raises(ValueError, match="the run has another recipe"):
                run(self.folder.path, 1 - self.seed, True)
            with pytest.raises(ValueError, match="the run's data was"):
                run(self.folder.path, self.seed, True, samples=9)
            with pytest.raises(FileExistsError, match="holds a run already"):
                run(self.folder.path, self.seed, False)
        assert content(self.folder.path) == before

    @rule()
    def lose_the_checkpoint(self) -> None:
        """Remove the checkpoint: resuming then begins anew."""
        self.folder.last.unlink(missing_ok=True)

    @invariant()
    def files_are_whole(self) -> None:
        """Check that a file with a name of its own can be read, whatever happened to the run."""
        if hasattr(self, "folder"):
            for path in self.folder.path.glob("[!.]*.safetensors"):
                with safe_open(path, framework="pt") as file:
                    assert list(file.keys()), path
            for path in self.folder.path.glob("[!.]*.json"):
                json.loads(path.read_text())

    @invariant()
    def what_is_mine_stays(self) -> None:
        if hasattr(self, "folder"):
            assert (self.folder.path / MINE).read_text() == "mine"

    def teardown(self) -> None:
        """Check that the run can be resumed from any state and is right."""
        if hasattr(self, "folder"):
            seed = self.seed or 0
            self.other_runs_are_refused()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(self.folder.path, seed, True)
            self.check_finished(seed)


def test_any_order_of_events(tmp_path):
    class Machine(RunFolderMachine):
        pass

    Machine.place, Machine.truth = tmp_path, {}
    run_machine(Machine, STEPS_AFTER_DEATHS)
