"""Frames as a decoder returns them, and how many it lost before each."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.media.capture import open_capture
from cpm_fast.media.decoder_log import heard
from cpm_fast.media.lost_frames import PacketTimes

DEFAULT_RATE = 25.0
# The reader whose log OpenCV can silence.
FFMPEG = "FFMPEG"
# Most frames in a row that may fail to be decoded before reading ends: at the end of a file all fail.
MOST_BAD_FRAMES = 50
# If a frame comes more than this many steps after the previous one, the packets between them are counted.
LONG_STEP = 1.5
# Most frames that are read ahead to see whether times go back.
MOST_LATE_FRAMES = 8


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame of a decoder.

    Args:
        image: [H, W, 3] uint8 BGR.
        seconds: its time in the video.
        decode: seconds of decoding it.
        lost: number of frames directly before it that can't be decoded.
    """

    image: np.ndarray
    seconds: float
    decode: float
    lost: int


class Decoder:
    """The frames of a file, camera or stream that can be decoded, in the order of the decoder.

    Args:
        source: a path, the number of a camera, or a URL.
        live: whether it is a camera or a stream, which a missing frame ends.

    Attributes:
        rate: frames per second, by which steps are counted; set it after the first frame.
        latest: seconds of the latest frame so far. Times of a damaged file may go back.
        empty_steps: number of steps at which there was neither a frame nor a packet.
    """

    def __init__(self, source: str | Path | int, live: bool) -> None:
        self._source, self._live = source, live
        self._capture = open_capture(source)
        self._last: Decoded | None = None
        # Frames that were read ahead.
        self._coming: list[Decoded] = []
        self._packets: PacketTimes | None = None
        self.rate, self.latest, self.empty_steps = DEFAULT_RATE, -math.inf, 0

    def value(self, what: int) -> float:
        """Return a property of the capture, one of OpenCV's CAP_PROP_ numbers."""
        return self._capture.get(what)

    def next(self) -> Decoded | None:
        """Read the next frame that can be decoded, and count those before it that can't be."""
        read = self._coming.pop(0) if self._coming else self._decoded()
        if read is None:
            return None
        if self._last is not None:
            skipped = self._passed_over(self.latest, read.seconds)
            late = self._coming_late(read.seconds) if skipped else 0
            lost = max(read.lost, skipped - late)
            self.empty_steps += self._steps_without_frames(self.latest, read.seconds, lost + late)
            read = replace(read, lost=lost)
        self.latest = max(self.latest, read.seconds)
        self._last = read
        return read

    def _decoded(self) -> Decoded | None:
        """Read the next frame; its `lost` counts the failures of the decoder before it."""
        before = self._last
        for failures in range(1 if self._live else MOST_BAD_FRAMES):
            started = time.perf_counter()
            fine, image = self._read()
            if fine and image is not None and (before is None or image.shape == before.image.shape):
                return Decoded(image, self._seconds(), time.perf_counter() - started, failures)
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

    def lost_at_end(self) -> int:
        """Count the frames after the last one that can be decoded."""
        return self._packets_between(self.latest, math.inf)

    def _packets_between(self, earlier: float, later: float) -> int:
        if self._live or self._capture.getBackendName() != FFMPEG:
            return 0
        if self._packets is None:
            self._packets = PacketTimes(open_capture(self._source, raw=True))
        return self._packets.between(earlier, later)

    def _read(self) -> tuple[bool, np.ndarray | None]:
        try:
            if self._live or self._capture.getBackendName() == FFMPEG:
                return self._capture.read()
            # Other readers print the errors of a frame.
            return heard(self._capture.read)[0]
        except cv2.error:
            return False, None

    def _seconds(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def close(self) -> None:
        self._capture.release()
