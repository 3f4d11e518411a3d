"""Frames of videos as pictures, extracted once, in order, to a temporary folder."""

from __future__ import annotations

import tempfile
import warnings
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import cv2

from cpm_fast.media.video import Video

# Compression of the temporary pictures: the fastest.
PNG_COMPRESSION = 1
# Most frames of a table in all.
MOST_FRAMES = 5000


class VideoFrames:
    """The frames that the rows of a table name.

    Pictures are made by `extract`, in one pass over each video: seeking is exact in few formats only. The folder is
    removed with this object, at the latest when the process ends.

    Args:
        pictures: name of a frame -> its picture's path.
    """

    def __init__(self) -> None:
        self.pictures: dict[str, Path] = {}
        self._wanted: dict[Path, dict[int, Path]] = defaultdict(dict)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def videos(self) -> list[Path]:
        return list(self._wanted)

    def add(self, name: str, video: Path, frame: float) -> str:
        """Request a frame and return its name.

        Args:
            name: of the video.
            video: its path.
            frame: its number, from 0.

        Raises:
            ValueError: not a whole number from 0, or more frames than `MOST_FRAMES`.
        """
        if not (frame >= 0 and frame == int(frame)):
            raise ValueError(f"frame must be a whole number from 0, got {frame:g}")
        called = f"{name} frame {int(frame)}"
        if called in self.pictures:
            return called
        if len(self.pictures) >= MOST_FRAMES:
            raise ValueError(f"a table may name {MOST_FRAMES} frames of videos; keep fewer rows")
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="cpm_fast-frames-")
        path = Path(self._folder.name) / f"{len(self.pictures):06}.png"
        self.pictures[called] = self._wanted[video][int(frame)] = path
        return called

    def extract(self) -> None:
        """Write the pictures; warn of a video that can't be read, whose frames are then missing."""
        for video, frames in self._wanted.items():
            last = max(frames)
            try:
                with closing(Video(video)) as opened:
                    for frame in opened.frames():
                        if frame.index in frames:
                            level = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
                            cv2.imwrite(str(frames[frame.index]), frame.image, level)
                        if frame.index >= last:
                            break
            except (ValueError, RuntimeError, OSError) as error:
                warnings.warn(f"no frames of {video}: {error}", stacklevel=2)
