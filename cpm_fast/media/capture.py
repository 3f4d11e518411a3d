"""Opening videos, cameras and streams by OpenCV."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import cv2

from cpm_fast.media.decoder_log import heard, quiet_opencv
from cpm_fast.system.urls import is_url


def open_capture(source: str | Path | int, raw: bool = False) -> cv2.VideoCapture:
    """Open quietly: OpenCV prints a page if a camera is missing, and our own error reports it.

    Args:
        source: a path, the number of a camera, or a URL.
        raw: whether to read a file's packets as they stand in it, not its frames.
    """
    with quiet_opencv():
        return heard(lambda: _captured(source, raw))[0]


def _captured(source: str | Path | int, raw: bool) -> cv2.VideoCapture:
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
