"""Videos with the poses drawn in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from cpm_fast.inference.video_table import VideoTable
from cpm_fast.media.video import Video
from cpm_fast.media.video_out import LARGEST_RATE, VideoOut, write_video
from cpm_fast.system.progress import bar_wanted


@contextmanager
def labeled_video(path: Path, video: Video) -> Iterator[VideoOut]:
    """Open a video like another; say in which codec once it is written."""
    with write_video(path, video.rate if video.steady else LARGEST_RATE, video.size) as out:
        yield out
    print(f"{path.name}: {out.codec}")


def label_again(source: Path | str | int, table: VideoTable, path: Path, details: bool) -> None:
    """Write the whole video with the poses of the table drawn in."""
    video = Video(source)
    with closing(video), labeled_video(path, video) as out:
        pairs = zip(table.results(), video.frames(), strict=False)
        bar = tqdm(pairs, total=video.announced, desc=path.name, unit="frame", disable=not bar_wanted())
        for result, frame in bar:
            out.write(
                result.drawn(frame.image, min_score=table.min_score, details=details),
                None if video.steady else frame.seconds,
            )
