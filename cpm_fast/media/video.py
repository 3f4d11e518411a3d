"""Videos, cameras and streams, read a frame at a time."""

from __future__ import annotations

import math
import os
import re
import tempfile
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.media.decoder_log import heard, quiet_opencv
from cpm_fast.media.image import IMAGE_SUFFIXES, shown, suffixes
from cpm_fast.media.lost_frames import PacketTimes
from cpm_fast.media.matroska import unseen_seconds
from cpm_fast.system.urls import is_live, is_url, shown_url

# Suffixes that make a file of a folder a video; a file that is named itself is a video if the decoder reads it.
VIDEO_SUFFIXES = suffixes(
    "3g2 3gp asf avi divx f4v flv m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts mxf ogv ts vob webm wmv y4m"
)
ANIMATED_SUFFIXES = suffixes("gif webp png avif")
DEFAULT_RATE, LARGEST_RATE = 25.0, 1000.0
# A file may announce a little more than it holds; one that lacks more than this was cut short.
MISSING_FRAMES, MISSING_SHARE = 2, 0.01
# The reader whose log OpenCV can silence.
FFMPEG = "FFMPEG"
# Most frames in a row that may fail to be decoded before reading ends: at the end of a file all fail.
MOST_BAD_FRAMES = 50
# Largest distance of the second frame from the place that the file's rate gives it, in frames.
RATE_TOLERANCE = 0.2
# If a frame comes more than this many steps after the previous one, the packets between them are counted.
LONG_STEP = 1.5
# Most frames that are read ahead to see whether times go back.
MOST_LATE_FRAMES = 8


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame of a video.

    Args:
        image: [H, W, 3] uint8 BGR; of a damaged frame the last one before it, or else the first one after it.
        index: its number, from 0.
        seconds: its time in the video.
        decode: seconds of decoding it.
        damaged: whether it could not be decoded.
    """

    image: np.ndarray
    index: int
    seconds: float
    decode: float = 0.0
    damaged: bool = False


@dataclass(frozen=True, eq=False)
class _Read:
    """A frame as the decoder gives it: image, when it is shown, how long it took, and how many before it failed."""

    image: np.ndarray
    seconds: float
    decode: float
    lost: int


def is_video_file(path: Path) -> bool:
    """Return whether a file is a video: by its suffix if that decides, otherwise by trying the decoders."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if not path.is_file() or (suffix in IMAGE_SUFFIXES and suffix not in ANIMATED_SUFFIXES):
        return False
    if suffix in ANIMATED_SUFFIXES:
        return _animated(path) and _opens(path)
    return not _is_picture(path) and _opens(path)


def _opens(path: Path) -> bool:
    try:
        Video(path).close()
    except (ValueError, OSError):
        return False
    return True


