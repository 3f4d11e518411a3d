"""`stream`: the poses of a video or a camera, frame by frame, the regions following the subjects."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cpm_fast.engine import Engine
from cpm_fast.inference.asking import AUTO, Asked
from cpm_fast.inference.settings import Settings, engine_of, find_network
from cpm_fast.inference.smoothing import OneEuro, Smoother
from cpm_fast.inference.tracking.following import Following
from cpm_fast.inference.tracking.tracker import Tracker
from cpm_fast.media.decoder import DEFAULT_RATE
from cpm_fast.media.image import shown
from cpm_fast.media.sources import check_color, sources_of
from cpm_fast.media.video import Video, VideoFrame
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Result
from cpm_fast.system.numbers import is_finite, is_whole, plain
from cpm_fast.system.urls import is_url, shown_url


def stream(
    source: str | Path | int | Iterable[Any],
    *,
    model: CPM | str | Path | None = None,
    boxes: Any = None,
    rois: Any = None,
    follow: bool = True,
    smooth: bool | OneEuro = False,
    find: Literal["auto", "search"] | bool | CPM | str | Path | Callable[[np.ndarray], Any] = "auto",
    max_subjects: int | None = None,
    min_find_score: float | None = None,
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

    With a finder, subjects come and go: the finder looks for new ones in every fifth frame, and each is followed under
    a number of its own (`result.ids`) until it has not been seen for 25 frames, or has left the picture. From frame to
    frame poses go to the subjects whose key points and regions, moved by their last velocity, are most like theirs.

    Without a finder every frame has one subject, or those of the boxes.

    The network looks where the subject was in the frame before: at the box of the parts that it was sure of, with the
    margin it was trained for. If it was sure of fewer than half, it starts again from the first region; a frame in
    which it finds the subject from there is looked at once more, from near by. Memory stays bounded:
    `result.image()` and `plot()` work until the next result is asked for.

    Args:
        source: a video file, the number of a camera, a URL such as rtsp://host/stream, or frames, one after another,
            as `infer` takes them.
        model: as for `infer`.
        boxes: of the subjects in the first frame: [N, 4] (left, top, right, bottom) pixels, or one [4].
        rois: the same as a `Roi` or a list of them. Neither, and no finder: one subject, and each frame is first seen
            whole.
        follow: whether regions follow the parts; if not, every frame has the regions of the first.
        smooth: filter the key points of each subject over time; True is `OneEuro()`. Regions follow what was found.
        find: how to find subjects if neither boxes nor rois are given, as for `infer`. False, and "auto" for weights
            without a finder, or with max_subjects=1 or follow=False: one subject, seen whole at first.
        max_subjects: followed at a time.
        min_find_score: the least score of a new subject, as for `infer`.
        pyramid, flip, batch, device, precision, color, refine, belief_maps, threads, tune: as for `infer`.
        rate: frames per second, for the times of frames that come from neither file nor camera.

    Returns:
        An iterator of one result per frame, with `frame`, `seconds` and `ids`. Its `roi_source` is "parts" where the
        region follows the last frame's, otherwise that of the start. Closing it closes the video.

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
    source = plain(source) if is_whole(source) else source
    if isinstance(source, bool):
        raise TypeError(f"source must be a video file, a camera's number or frames, got {source}")
    if not isinstance(smooth, bool | OneEuro):
        raise TypeError(f"smooth must be True, False or a OneEuro, got {smooth!r}")
    check_color(color)
    network = find_network(model, device)
    name = f"camera {source}" if isinstance(source, int) else shown_source(source) if _is_path(source) else "video"
    engine = engine_of(model, network, precision, tune)
    asked = Asked(find, boxes is not None or rois is not None, max_subjects, min_find_score)
    tracker = make_tracker(engine, settings, name, asked, boxes, rois, follow)
    results: Iterator[Result]
    if isinstance(source, int) or _is_path(source):
        results = tracker.run(Video(source))  # type: ignore[arg-type]
    elif isinstance(source, Iterable) and not isinstance(source, np.ndarray | torch.Tensor):
        if not is_finite(rate) or rate <= 0:
            raise ValueError(f"rate must be a positive number of frames per second, got {rate!r}")
        results = tracker.results(_frames(source, color, float(rate)))
    else:
        raise TypeError(f"source must be a video file, a camera's number or frames, got {type(source).__name__}")
    filtering = OneEuro() if smooth is True else smooth
    return smoothed(results, filtering) if filtering else results


def make_tracker(
    engine: Engine,
    settings: Settings,
    name: str,
    asked: Asked,
    boxes: Any = None,
    rois: Any = None,
    follow: bool = True,
) -> Tracker:
    """Return the tracker: of subjects that come and go if there is a search for them, otherwise of fixed ones.

    Args:
        engine, settings, name, boxes, rois, follow: as for `Tracker`.
        asked: the search for subjects.

    Raises:
        FileNotFoundError: no such finder.
        ValueError: it is no finder, or subjects are to be found and not to be followed.
    """
    alone = asked.max_subjects == 1 or not follow
    looks = None if asked.find == AUTO and alone and not asked.given else asked.of(engine.model, settings.precision)
    if looks is None:
        return Tracker(engine, settings, name, boxes, rois, follow)
    if not follow:
        raise ValueError("follow must be True where subjects are found, got False; give boxes, rois or find=False")
    return Following(engine, settings, name, looks, asked.max_subjects)


def smoothed(results: Iterator[Result], filtering: OneEuro) -> Iterator[Result]:
    """Yield the results with the key points of each subject filtered over time."""
    smoothers: dict[int, Smoother] = {}
    for result in results:
        yield smooth_result(result, smoothers, filtering)


def smooth_result(result: Result, smoothers: dict[int, Smoother], filtering: OneEuro) -> Result:
    """Filter the result of a frame; `smoothers` holds one for each subject of the last frame that had any."""
    if len(result):
        for gone in smoothers.keys() - set(result.numbers):
            del smoothers[gone]
    found = zip(result.numbers, result.keypoints, result.rois, strict=True)
    points = [
        smoothers.setdefault(number, Smoother(filtering))(keypoints, result.seconds or 0.0, roi.side)
        for number, keypoints, roi in found
    ]
    return dataclasses.replace(result, keypoints=np.array(points, np.float32).reshape(result.keypoints.shape))


def shown_source(source: Any) -> str:
    """Return the name of a video file or URL in results and messages."""
    return shown_url(source) if is_url(source) else shown(Path(source))


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _frames(images: Iterable[Any], color: Literal["bgr", "rgb"], rate: float) -> Iterator[VideoFrame]:
    for index, image in zip(itertools.count(), images, strict=False):
        sources = sources_of(image, f"frame {index}", color)
        if len(sources) != 1:
            raise TypeError(f"frame {index} must be one image, got a folder")
        yield VideoFrame(sources[0].read(), index, index / rate)
