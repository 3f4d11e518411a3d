"""`cpm-fast infer` on a video or a camera: a CSV row per frame as it goes, and the video with the poses drawn in."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cpm_fast.engine import Engine
from cpm_fast.inference.settings import Settings, find_network
from cpm_fast.inference.smoothing import OneEuro
from cpm_fast.inference.streaming import Tracker
from cpm_fast.inference.unfinished import Unfinished, fingerprint, input_stamp
from cpm_fast.inference.video_table import VideoTable
from cpm_fast.media.video import Video, is_video_file
from cpm_fast.media.video_out import LARGEST_RATE, VideoOut, playable_suffix, write_video
from cpm_fast.results.drawing import skeleton_overlay
from cpm_fast.results.result import Result
from cpm_fast.system.output_folder import OutputFolder, locked

STARTED = "started"


def is_video(options: argparse.Namespace) -> bool:
    """Whether these options of `infer` mean a video or a camera.

    Raises:
        ValueError: they mean both, or neither that nor pictures, or an option is not for what they mean.
    """
    videos = [path for path in options.pictures if is_video_file(path)]
    if options.camera is not None and options.pictures:
        raise ValueError(f"--camera must come alone, got {options.pictures[0]} too")
    if options.camera is None and not options.pictures:
        raise ValueError("name pictures, a folder of them, a video, or a --camera")
    if videos and len(options.pictures) > 1:
        raise ValueError(f"a video must come alone, got {len(options.pictures)} paths with {videos[0]}")
    moving = bool(videos) or options.camera is not None
    for name in ("smooth", "frames"):
        if getattr(options, name) and not moving:
            raise ValueError(f"--{name} is for videos and cameras")
    if moving and (options.stages or options.form not in (None, "csv")):
        raise ValueError("of a video there is a CSV table: leave out --stages and --form")
    if moving and options.find != "auto":
        raise ValueError(
            f"--find must be auto for a video or camera, got {options.find}; --box says where a subject is"
        )
    if options.resume and options.camera is not None:
        raise ValueError("--resume is for files: what a camera saw is gone")
    if moving and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ValueError("a video is followed by one process, frame after frame: start it without torchrun")
    return moving


def infer_video(options: argparse.Namespace) -> bool:
    """Run it; True when the video is whole."""
    with locked(Path(options.output)):
        return _infer_video(options)


def _infer_video(options: argparse.Namespace) -> bool:
    source = options.pictures[0] if options.camera is None else options.camera
    stem = source.stem if isinstance(source, Path) else f"camera{source}"
    output = Path(options.output)
    settings = Settings(options.pyramid or (1.0,), options.flip, options.batch, tune=options.tune)
    network = find_network(options.model, options.device)
    if options.frames is not None and options.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {options.frames}")
    boxes = None if options.box is None else np.array(options.box)
    unfinished = Unfinished(output, {
        "video": str(source), "weights": fingerprint(network), "pyramid": list(settings.pyramid),
        "flip": settings.flip, "box": options.box, "smooth": options.smooth, "frames": options.frames,
        "input": input_stamp(source) if isinstance(source, Path) and source.is_file() else None,
    })  # fmt: skip
    folder, resumed = OutputFolder(output), unfinished.check(options.resume)
    labeled = None if options.no_pictures else output / f"{stem}_pose{playable_suffix()}"
    smooth = OneEuro() if options.smooth else None
    table = VideoTable(output / f"{stem}.csv", network.config.skeleton, 1 if boxes is None else len(boxes), smooth)
    if options.resume and not resumed and table.path.exists():
        print(f"nothing to resume: {table.path} is whole")
        # A kill may have cut short the end of the run that is whole.
        unfinished.end()
        return True
    video = Video(source)
    engine = Engine(network, precision=settings.precision, tune=settings.tune, frozen=True)
    tracker = Tracker(engine, settings, str(source), boxes, None, True)
    with closing(video), closing(table):
        tracker.begin(video.size)
        names = [path.name for path in (table.path, labeled) if path is not None]
        replaced = folder.claim(names, options.overwrite)
        if replaced and not resumed:
            print(f"{output}: replaces {len(replaced)} files of an earlier run", file=sys.stderr)
        if not resumed:
            unfinished.begin()
        # A table that was there before this run began is not what this run has done.
        if unfinished.noted(STARTED):
            last = table.go_on()
        else:
            table.start()
            unfinished.note(STARTED)
            last = None
        first = 0 if last is None or last.frame is None else last.frame + 1
        if first:
            print(f"resuming: {first} frames are done")
        _follow(video, tracker, table, labeled if first == 0 else None, first, last, options.frames)
    if labeled is not None and first:
        _label(source, table, labeled)
    folder.finish()
    unfinished.end()
    print("wrote " + ", ".join(str(path) for path in (table.path, labeled) if path is not None))
    return not video.cut_short


def _follow(
    video: Video, tracker: Tracker, table: VideoTable, labeled: Path | None, first: int, last: Result | None,
    frames: int | None,
) -> None:  # fmt: skip
    """Frames from number `first` on into the table and, if it is the whole of them, the labeled video."""
    total = video.announced if frames is None else frames
    started, done = time.perf_counter(), 0
    with ExitStack() as stack:
        out = stack.enter_context(_labeled_video(labeled, video)) if labeled is not None else None
        results = stack.enter_context(closing(tracker.run(video, first, last)))
        wanted = islice(results, None if frames is None else max(0, frames - first))
        bar = tqdm(wanted, total=total, initial=first, desc=video.name, unit="frame", disable=not sys.stderr.isatty())
        with _camera_ends_well(video):
            for found in bar:
                shown = table.add(found)
                if out is not None:
                    out.write(label(found.image(), shown), None if video.steady else shown.seconds)
                done += 1
    print(f"{first + done} frames, {done / (time.perf_counter() - started):.1f} frames/s")


@contextmanager
def _camera_ends_well(video: Video) -> Iterator[None]:
    """Stop a camera at Ctrl-C; a file can be resumed."""
    try:
        yield
    except KeyboardInterrupt:
        if not video.is_camera:
            print("\nstopped; the same command with --resume goes on", file=sys.stderr)
            raise


@contextmanager
def _labeled_video(path: Path, video: Video) -> Iterator[VideoOut]:
    """Open a video like another for writing; print its codec once it is written."""
    with write_video(path, video.rate if video.steady else LARGEST_RATE, video.size) as out:
        yield out
    print(f"{path.name}: {out.codec}")


def _label(source: Path | int, table: VideoTable, path: Path) -> None:
    """Write the whole video with the poses of the table drawn in."""
    video = Video(source)
    with closing(video), _labeled_video(path, video) as out:
        pairs = zip(table.results(), video.frames(), strict=False)
        bar = tqdm(pairs, total=video.announced, desc=path.name, unit="frame", disable=not sys.stderr.isatty())
        for result, frame in bar:
            out.write(label(frame.image, result), None if video.steady else frame.seconds)


def label(image: np.ndarray, result: Result) -> np.ndarray:
    """Return the frame with every subject's skeleton: [H, W, 3] uint8 BGR."""
    picture = image
    for keypoints, scores, roi in zip(result.keypoints, result.scores, result.rois, strict=True):
        picture = skeleton_overlay(picture, keypoints, scores, result.skeleton, side=roi.side)
    return picture
