"""Videos with the poses drawn in, and a legend beside them if the parts are not a person's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cpm_fast.inference.video_table import VideoTable
from cpm_fast.media.video import Video
from cpm_fast.media.video_out import LARGEST_RATE, VideoOut, write_video
from cpm_fast.results.marks import is_person, legend, with_legend
from cpm_fast.results.result import Result
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.progress import bar_wanted


class DrawnVideo:
    """A video that grows by one frame with its poses at a time.

    Args:
        out: the video to write to.
        skeleton: of the poses.
        min_score: parts below it are left out.
        details: whether to draw boxes and scores.
        steady: whether frames come at an even rate.
    """

    def __init__(self, out: VideoOut, skeleton: Skeleton, min_score: float, details: bool, steady: bool) -> None:
        self._out, self._skeleton, self._steady = out, skeleton, steady
        self._min_score, self._details = min_score, details

    def add(self, result: Result, image: np.ndarray, seconds: float | None) -> None:
        """Draw a result on its frame [H, W, 3] uint8 BGR, and write that."""
        picture = result.drawn(image, min_score=self._min_score, details=self._details)
        if not is_person(self._skeleton):
            picture = with_legend(picture, self._skeleton)
        self._out.write(picture, None if self._steady else seconds)


@contextmanager
def drawn_video(path: Path, video: Video, table: VideoTable, details: bool) -> Iterator[DrawnVideo]:
    """Open a video like another, wider by the legend; say in which codec once it is written."""
    height, width = video.size
    width += 0 if is_person(table.skeleton) else legend(table.skeleton, height).shape[1]
    with write_video(path, video.rate if video.steady else LARGEST_RATE, (height, width)) as out:
        yield DrawnVideo(out, table.skeleton, table.min_score, details, video.steady)
    print(f"{path.name}: {out.codec}")


def draw_again(source: Path | str | int, table: VideoTable, path: Path, details: bool, count: int) -> None:
    """Write the first `count` frames of a video with the poses of the table drawn in."""
    video, parts = Video(source), len(table.skeleton)
    nobody = Result(np.empty((0, parts, 2), np.float32), np.empty((0, parts), np.float32), table.skeleton)
    with closing(video), drawn_video(path, video, table, details) as out:
        results = table.results()
        result = next(results, None)
        frames = islice(video.frames(), count)
        for frame in tqdm(frames, total=count, desc=path.name, unit="frame", disable=not bar_wanted()):
            # A frame in which nobody is has no rows.
            there = result is not None and result.frame == frame.index
            out.add(result if there and result is not None else nobody, frame.image, frame.seconds)
            result = next(results, None) if there else result
