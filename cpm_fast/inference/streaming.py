"""`stream`: the poses of a video or a camera, frame by frame, the region following the subject."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cpm_fast.engine import Engine
from cpm_fast.inference.images import make_result
from cpm_fast.inference.parts import look
from cpm_fast.inference.regions import RoiSource, given_regions
from cpm_fast.inference.settings import Settings, find_network
from cpm_fast.inference.smoothing import OneEuro, Smoother
from cpm_fast.media.image import shown
from cpm_fast.media.reading import prefetched
from cpm_fast.media.sources import list_images
from cpm_fast.media.video import DEFAULT_RATE, Video, VideoFrame
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Result, Timing
from cpm_fast.roi import Roi
from cpm_fast.system.urls import is_url, shown_url

# Number of frames to decode ahead.
AHEAD_FRAMES = 4
# A pose is followed if at least half of its parts have a peak of this height.
FOLLOWED_SCORE, FOLLOWED_SHARE = 0.25, 0.5
# By how much the side of the region may change from one followed frame to the next: an arm that is lost for a moment
# must not make the region jump.
SIDE_STEP = 1.1
# Regions lie on a grid this fine, so that a table gives back exactly what the network saw.
GRID_PX = 1 / 16


def stream(
    source: str | Path | int | Iterable[Any],
    *,
    model: CPM | str | Path | None = None,
    boxes: Any = None,
    rois: Any = None,
    follow: bool = True,
    smooth: bool | OneEuro = False,
    pyramid: Sequence[float] = (1.0,),
    flip: bool = False,
    batch: int = 16,
    device: str | torch.device = "auto",
    precision: str = "auto",
    color: Literal["bgr", "rgb"] = "bgr",
    refine: bool = True,
    belief_maps: bool = False,
    threads: int | None = None,
    tune: bool = False,
    rate: float = DEFAULT_RATE,
) -> Iterator[Result]:
    """Find the parts of the subject, or of several, in every frame of a video.

    The network looks where the subject was in the frame before: at the box of the parts that it was sure of, with the
    margin it was trained for. If it was sure of fewer than half, it starts again from the first region; a frame in
    which it finds the subject from there is looked at once more, from near by. Memory stays bounded:
    `result.image()` and `plot()` work until the next result is asked for.

    Args:
        source: a video file, the number of a camera, a URL such as rtsp://host/stream, or frames, one after another,
            as `infer` takes them.
        model: as for `infer`.
        boxes: of the subjects in the first frame: [N, 4] (left, top, right, bottom) pixels, or one [4].
        rois: the same as a `Roi` or a list of them. Neither: one subject, and each frame is first seen whole.
        follow: whether regions follow the parts; if not, every frame has the regions of the first.
        smooth: filter the key points of each subject over time; True is `OneEuro()`. Regions follow what was found.
        pyramid, flip, batch, device, precision, color, refine, belief_maps, threads, tune: as for `infer`.
        rate: frames per second, for the times of frames that come from neither file nor camera.

    Returns:
        An iterator of one result per frame, with `frame` and `seconds`. Its `roi_source` is "parts" where the region
        follows the last frame's, otherwise that of the start. Closing it closes the video.

    Raises:
        FileNotFoundError: no such video or weights.
        ValueError: a number is wrong, a box is not one or lies outside the first frame, or it is no video that can be
            decoded or has no frames.
        TypeError: a frame or an argument is of the wrong type.
        RuntimeError: the camera or the device is not available.

    Examples:
        >>> from cpm_fast.data.drawn.synthetic import DrawnFigures
        >>> frames = [DrawnFigures(1)[0].image] * 2
        >>> [result.frame for result in stream(frames, model="compact-drawn", device="cpu")]
        [0, 1]
    """
    settings = Settings(
        pyramid, flip, batch, precision, refine=refine, belief_maps=belief_maps, threads=threads, tune=tune
    )
    if not isinstance(smooth, bool | OneEuro):
        raise TypeError(f"smooth must be True, False or a OneEuro, got {smooth!r}")
    network = find_network(model, device)
    name = f"camera {source}" if isinstance(source, int) else shown_source(source) if _is_path(source) else "video"
    # Nobody else can change weights that were loaded here.
    engine = Engine(network, precision=precision, tune=tune, frozen=not isinstance(model, CPM))
    tracker = Tracker(engine, settings, name, boxes, rois, follow)
    results: Iterator[Result]
    if isinstance(source, int) or _is_path(source):
        results = tracker.run(Video(source))  # type: ignore[arg-type]
    elif isinstance(source, Iterable) and not isinstance(source, np.ndarray | torch.Tensor):
        if not 0 < rate < float("inf"):
            raise ValueError(f"rate must be a positive number of frames per second, got {rate}")
        results = tracker.results(_frames(source, color, rate))
    else:
        raise TypeError(f"source must be a video file, a camera's number or frames, got {type(source).__name__}")
    filtering = OneEuro() if smooth is True else smooth
    return smoothed(results, filtering) if filtering else results


def smoothed(results: Iterator[Result], filtering: OneEuro) -> Iterator[Result]:
    """Yield the results with the key points of each subject filtered over time."""
    smoothers: list[Smoother] = []
    for result in results:
        yield smooth_result(result, smoothers, filtering)


def smooth_result(result: Result, smoothers: list[Smoother], filtering: OneEuro) -> Result:
    """One frame's result, filtered; `smoothers` holds one per subject, and is filled at the first."""
    smoothers.extend(Smoother(filtering) for _ in range(len(result) - len(smoothers)))
    found = zip(smoothers, result.keypoints, result.rois, strict=True)
    points = [smoother(keypoints, result.seconds or 0.0, roi.side) for smoother, keypoints, roi in found]
    return dataclasses.replace(result, keypoints=np.array(points, np.float32).reshape(result.keypoints.shape))


