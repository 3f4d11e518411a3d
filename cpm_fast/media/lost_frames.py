"""Frames that a decoder skips silently: the packets of the file tell their number."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import cv2
import numpy as np

# A packet this near to another, as a share of the usual step, is no frame of its own: a field of an interlaced frame,
# or a picture that other frames refer to but that is not shown.
OWN_SHARE = 0.5


class PacketTimes:
    """The times at which the packets of a video are shown, read without decoding them.

    Args:
        capture: of FFmpeg, opened for raw packets; it is read to its end and released. None where there is none.
    """

    def __init__(self, capture: cv2.VideoCapture | None) -> None:
        times = []
        while capture is not None and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if capture is not None:
            capture.release()
        self._times = np.unique(times).tolist()
        self._near = OWN_SHARE * float(np.median(np.diff(self._times))) if len(self._times) > 1 else 0.0

    def between(self, earlier: float, later: float) -> int:
        """Count the frames that should be shown after one frame and before another, by their seconds."""
        first, end = bisect_right(self._times, earlier + self._near), bisect_left(self._times, later - self._near)
        count, last = 0, earlier
        for seconds in self._times[first:end]:
            if seconds - last > self._near:
                count, last = count + 1, seconds
        return count
