"""`cpm-fast infer` on videos or a camera: a CSV row per frame as it goes, and the video with the poses drawn in."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cpm_fast.commands.inference.drawn_video import draw_again, drawn_video
from cpm_fast.commands.options.values import asked_find, checked_score, found_by, settings_of
from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.doubts import LOW_SCORE, mean_score
from cpm_fast.inference.settings import find_network
from cpm_fast.inference.smoothing import OneEuro
from cpm_fast.inference.streaming import make_tracker, shown_source
from cpm_fast.inference.tracking.following import Following
from cpm_fast.inference.tracking.subject_log import SubjectLog
from cpm_fast.inference.tracking.tracker import Tracker
from cpm_fast.inference.unfinished import Unfinished, fingerprint, input_stamp
from cpm_fast.inference.video_table import VideoTable
from cpm_fast.media.image import shown
from cpm_fast.media.video import Video
from cpm_fast.media.video_out import playable_suffix
from cpm_fast.results.drawing import MIN_SCORE
from cpm_fast.results.formats.coco import COCO
from cpm_fast.results.formats.openpose import OPENPOSE
from cpm_fast.results.result import Result, Results
from cpm_fast.system.output_folder import OutputFolder, locked
from cpm_fast.system.progress import bar_wanted
from cpm_fast.system.urls import is_url, stem_of_url

STARTED = "started"
CSV = "csv"
# The ending of each form's file, after the name of the video.
FORM_FILES = {"json": ".json", "npz": ".npz", COCO: "_coco.json", OPENPOSE: "_openpose"}


def infer_videos(options: argparse.Namespace, sources: Sequence[Path | str | int]) -> bool:
    """Run the verb; return whether every video is whole."""
    with locked(Path(options.output)):
        work = _Work(options, sources)
        work.claim()
        fine = [work.run(video) for video in work.videos]
        work.folder.finish()
    return all(fine)


class _Work:
    """Videos that one network processes one after the other, into one folder."""

    def __init__(self, options: argparse.Namespace, sources: Sequence[Path | str | int]) -> None:
        self.options, self.output = options, Path(options.output)
        self.least = MIN_SCORE if checked_score(options.min_score) is None else options.min_score
        self.settings = settings_of(options)
        self.network = find_network(options.model, options.device)
        self.boxes = None if options.box is None else np.array(options.box)
        self.engine = Engine(self.network, precision=self.settings.precision, tune=self.settings.tune, frozen=True)
        self.asked = Asked(asked_find(options), self.boxes is not None, options.max_subjects, options.min_find_score)
        self.folder = OutputFolder(self.output)
        names = [_stem(source) + ".video" for source in sources]
        stems = self.folder.stems_of([_origin(source) for source in sources], names, f".{CSV}")
        found = zip(sources, stems, strict=True)
        self.videos = [self._video(source, stem, len(sources) > 1) for source, stem in found]

    def _video(self, source: Path | str | int, stem: str, several: bool) -> _VideoFiles:
        options, config = self.options, self.network.config
        name = f"camera {source}" if isinstance(source, int) else shown_source(source)
        tracker = make_tracker(self.engine, self.settings, name, self.asked, self.boxes)
        identity = {
            "video": name,
            "weights": fingerprint(self.network),
            "pyramid": list(self.settings.pyramid),
            "flip": self.settings.flip,
            "precision": self.settings.rounding,
            "find": found_by(tracker.looks) if isinstance(tracker, Following) else None,
            "input": input_stamp(source) if isinstance(source, Path) and source.is_file() else None,
            **{name: getattr(options, name) for name in ("box", "smooth", "frames", "min_score", "max_subjects")},
        }
        unfinished = Unfinished(self.output, identity, stem if several else "")
        table = VideoTable(
            self.output / f"{stem}.csv",
            config.skeleton,
            None if isinstance(tracker, Following) else 1 if self.boxes is None else len(self.boxes),
            OneEuro() if options.smooth else None,
            name,
            self.least,
            config.margin,
        )
        labeled = None if options.no_pictures else self.output / f"{stem}_pose{playable_suffix()}"
        other = None if options.form in (None, CSV) else self.output / (stem + FORM_FILES[options.form])
        resumed = unfinished.check(options.resume)
        whole = options.resume and not resumed and table.path.exists()
        return _VideoFiles(source, name, stem, several, unfinished, resumed, whole, tracker, table, labeled, other)

    def claim(self) -> None:
        """Reserve the names of all files before work starts; say which of an earlier run are replaced."""
        for resumed in (False, True):
            videos = [video for video in self.videos if video.resumed == resumed and not video.whole]
            inputs = {path.name: _origin(video.source) for video in videos for path in video.files}
            replaced = self.folder.claim(list(inputs), self.options.overwrite, inputs)
            if replaced and not resumed:
                print(f"{self.output}: replaces {len(replaced)} files of an earlier run", file=sys.stderr)

    def run(self, video: _VideoFiles) -> bool:
        """Process one video; return whether it is whole."""
        if video.whole:
            print(f"nothing to resume: {video.table.path} is complete")
            # The run is whole, but a kill may have come before its last cleanup.
            video.unfinished.end()
            return True
        try:
            return self._run(video)
        except (ValueError, OSError, RuntimeError) as error:
            if not video.several:
                raise
            print(f"failed: {video.name}: {error}", file=sys.stderr)
            return False

    def _run(self, video: _VideoFiles) -> bool:
        opened = Video(video.source)
        tracker, table, unfinished = video.tracker, video.table, video.unfinished
        log = SubjectLog(unfinished.folder, tracker) if isinstance(tracker, Following) else None
        with closing(opened), closing(table):
            tracker.begin(opened.size)
            if not video.resumed:
                unfinished.begin()
            # A table that is older than this run is not this run's work.
            if unfinished.noted(STARTED):
                until = None if log is None else log.resume()
                last = table.resume(until)
                first = 0 if last is None or last.frame is None else last.frame + 1
                first = first if until is None else until + 1
            else:
                table.start()
                unfinished.note(STARTED)
                last, first = None, 0
            if first:
                print(f"resuming: {first} frames are done")
            count = self._follow(video, opened, log, first, last)
        if video.labeled is not None and first:
            draw_again(video.source, table, video.labeled, self.options.details, count)
        if video.other is not None:
            _save_form(video, self.options.form, opened.size)
        unfinished.end()
        print("wrote " + ", ".join(str(path) for path in video.files))
        return not opened.cut_short

    def _follow(
        self, video: _VideoFiles, opened: Video, log: SubjectLog | None, first: int, last: Result | None
    ) -> int:
        """Write the rows of frames from number `first` on, and the drawn video if that is 0; return their end."""
        frames, labeled = self.options.frames, video.labeled if first == 0 else None
        total = opened.announced if frames is None else frames
        started, done = time.perf_counter(), 0
        scores: list[float] = []
        with ExitStack() as stack:
            out = None
            if labeled is not None:
                out = stack.enter_context(drawn_video(labeled, opened, video.table, self.options.details))
            results = stack.enter_context(closing(video.tracker.run(opened, first, last)))
            wanted = islice(results, None if frames is None else max(0, frames - first))
            bar = tqdm(wanted, total=total, initial=first, desc=opened.name, unit="frame", disable=not bar_wanted())
            with _camera_ends_well(opened):
                for found in bar:
                    shown = video.table.add(found)
                    if log is not None and found.frame is not None:
                        log.add(found.frame)
                    if out is not None:
                        out.add(shown, found.image(), shown.seconds)
                    done += 1
                    score = mean_score(found)
                    if score is not None:
                        scores.append(score)
        print(f"{first + done} frames, {done / (time.perf_counter() - started):.1f} frames/s")
        if done and not scores and log is not None:
            warnings.warn(
                f"{video.tracker.name}: no subject found in any frame; try a lower --min-find-score, or give a --box",
                stacklevel=2,
            )
        if scores and np.mean(scores) < LOW_SCORE:
            warnings.warn(
                f"{opened.name}: probably wrong, the mean score of the parts over all frames is {np.mean(scores):.2f} "
                "(a sure pose has about 1); give the subject's place in the first frame with --box",
                stacklevel=2,
            )
        return first + done


@dataclasses.dataclass(frozen=True, eq=False)
class _VideoFiles:
    """A video with its files: the table, the one with poses drawn in, and the results in another form."""

    source: Path | str | int
    name: str
    stem: str
    several: bool
    unfinished: Unfinished
    resumed: bool
    whole: bool
    tracker: Tracker
    table: VideoTable
    labeled: Path | None
    other: Path | None

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.table.path, self.labeled, self.other) if path is not None]


def _origin(source: Path | str | int) -> str:
    """Return the name of a source, which is the same from any working folder."""
    if isinstance(source, Path):
        return shown(source.resolve())
    return f"camera {source}" if isinstance(source, int) else shown_source(source)


def _stem(source: Path | str | int) -> str:
    if isinstance(source, int):
        return f"camera{source}"
    return stem_of_url(str(source)) if is_url(source) else Path(source).stem


def _save_form(video: _VideoFiles, form: str, size: tuple[int, int]) -> None:
    """Write the table in another form, an entry or a file for each frame."""
    assert video.other is not None
    results = []
    for result in video.table.results():
        # OpenPose's own names of frames.
        name = f"{video.stem}_{result.frame:012}" if form == OPENPOSE else video.name
        results.append(dataclasses.replace(result, name=name, size=size, roi_source="parts"))
    Results(results).save(video.other, form=form if form in (COCO, OPENPOSE) else None)


@contextmanager
def _camera_ends_well(video: Video) -> Iterator[None]:
    """Stop a camera at Ctrl-C; a file can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        if not video.is_camera:
            print("\nstopped; run the same command with --resume to continue", file=sys.stderr)
            raise
