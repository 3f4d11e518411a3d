"""Videos, cameras and streams, read a frame at a time."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.media.decoder import DEFAULT_RATE, Decoded, Decoder
from cpm_fast.media.image import shown
from cpm_fast.media.matroska import unseen_seconds
from cpm_fast.system.urls import is_live, is_url, shown_url

LARGEST_RATE = 1000.0
# A file may announce a little more than it holds; one that lacks more than this was cut short.
MISSING_FRAMES, MISSING_SHARE = 2, 0.01
# Largest distance of the second frame from the place that the file's rate gives it, in frames.
RATE_TOLERANCE = 0.2


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
        self._decoder = Decoder(source, self.is_camera)
        # The time of a frame is known once it is read.
        first = self._decoder.next()
        if first is None:
            self.close()
            if isinstance(source, int):
                raise RuntimeError(f"{self.name}: no such camera, or it gives no picture; the first camera is 0")
            if not is_file:
                raise RuntimeError(f"{self.name}: can't be opened, or it gives no picture")
            raise ValueError(f"{self.name}: not a video that can be decoded, cut short, or without frames")
        self._ahead = [first]
        self.size = (first.image.shape[0], first.image.shape[1])
        rate = self._decoder.value(cv2.CAP_PROP_FPS)
        self._decoder.rate = rate if 0 < rate <= LARGEST_RATE else DEFAULT_RATE
        announced = self._decoder.value(cv2.CAP_PROP_FRAME_COUNT)
        announced = announced if 1 <= announced < 2**31 and not self.is_camera else 0
        before = unseen_seconds(Path(source)) if is_file else 0.0  # type: ignore[arg-type]
        announced = 0 if before is None else max(0, round(announced - before * max(rate, 0)))
        # The duration is the container's; the count may be computed from it and a guessed rate.
        self.duration = announced / rate if announced and rate > 0 else None
        self.steady = self.is_camera or self._is_steady()
        self._counts = _counts_frames(source)
        self.announced = int(announced) if announced and (self.steady or self._counts) else None
        if not self.steady and self.duration and self.announced:
            self._decoder.rate = self.announced / self.duration
        self.cut_short, self.damaged = False, 0

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self._decoder.rate

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

    def _next(self) -> Decoded | None:
        return self._ahead.pop(0) if self._ahead else self._decoder.next()

    def _lost_at_end(self, count: int) -> int:
        """Count the frames after the last one, where the file announces more."""
        if self.announced is None:
            return self._decoder.lost_at_end()
        return min(self.announced - count, self._decoder.lost_at_end()) if self.announced > count else 0

    def _is_steady(self) -> bool:
        """Return whether the second frame comes at the file's rate; the frame is kept for `frames`."""
        second = self._decoder.next()
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
        elif many or 0 < missing <= self._decoder.empty_steps:
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
        self._decoder.close()


def _counts_frames(source: str | Path | int) -> bool:
    """Return whether the kind of file holds an exact count of frames: MP4 and its kin, and AVI."""
    if isinstance(source, int) or is_url(source):
        return False
    with Path(source).open("rb") as file:
        head = file.read(12)
    return head[4:8] in (b"ftyp", b"moov", b"mdat") or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
