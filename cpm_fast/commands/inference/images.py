"""`cpm-fast infer` on pictures: one or several processes write results to journals, which are merged in the end."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.commands.inference.inputs import Inputs
from cpm_fast.commands.options.values import asked_find, checked_score, found_by, settings_of
from cpm_fast.data.formats.boxes import BoxFile
from cpm_fast.inference.asking import Asked, check_limits
from cpm_fast.inference.doubts import doubts
from cpm_fast.inference.images import Failure, Job
from cpm_fast.inference.unfinished import Unfinished, fingerprint, input_stamp
from cpm_fast.media.sources import Source, list_images
from cpm_fast.results.drawing import MIN_SCORE
from cpm_fast.results.formats.coco import COCO, CocoIds
from cpm_fast.results.formats.files import DAMAGE
from cpm_fast.results.formats.json import from_entry, to_entry
from cpm_fast.results.formats.openpose import OPENPOSE
from cpm_fast.results.result import Result, Results
from cpm_fast.system.files import atomic_write, free_stems
from cpm_fast.system.output_folder import OutputFolder, locked
from cpm_fast.system.ranks import Ranks, join
from cpm_fast.system.words import in_short

SHOWN_FILES = 5
FAILURES = "failures.txt"
CSV = "csv"
STEPS = ("decode", "crop", "network", "peaks")


def infer_pictures(options: argparse.Namespace, inputs: Inputs) -> bool:
    """Run the verb; return whether every picture was read."""
    ranks = join()
    ranks.agree({f"--{name.replace('_', '-')}": value for name, value in vars(options).items() if name != "run"})
    run = _PictureRun(options, inputs, ranks)
    # One process writes the lists; the others only put their own pictures and journals beside it.
    with locked(run.output) if ranks.main else nullcontext():
        ranks.wait()
        return run.run()


def _ids_file(boxes: Path, names: Sequence[str]) -> Path | None:
    """Return the file of boxes if it is a COCO file that has an id for every picture."""
    if boxes.suffix.lower() != ".json":
        return None
    try:
        CocoIds.read(boxes).of(names)
    except ValueError:
        return None
    return boxes


def _pictures(sources: Sequence[Source]) -> str:
    """Return the number of pictures, and a digest of their names and sizes."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sources:
        size = source.item.stat().st_size if isinstance(source.item, Path) else None
        digest.update(json.dumps([source.name, size]).encode())
    return f"{len(sources)} with the digest {digest.hexdigest()}"