class PassingImage:
    """The frame of a result, which is kept until the next frame is requested."""

    def __init__(self, name: str, image: np.ndarray) -> None:
        self.name = name
        self._image: np.ndarray | None = image

    def read(self) -> np.ndarray:
        if self._image is None:
            raise ValueError(f"{self.name}: its picture is gone; plot a frame before the next is asked for")
        return self._image

    def let_go(self) -> None:
        self._image = None


class Tracker:
    """Tracking of subjects: each is located where its parts were in the last frame.

    Args:
        engine: the network.
        settings: of inference.
        name: of the video, for results and messages.
        boxes, rois, follow: as for `stream`.
    """

    def __init__(self, engine: Engine, settings: Settings, name: str, boxes: Any, rois: Any, follow: bool) -> None:
        self.engine, self.name, self.follow = engine, name, follow
        self.settings = settings.for_network(engine.config)
        self.regions = given_regions([name], False, boxes, rois, engine.config.margin)
        self.start: list[Roi] = []
        self.rois: list[Roi] = []

    def run(self, video: Video, first: int = 0, last: Result | None = None) -> Generator[Result]:
        """Yield the results of a video's frames from number `first` on; `last` is the result of the frame before."""
        self.begin(video.size)
        if last is not None:
            self._move(last)
        frames = video.frames(first)
        # Old frames of a camera are useless: its frames are read only as they are needed.
        ahead = frames if video.is_camera else prefetched(frames, AHEAD_FRAMES)
        try:
            yield from self.results(ahead)
        finally:
            ahead.close()
            frames.close()
            video.close()

    def begin(self, size: tuple[int, int]) -> None:
        """Set the regions of the first frame, for frames of this (height, width).

        Raises:
            ValueError: a box lies outside.
        """
        self.start = [on_grid(roi) for roi in self.regions.of(0, size)]
        self.rois = self.start

    def results(self, frames: Iterator[VideoFrame]) -> Iterator[Result]:
        """Yield one result per frame."""
        for frame in frames:
            if not self.start:
                self.begin((frame.image.shape[0], frame.image.shape[1]))
            passing = PassingImage(self.name, frame.image)
            result = self._nothing(frame, passing) if frame.damaged else self._find(frame, passing)
            if self.follow and not frame.damaged:
                fresh = any(roi == start for roi, start in zip(self.rois, self.start, strict=True))
                self._move(result)
                if fresh and self.rois != self.start:
                    result = self._again(frame, passing, result)
            yield result
            passing.let_go()

    def _nothing(self, frame: VideoFrame, passing: PassingImage) -> Result:
        """Return the empty rows of a frame that can't be decoded; the regions stay where they are."""
        parts = self.engine.config.parts
        nowhere = np.full((len(self.rois), parts, 2), np.nan, np.float32)
        return Result(
            nowhere, nowhere[..., 0].copy(), self.engine.config.skeleton, self.name, frame.image.shape[:2],
            tuple(self.rois), self.regions.source, source=passing, timing=Timing(frame.decode), frame=frame.index,
            seconds=frame.seconds,
        )  # fmt: skip

    def _again(self, frame: VideoFrame, passing: PassingImage, first: Result) -> Result:
        """Look a second time, from nearby, after a look from too far away has found the subject."""
        second = self._find(dataclasses.replace(frame, decode=0.0), passing)
        self._move(second)
        timing = first.timing and second.timing and first.timing + second.timing
        return dataclasses.replace(second, timing=timing)

    def _find(self, frame: VideoFrame, passing: PassingImage) -> Result:
        found = look(self.engine, self.settings, frame.image, self.rois)
        source: RoiSource | Literal["parts"] = self.regions.source if self.rois == self.start else "parts"
        size = (frame.image.shape[0], frame.image.shape[1])
        return make_result(found, self.rois, self.engine.config, passing, size, source, self.settings.belief_maps,
                           frame.decode, frame.index, frame.seconds)  # fmt: skip

    def _move(self, last: Result) -> None:
        found = zip(last.keypoints, last.scores, last.rois, self.start, strict=True)
        margin = self.engine.config.margin
        self.rois = [followed(parts, scores, roi, start, margin) for parts, scores, roi, start in found]


