"""Videos and cameras, read a frame at a time, and videos written whole or not at all."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
# What is written, by the suffix of the file: codecs that OpenCV's wheels bring with them.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
DEFAULT_RATE = 25.0
# A file may announce a little more than it holds; what lacks more than this was cut short.
MISSING_FRAMES, MISSING_SHARE = 2, 0.01


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame: [H, W, 3] uint8 BGR, its number from 0, when it is shown, and how long decoding it took, seconds."""

    image: np.ndarray
    index: int
    seconds: float
    decode: float = 0.0


class Video:
    """A video file or a camera; iterate once over its frames, upright as the file says.

    Args:
        source: a path, or the number of a camera.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no video that can be decoded, or has no frames.
        RuntimeError: there is no such camera, or it gives no picture.
    """

    def __init__(self, source: str | Path | int) -> None:
        self.is_camera = isinstance(source, int)
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        if not isinstance(source, int) and not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such video file")
        self._capture = _open(source)
        fine, first = self._capture.read()
        if not fine or first is None:
            self.close()
            if self.is_camera:
                raise RuntimeError(f"{self.name}: no such camera, or it gives no picture; the first camera is 0")
            raise ValueError(f"{self.name}: not a video that can be decoded, cut short, or without frames")
        self._first: np.ndarray | None = first
        # The time of a frame is known once it is read.
        self._first_seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self.size = (first.shape[0], first.shape[1])
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= 1000 else DEFAULT_RATE
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(announced) if announced >= 1 and not self.is_camera else None
        self.cut_short = False

    def frames(self, first: int = 0) -> Generator[VideoFrame]:
        """The frames from number `first` on; those before are decoded and dropped, which no file gets wrong.

        Warns where a file ends before the frames that it announces.
        """
        index, last, decode = 0, -1.0, 0.0
        image: np.ndarray | None = self._first
        self._first = None
        seconds = self._first_seconds
        while image is not None:
            # Some files and cameras tell no times, or stand still.
            seconds = seconds if seconds > last else index / self.rate
            if index >= first:
                yield VideoFrame(image, index, seconds, decode)
            last, index = seconds, index + 1
            started = time.perf_counter()
            fine, image = self._capture.read()
            decode = time.perf_counter() - started
            image = image if fine else None
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.announced is not None:
            missing = self.announced - index
            if missing > max(MISSING_FRAMES, MISSING_SHARE * self.announced):
                self.cut_short = True
                warnings.warn(
                    f"{self.name}: ends after {index} of the {self.announced} frames it announces; is it cut short?",
                    stacklevel=2,
                )

    def close(self) -> None:
        self._capture.release()


def _open(source: str | Path | int) -> cv2.VideoCapture:
    """Quietly: OpenCV prints a page where a camera is not there, and what is wrong is said by an error of ours."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source if isinstance(source, int) else str(source))
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoOut:
    """Frames go in, in BGR and of one size."""

    def __init__(self, writer: cv2.VideoWriter, path: Path, size: tuple[int, int]) -> None:
        self._writer, self.path, self.size = writer, path, size

    def write(self, image: np.ndarray) -> None:
        if image.shape[:2] != self.size:
            raise ValueError(f"{self.path}: frames must be {self.size} (height, width), got {image.shape[:2]}")
        self._writer.write(image)


@contextmanager
def write_video(path: Path, rate: float, size: tuple[int, int]) -> Iterator[VideoOut]:
    """A video file that takes its name once it is whole; an exception leaves what stood there before.

    Args:
        path: its suffix says the codec, see CODECS. An odd height or width loses its last row or column, as these
            codecs have it.
        rate: frames a second.
        size: (height, width).

    Raises:
        ValueError: there is no codec for the suffix, or OpenCV can't write it.
    """
    codec = CODECS.get(path.suffix.lower())
    if codec is None:
        raise ValueError(f"{path}: a video must have one of the suffixes {', '.join(CODECS)}, got {path.suffix!r}")
    # The same name each time: what a killed run left is written over by the next.
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*codec), rate, (size[1], size[0]))
    try:
        if not writer.isOpened():
            raise ValueError(f"{path}: OpenCV can't write {codec} video here")
        yield VideoOut(writer, path, size)
        writer.release()
        os.replace(temporary, path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
