"""Writing of videos, whole or not at all, in a form that browsers play if this build of OpenCV can."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from cpm_fast.media.decoder_log import heard, quiet_opencv
from cpm_fast.system.files import short_name

# By the suffix of the file: codecs that OpenCV's wheels bring with them, the one that browsers play first.
CODECS = {
    ".mp4": ("avc1", "mp4v"),
    ".m4v": ("avc1", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".mkv": ("avc1", "mp4v"),
    ".webm": ("VP80",),
    ".avi": ("MJPG",),
}
CODEC_NAMES = {"avc1": "H.264", "VP80": "VP8", "mp4v": "MPEG-4 part 2", "MJPG": "Motion JPEG"}
# The rate for a source with irregular times: it keeps them to 8 ms.
LARGEST_RATE = 60.0


class VideoOut:
    """A video to write, of BGR frames of one size.

    Args:
        codec: its name, in words.
    """

    def __init__(self, writer: cv2.VideoWriter, path: Path, size: tuple[int, int], rate: float, codec: str) -> None:
        self._writer, self.path, self.size, self.rate, self.codec = writer, path, size, rate, codec
        self.count = 0
        self._last: np.ndarray | None = None

    def write(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Add a frame; with its time `seconds`, the frame before is repeated until then.

        A frame that comes sooner than the rate allows takes the place of the one before.
        """
        if image.shape[:2] != self.size:
            raise ValueError(f"{self.path}: frames must be {self.size} (height, width), got {image.shape[:2]}")
        at = self.count + (self._last is not None) if seconds is None else round(seconds * self.rate)
        if self._last is not None:
            for _ in range(at - self.count):
                self._put(self._last)
        self._last = image

    def finish(self) -> None:
        """Write the last frame."""
        if self._last is not None:
            self._put(self._last)
            self._last = None

    def _put(self, image: np.ndarray) -> None:
        self._writer.write(image)
        self.count += 1


@lru_cache(maxsize=16)
def codec_for(suffix: str) -> str | None:
    """Return the first codec of a suffix that this build of OpenCV can write; None if there is none."""
    for codec in CODECS.get(suffix, ()):
        with TemporaryDirectory(prefix="cpm_fast") as folder:
            writer = _writer(Path(folder) / f"try{suffix}", codec, 25.0, (64, 64))
            opened = writer.isOpened()
            writer.release()
        if opened:
            return codec
    return None


def playable_suffix() -> str:
    """Return the suffix of a video that browsers play: .mp4 if this build writes H.264, otherwise .webm."""
    return ".mp4" if codec_for(".mp4") == "avc1" else ".webm"


@contextmanager
def write_video(path: Path, rate: float, size: tuple[int, int]) -> Iterator[VideoOut]:
    """Write a video file that takes its name once it is whole; an exception leaves an earlier file unchanged.

    Args:
        path: its suffix decides the codec, see CODECS. An odd height or width loses its last row or column, as these
            codecs need even ones.
        rate: frames per second.
        size: (height, width).

    Raises:
        ValueError: there is no codec for the suffix, or OpenCV can't write it.
        OSError: it can't be written to its end, for instance because the disk is full.
    """
    if path.suffix.lower() not in CODECS:
        raise ValueError(f"{path}: a video must have one of the suffixes {', '.join(CODECS)}, got {path.suffix!r}")
    codec = codec_for(path.suffix.lower())
    if codec is None:
        raise ValueError(f"{path}: this build of OpenCV writes no such video; .avi works everywhere")
    # The same name each time: the next run overwrites a killed one's file.
    temporary = path.with_name(short_name(f".{path.stem}", f".part{path.suffix}"))
    writer = _writer(temporary, codec, rate, size)
    try:
        if not writer.isOpened():
            raise OSError(f"{path}: OpenCV can't write {CODEC_NAMES[codec]} video here")
        out = VideoOut(writer, path, size, rate, CODEC_NAMES[codec])
        yield out
        out.finish()
        with quiet_opencv():
            writer.release()
        _check(temporary, path, out.count)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with quiet_opencv():
            writer.release()
        temporary.unlink(missing_ok=True)


def _writer(path: Path, codec: str, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    fourcc = cv2.VideoWriter.fourcc(*codec)
    # A string that is not UTF-8 ends the process in OpenCV; bytes are the same name on every system.
    name: Any = os.fsencode(os.path.abspath(path))
    with quiet_opencv():
        # It prints that the codec of a WebM has another tag, and takes that.
        writer, _ = heard(lambda: cv2.VideoWriter(name, fourcc, rate, (size[1], size[0])))
    return writer


def _check(temporary: Path, path: Path, wanted: int) -> None:
    """Count the frames by reading back: the writer does not report a full disk."""
    count = 0
    with quiet_opencv():
        name: Any = os.fsencode(os.path.abspath(temporary))
        capture = cv2.VideoCapture(name)
        while capture.grab():
            count += 1
        capture.release()
    if count < wanted:
        raise OSError(f"{path}: holds {count} of {wanted} frames after writing; is the disk full?")
