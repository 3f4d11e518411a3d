"""One subject of a video, or several from given boxes: each is located where its parts were in the last frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Literal

import numpy as np

from cpm_fast.engine import Engine
from cpm_fast.inference.images import make_result
from cpm_fast.inference.parts import Sighting, look
from cpm_fast.inference.regions import RoiSource, given_regions
from cpm_fast.inference.settings import Settings
from cpm_fast.media.reading import prefetched
from cpm_fast.media.video import Video, VideoFrame
from cpm_fast.results.result import Result, Timing
from cpm_fast.roi import Roi

# Number of frames to decode ahead.
AHEAD_FRAMES = 4
# A pose is followed if at least half of its parts have a peak of this height.
FOLLOWED_SCORE, FOLLOWED_SHARE = 0.25, 0.5
# By how much the side of the region may change from one followed frame to the next: an arm that is lost for a moment
# must not make the region jump.
SIDE_STEP = 1.1


class PassingImage:
    """The frame of a result, which is kept until the next frame is requested."""

    def __init__(self, name: str, image: np.ndarray) -> None:
        self.name = name
        self._image: np.ndarray | None = image

    def read(self) -> np.ndarray:
        if self._image is None:
            raise ValueError(f"{self.name}: its picture is gone; plot a frame before the next is asked for")
        return self._image

    def release(self) -> None:
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
        if last is not None and self.start:
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
        self.start = [roi.on_grid() for roi in self.regions.of(0, size)]
        self.rois = self.start

    def results(self, frames: Iterator[VideoFrame]) -> Iterator[Result]:
        """Yield one result per frame."""
        for frame in frames:
            if not self.start:
                self.begin(size_of(frame))
            passing = PassingImage(self.name, frame.image)
            result = self._nothing(frame, passing) if frame.damaged else self._find(frame, passing)
            if self.follow and not frame.damaged:
                fresh = any(roi == start for roi, start in zip(self.rois, self.start, strict=True))
                self._move(result)
                if fresh and self.rois != self.start:
                    result = self._again(frame, passing, result)
            yield result
            passing.release()

    def _nothing(self, frame: VideoFrame, passing: PassingImage) -> Result:
        """Return the empty rows of a frame that can't be decoded; the regions stay where they are."""
        parts = self.engine.config.parts
        nowhere = np.full((len(self.rois), parts, 2), np.nan, np.float32)
        result = Result(
            keypoints=nowhere,
            scores=nowhere[..., 0].copy(),
            skeleton=self.engine.config.skeleton,
            name=self.name,
            size=size_of(frame),
            rois=tuple(self.rois),
            roi_source=self.regions.source,
            source=passing,
            timing=Timing(frame.decode),
        )
        return of_frame(result, frame, range(len(self.rois)))

    def _again(self, frame: VideoFrame, passing: PassingImage, first: Result) -> Result:
        """Look a second time, from nearby, after a look from too far away has found the subject."""
        second = self._find(dataclasses.replace(frame, decode=0.0), passing)
        self._move(second)
        timing = first.timing and second.timing and first.timing + second.timing
        return dataclasses.replace(second, timing=timing)

    def _find(self, frame: VideoFrame, passing: PassingImage) -> Result:
        found = look(self.engine, self.settings, frame.image, [Sighting(roi) for roi in self.rois])
        source: RoiSource | Literal["parts"] = self.regions.source if self.rois == self.start else "parts"
        config, maps = self.engine.config, self.settings.belief_maps
        result = make_result(found, self.rois, config, passing, size_of(frame), source, maps, frame.decode)
        return of_frame(result, frame, range(len(found)))

    def _move(self, last: Result) -> None:
        found = zip(last.keypoints, last.scores, last.rois, self.start, strict=True)
        margin = self.engine.config.margin
        self.rois = [followed(parts, scores, roi, start, margin) for parts, scores, roi, start in found]


def size_of(frame: VideoFrame) -> tuple[int, int]:
    """Return the (height, width) of a frame."""
    height, width = frame.image.shape[:2]
    return height, width


def of_frame(result: Result, frame: VideoFrame, ids: Iterable[int]) -> Result:
    """Return a result with the number and the time of its frame, and the numbers of its subjects."""
    return dataclasses.replace(result, frame=frame.index, seconds=frame.seconds, ids=tuple(ids))


def followed(parts_image: np.ndarray, scores: np.ndarray, roi: Roi, start: Roi, margin: float) -> Roi:
    """Return the next region: about the parts that the network was sure of, or the first one if they are too few.

    Args:
        parts_image: [P, 2] of the last frame.
        scores: [P].
        roi: the region in which they were found.
        start: the region of the first frame.
        margin: the network's.
    """
    return about_parts(parts_image, scores, margin, None if roi == start else roi) or start


def about_parts(parts_image: np.ndarray, scores: np.ndarray, margin: float, last: Roi | None = None) -> Roi | None:
    """Return the region around the parts that the network was sure of, on the grid; None if they are too few.

    Args:
        parts_image: [P, 2].
        scores: [P].
        margin: the network's.
        last: the region of the last frame, from whose side the new one differs by `SIDE_STEP` at most.
    """
    sure = sure_parts(parts_image, scores)
    if sure.sum() < max(2, FOLLOWED_SHARE * len(sure)):
        return None
    low, high = parts_image[sure].min(axis=0).astype(np.float64), parts_image[sure].max(axis=0).astype(np.float64)
    side = margin * float((high - low).max())
    if last is not None:
        side = min(max(side, last.side / SIDE_STEP), last.side * SIDE_STEP)
    center = (low + high) / 2
    return Roi((float(center[0]), float(center[1])), max(side, 1.0)).on_grid()


def sure_parts(parts_image: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return which parts [P, 2] have a place, and a score [P] that the next region may rely on: [P] bool."""
    return np.isfinite(parts_image).all(axis=1) & (scores >= FOLLOWED_SCORE)