class _PictureRun:
    def __init__(self, options: argparse.Namespace, inputs: Inputs, ranks: Ranks) -> None:
        self.options, self.ranks, self.output = options, ranks, Path(options.output)
        self.told: list[str] = []
        self.min_score = checked_score(options.min_score)
        pictures = list(inputs.pictures) if inputs.several else inputs.pictures[0]
        boxes: Any = None if options.box is None else np.array(options.box)
        file, limits = None, (options.max_subjects, options.min_find_score)
        if options.boxes is not None:
            file = BoxFile.read(options.boxes, inputs.coco_file, options.box_category)
            check_limits(*limits, own_scores=True)
            names = [source.name for source in list_images(pictures)[0]]
            boxes, self.told = file.of(names, *limits)
            boxes, limits = boxes if inputs.several else boxes[0], (None, None)
        settings = settings_of(options)
        asked = Asked(asked_find(options), boxes is not None, *limits)
        self.job = Job.of(
            pictures,
            settings,
            model=options.model,
            boxes=boxes,
            rois=None,
            asked=asked,
            color="bgr",
            device=ranks.device_of(options.device),
            readers=options.readers,
            max_pixels=options.max_pixels,
        )
        network = self.job.engine.model
        self.coco_file = inputs.coco_file
        if self.coco_file is None and options.boxes is not None and options.form == COCO:
            self.coco_file = _ids_file(options.boxes, [source.name for source in self.job.sources])
        self.stems = free_stems([source.name for source in self.job.sources])
        self.config = network.config
        self.unfinished = Unfinished(
            self.output,
            {
                "weights": fingerprint(network),
                "pyramid": list(settings.pyramid),
                "flip": settings.flip,
                "precision": settings.rounding,
                "box": options.box,
                "find": found_by(self.job.search),
                "pictures": not options.no_pictures,
                # Pictures that are drawn already stay as they are.
                "min_score": options.min_score if options.stages or not options.no_pictures else None,
                "details": options.details or None,
                "stages": options.stages,
                "boxes": None if file is None else self._box_settings(file),
            },
        )
        if ranks.world > 1:
            # The same names may mean other files: the processes may be in other folders, or on other machines.
            ranks.agree({**self.unfinished.settings, "pictures": _pictures(self.job.sources)})
        self.folder = OutputFolder(self.output)
        self.steps = dict.fromkeys(STEPS, 0.0)
        self.done = self.drawn = 0
        self.written: list[Path] = []

    def _box_settings(self, file: BoxFile) -> list[Any]:
        options = self.options
        return [file.digest, options.box_category, options.max_subjects, options.min_find_score]

    def run(self) -> bool:
        for sentence in self.told if self.ranks.main else ():
            warnings.warn(sentence, stacklevel=2)
        if not self.job.several:
            return self._single() if self.ranks.main else True
        resumed = self.unfinished.check(self.options.resume)
        if self.options.resume and not resumed and self.table.exists():
            if self.ranks.main:
                print(f"nothing to resume: {self.table} is complete")
                # The run is whole, but a kill may have come before its last cleanup.
                self.unfinished.end()
            return True
        self.ranks.wait()
        if self.ranks.main:
            self._claim(resumed)
        if self.ranks.main and not resumed:
            self.unfinished.begin()
        self.ranks.wait()
        try:
            seconds = self._work()
        except KeyboardInterrupt:
            print("stopped; run the same command with --resume to continue", file=sys.stderr)
            raise
        self.ranks.wait()
        if not self.ranks.main:
            return True
        fine = self._report(self._merged(), seconds)
        self.unfinished.end()
        return fine

    def _single(self) -> bool:
        """Do one picture, which is done or not: nothing of it can be resumed."""
        results = [outcome for outcome in self.job.run() if isinstance(outcome, Result)]
        self._claim(False)
        for result in results:
            self._draw(result, self.stems[0])
        return self._report(Results(results), 0.0)

    def _claim(self, resumed: bool) -> None:
        """Reserve the names of all files, before work starts; say which of an earlier run are replaced."""
        drawn = [] if self.options.no_pictures else ["pose"]
        drawn += ["stages"] if self.options.stages else []
        names = [f"{stem}_{what}.png" for stem in self.stems for what in drawn]
        replaced = self.folder.claim([self.table.name, FAILURES, *names], self.options.overwrite)
        if replaced and not resumed:
            print(f"{self.output}: replaces {len(replaced)} files of an earlier run", file=sys.stderr)

    def _work(self) -> float:
        """Do this process's share of what no journal holds; seconds that it took."""
        stamps = self._stamps
        records = [record for record in self.unfinished.records() if "failure" not in record]
        done = {record["name"] for record in records if not self._stale(record)}
        if len(done) < len({record["name"] for record in records}) and self.ranks.main:
            print("pictures that were replaced since are done again", file=sys.stderr)
        # Every process must have read the journals before one of them is written on.
        self.ranks.wait()
        left = [i for i, source in enumerate(self.job.sources) if source.name not in done]
        if done and self.ranks.main:
            print(f"resuming: {len(self.job.sources) - len(left)} of {len(self.job.sources)} pictures are done")
        mine = self.ranks.part(left)
        job = self.job.only(mine)
        journal = self.unfinished.journal(self.ranks.rank)
        started = time.perf_counter()
        try:
            for i, outcome in zip(mine, job.run(None if self.ranks.main else False), strict=True):
                if isinstance(outcome, Failure):
                    journal.add({"name": outcome.name, "failure": outcome.reason})
                else:
                    self._draw(outcome, self.stems[i])
                    journal.add({**to_entry(outcome), "input": stamps[outcome.name]})
        finally:
            journal.close()
        return time.perf_counter() - started

    def _stale(self, record: dict[str, Any]) -> bool:
        """Return whether a line of a journal is about another picture of the same name."""
        now = self._stamps.get(record["name"])
        return record.get("input", now) != now

    @cached_property
    def _stamps(self) -> dict[str, list[Any] | None]:
        """Every input as it was when this process began with it."""
        return {source.name: self._stamp(source) for source in self.job.sources}

    @staticmethod
    def _stamp(source: Source) -> list[Any] | None:
        try:
            return input_stamp(source.item) if isinstance(source.item, Path) else None
        except OSError:
            return None

    def _draw(self, result: Result, stem: str) -> None:
        if not self.options.no_pictures:
            result.plot(self._write(f"{stem}_pose.png"), min_score=self._shown_from, details=self.options.details)
        if self.options.stages and len(result):
            result.plot_stages(self._write(f"{stem}_stages.png"), min_score=self._shown_from)
        self.done += 1
        for step in STEPS:
            self.steps[step] += getattr(result.timing, step)

    def _write(self, name: str) -> Path:
        self.drawn += 1
        if len(self.written) < SHOWN_FILES:
            self.written.append(self.output / name)
        return self.output / name

    def _merged(self) -> Results:
        """Return the results of all processes, in the order of the pictures."""
        entries: dict[str, dict[str, Any]] = {}
        for record in self.unfinished.records():
            if ("failure" not in record and not self._stale(record)) or record["name"] not in entries:
                entries[record["name"]] = record
        results, failures = [], {}
        for source in self.job.sources:
            entry = entries[source.name]
            if "failure" in entry:
                failures[source.name] = str(entry["failure"])
            else:
                try:
                    result = Result.of(from_entry(entry, self.config.skeleton))
                except DAMAGE as error:
                    folder = self.unfinished.folder
                    raise ValueError(
                        f"{folder}: its entry for {source.name} is damaged: {in_short(error)}; remove it"
                    ) from None
                size, offset = self.config.input_size, self.config.cell_offset
                results.append(dataclasses.replace(result, box_size=size, cell_offset=offset))
        return Results(results, failures)

    def _report(self, results: Results, seconds: float) -> bool:
        self._save(results)
        shown = [str(path) for path in [self.table, *self.written][:SHOWN_FILES]]
        more = self.drawn + 1 - len(shown)
        print(f"{len(results)} pictures, {sum(len(result) for result in results)} subjects{self._speed(seconds)}")
        print("wrote " + ", ".join(shown) + (f", and {more} more" if more else ""))
        self.folder.finish()
        for doubt in doubts(results, searched=self.job.search is not None):
            warnings.warn(doubt, stacklevel=2)
        for name, message in results.failures.items():
            print(f"failed: {name}: {message}", file=sys.stderr)
        return not results.failures

    @property
    def _shown_from(self) -> float:
        return MIN_SCORE if self.min_score is None else self.min_score

    @property
    def table(self) -> Path:
        """The file of the results."""
        form = self.options.form or "json"
        return self.output / {OPENPOSE: OPENPOSE, COCO: "results_coco.json"}.get(form, f"results.{form}")

    def _save(self, results: Results) -> None:
        form = self.options.form
        # A table is what a next training reads: parts that are not there must not become labels.
        least = self._shown_from if form == CSV else self.min_score
        results.save(
            self.table,
            form=form if form in (COCO, OPENPOSE) else None,
            min_score=least,
            coco_file=self.coco_file if form == COCO else None,
        )
        failed = self.output / FAILURES
        failed.unlink(missing_ok=True)
        if results.failures:
            with atomic_write(failed) as file:
                lines = (f"{name}\t{reason}\n" for name, reason in results.failures.items())
                file.writelines(line.encode(errors="backslashreplace") for line in lines)

    def _speed(self, seconds: float) -> str:
        """Say how long this run took, and per picture; with several processes the first one's times."""
        if not self.done:
            return ""
        rate = f", {self.ranks.world * self.done / seconds:.1f} pictures/s" if seconds else ""
        each = ", ".join(f"{name} {1e3 * total / self.done:.1f}" for name, total in self.steps.items())
        return f"{rate}; ms per picture: {each}"