def followed(parts_image: np.ndarray, scores: np.ndarray, roi: Roi, start: Roi, margin: float) -> Roi:
    """Return the next region: about the parts that the network was sure of, or the first one if they are too few.

    Args:
        parts_image: [P, 2] of the last frame.
        scores: [P].
        roi: the region in which they were found.
        start: the region of the first frame.
        margin: the network's.
    """
    sure = np.isfinite(parts_image).all(axis=1) & (scores >= FOLLOWED_SCORE)
    if sure.sum() < max(2, FOLLOWED_SHARE * len(sure)):
        return start
    low, high = parts_image[sure].min(axis=0).astype(np.float64), parts_image[sure].max(axis=0).astype(np.float64)
    side = margin * float((high - low).max())
    if roi != start:
        side = min(max(side, roi.side / SIDE_STEP), roi.side * SIDE_STEP)
    center = (low + high) / 2
    return on_grid(Roi((float(center[0]), float(center[1])), max(side, 1.0)))


def on_grid(roi: Roi) -> Roi:
    """Return the region with its numbers rounded to the grid; its corners are on one twice as fine."""
    x, y, side = (round(value / GRID_PX) * GRID_PX for value in (*roi.center, roi.side))
    return Roi((x, y), max(side, GRID_PX))


def shown_source(source: Any) -> str:
    """Return the name of a video file or URL in results and messages."""
    return shown_url(source) if is_url(source) else shown(Path(source))


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _frames(images: Iterable[Any], color: Literal["bgr", "rgb"], rate: float) -> Iterator[VideoFrame]:
    for index, image in zip(itertools.count(), images, strict=False):
        sources, _ = list_images([image], color)
        if len(sources) != 1:
            raise TypeError(f"frame {index} must be one image, got a folder")
        yield VideoFrame(sources[0].read(), index, index / rate)