def _animated(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    # Pillow's readers raise exceptions of many kinds on damaged files.
    except Exception:
        return False


def _is_picture(path: Path) -> bool:
    """Return whether Pillow or OpenCV recognizes the file as a picture."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except Exception:
        try:
            return cv2.haveImageReader(str(path))
        # A name that is no text.
        except (cv2.error, UnicodeError, TypeError):
            return False


class Video:
    """A video file, a camera or a network stream; iterate once over its frames, upright as the file says.

    Args:
        source: a path, the number of a camera, or a URL.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no video that can be decoded, or has no frames.
        RuntimeError: there is no such camera or stream, or it gives no picture.
    """

    def __init__(self, source: str | Path | int) -> None:
        self.is_camera = isinstance(source, int) or is_live(source)
        is_file = not isinstance(source, int) and not is_url(source)
        self.name = (
            f"camera {source}"
            if isinstance(source, int)
            else shown(Path(source))
            if is_file
            else shown_url(str(source))
        )
        if is_file and not Path(source).is_file():  # type: ignore[arg-type]
            raise FileNotFoundError(f"{self.name}: no such video file")
        self._source = source
        self._last_read: _Read | None = None
        # Times of a damaged file may go back: the latest one, and frames that were read ahead for such times.
        self._latest = -math.inf
        self._coming: list[_Read] = []
        self._packets: PacketTimes | None = None
        # Steps of the file's rate at which there is neither a frame nor a packet.
        self._empty_steps = 0
        self._capture = _open(source)
        # The time of a frame is known once it is read.
        first = self._read_on()
        if first is None:
            self.close()
            if isinstance(source, int):
                raise RuntimeError(f"{self.name}: no such camera, or it gives no picture; the first camera is 0")
            if not is_file:
                raise RuntimeError(f"{self.name}: can't be opened, or it gives no picture")
            raise ValueError(f"{self.name}: not a video that can be decoded, cut short, or without frames")
        self._ahead = [first]
        self.size = (first.image.shape[0], first.image.shape[1])
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= LARGEST_RATE else DEFAULT_RATE
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        announced = announced if 1 <= announced < 2**31 and not self.is_camera else 0
        before = unseen_seconds(Path(source)) if is_file else 0.0  # type: ignore[arg-type]
        announced = 0 if before is None else max(0, round(announced - before * max(rate, 0)))
        # The duration is the container's; the count may be computed from it and a guessed rate.
        self.duration = announced / rate if announced and rate > 0 else None
        self.steady = self.is_camera or self._is_steady()
        self._counts = _counts_frames(source)
        self.announced = int(announced) if announced and (self.steady or self._counts) else None
        if not self.steady and self.duration and self.announced:
            self.rate = self.announced / self.duration
        self.cut_short, self.damaged = False, 0

    def frames(self, first: int = 0) -> Generator[VideoFrame]:
        """Yield the frames from number `first` on; those before are decoded and dropped, which works for every file.

        A frame that can't be decoded keeps its number and comes out as damaged. Warns at the end where there were
        such frames, and where a file ends before its time.
        """
        index, last, previous = 0, -1.0, self._ahead[0].image
        while (following := self._next()) is not None:
            seconds, lost = following.seconds, following.lost
            for _ in range(lost):
                seconds_lost = max(index / self.rate, last) if self.steady else max(last, 0.0)
                if index >= first:
                    yield VideoFrame(previous, index, seconds_lost, 0.0, damaged=True)
                index += 1
            # Some files and cameras give no times, or the same time again.
            seconds = seconds if seconds > last else (index / self.rate if index / self.rate > last else last + 1e-3)
            if index >= first:
                yield VideoFrame(following.image, index, seconds, following.decode)
            last, index, previous = seconds, index + 1, following.image
            self.damaged += lost
        for _ in range(self._lost_at_end(index)):
            if index >= first:
                yield VideoFrame(previous, index, max(index / self.rate, last), 0.0, damaged=True)
            index, self.damaged = index + 1, self.damaged + 1
        if self.damaged:
            warnings.warn(
                f"{self.name}: {self.damaged} of its {index} frames can't be decoded; their rows are empty",
                stacklevel=2,
            )
        self._check_end(index, last)

    def _next(self) -> _Read | None:
        return self._ahead.pop(0) if self._ahead else self._read_on()

    def _read_on(self) -> _Read | None:
        """Read the next frame that can be decoded, and count those before it that can't be."""
        read = self._coming.pop(0) if self._coming else self._decoded()
        if read is None:
            return None
        if self._last_read is not None:
            skipped = self._passed_over(self._latest, read.seconds)
            late = self._coming_late(read.seconds) if skipped else 0
            lost = max(read.lost, skipped - late)
            self._empty_steps += self._steps_without_frames(self._latest, read.seconds, lost + late)
            read = replace(read, lost=lost)
        self._latest = max(self._latest, read.seconds)
        self._last_read = read
        return read

    def _decoded(self) -> _Read | None:
        """Read the next frame; its `lost` counts the failures of the decoder before it."""
        before = self._last_read
        for failures in range(1 if self.is_camera else MOST_BAD_FRAMES):
            started = time.perf_counter()
            fine, image = self._read()
            if fine and image is not None and (before is None or image.shape == before.image.shape):
                return _Read(image, self._seconds(), time.perf_counter() - started, failures)
        return None

    def _coming_late(self, seconds: float) -> int:
        """Read ahead, and count the frames that follow a time and belong before it."""
        for late in range(MOST_LATE_FRAMES):
            if late == len(self._coming):
                following = self._decoded()
                if following is None:
                    return late
                self._coming.append(following)
            if self._coming[late].seconds >= seconds:
                return late
        return MOST_LATE_FRAMES

    def _passed_over(self, earlier: float, later: float) -> int:
        """Count the frames between two times that FFmpeg did not return: it skips frames that it can't decode."""
        late = later - earlier > LONG_STEP / self.rate
        return self._packets_between(earlier, later) if late else 0

    def _steps_without_frames(self, earlier: float, later: float, lost: int) -> int:
        """Count the steps between two frames that have neither a frame nor a known lost frame."""
        steps = (later - earlier) * self.rate
        return max(0, round(steps) - 1 - lost) if math.isfinite(steps) else 0

    def _lost_at_end(self, count: int) -> int:
        most = math.inf if self.announced is None else self.announced - count
        if self._last_read is None or most <= 0:
            return 0
        return int(min(most, self._packets_between(self._latest, math.inf)))

    def _packets_between(self, earlier: float, later: float) -> int:
        if self.is_camera or self._capture.getBackendName() != FFMPEG:
            return 0
        if self._packets is None:
            self._packets = PacketTimes(_open(self._source, raw=True))
        return self._packets.between(earlier, later)

    def _read(self) -> tuple[bool, np.ndarray | None]:
        try:
            if self.is_camera or self._capture.getBackendName() == FFMPEG:
                return self._capture.read()
            # Other readers print the errors of a frame.
            return heard(self._capture.read)[0]
        except cv2.error:
            return False, None

    def _seconds(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _is_steady(self) -> bool:
        """Return whether the second frame comes at the file's rate; the frame is kept for `frames`."""
        second = self._read_on()
        if second is None:
            return True
        self._ahead.append(second)
        passed = (second.seconds - self._ahead[0].seconds) * self.rate / (1 + second.lost)
        return second.seconds <= 0 or abs(passed - 1) <= RATE_TOLERANCE

    def _check_end(self, count: int, last: float) -> None:
        announced = self.announced
        if announced is not None and self.steady:
            self._check_count(count, announced, last)
        elif self.duration is not None and count > 1:
            step = last / (count - 1)
            missing_time = self.duration - last - step
            self.cut_short = missing_time > max(MISSING_FRAMES * step, MISSING_SHARE * self.duration)
            if self.cut_short:
                self._warn_of_cut(f"ends after {last:.2f} of the {self.duration:.2f} s it announces")

    def _check_count(self, count: int, announced: int, last: float) -> None:
        """Compare the number of frames with that of the file, which may announce a little more than it holds."""
        missing = announced - count
        many = missing > max(MISSING_FRAMES, MISSING_SHARE * announced)
        # If the times reach the end, the missing frames are in the middle.
        self.cut_short = many and announced - 1 - last * self.rate > MISSING_FRAMES
        if self.cut_short:
            self._warn_of_cut(f"ends after {count} of the {announced} frames it announces")
        elif many or 0 < missing <= self._empty_steps:
            warnings.warn(
                f"{self.name}: {missing} of its {announced} frames are lost; the times of the others are right "
                "and their numbers are not",
                stacklevel=4,
            )
        elif missing > 0 and self._counts:
            warnings.warn(
                f"{self.name}: gives {count} of the {announced} frames it announces; if one is lost within, those "
                "after it have too small numbers",
                stacklevel=4,
            )

    def _warn_of_cut(self, problem: str) -> None:
        warnings.warn(f"{self.name}: {problem}; is it cut short?", stacklevel=5)

    def close(self) -> None:
        self._capture.release()


def _counts_frames(source: str | Path | int) -> bool:
    """Return whether the kind of file holds an exact count of frames: MP4 and its kin, and AVI."""
    if isinstance(source, int) or is_url(source):
        return False
    with Path(source).open("rb") as file:
        head = file.read(12)
    return head[4:8] in (b"ftyp", b"moov", b"mdat") or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")


def _open(source: str | Path | int, raw: bool = False) -> cv2.VideoCapture:
    """Open quietly: OpenCV prints a page if a camera is missing, and our own error reports it."""
    with quiet_opencv():
        return heard(lambda: _captured(source, raw))[0]


def _captured(source: str | Path | int, raw: bool) -> cv2.VideoCapture:
    """Open for frames, or for a file's packets as they stand in it."""
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    if is_url(source):
        return cv2.VideoCapture(str(source))
    # A colon would be a protocol, a percent sign a pattern, and a name may be no text at all.
    path = Path(os.path.abspath(source))
    if re.fullmatch(r"[\w./ \\:+,()-]*", str(path), re.ASCII) and ":" not in path.name:
        return _captured_file(path, raw)
    with tempfile.TemporaryDirectory(prefix="cpm_fast") as folder:
        link = Path(folder) / f"video{path.suffix if path.suffix.isascii() else ''}"
        try:
            link.symlink_to(path)
        except OSError:
            # Windows asks for a right that few users have.
            link = path
        return _captured_file(link, raw)


def _captured_file(path: Path, raw: bool) -> cv2.VideoCapture:
    if raw:
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    return cv2.VideoCapture(str(path))
