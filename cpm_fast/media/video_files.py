"""Which files are videos: by suffix, or by trying the decoders."""

from __future__ import annotations

from pathlib import Path

import cv2

from cpm_fast.media.image import IMAGE_SUFFIXES, suffixes
from cpm_fast.media.video import Video

# Suffixes that make a file of a folder a video; a file that is named itself is a video if the decoder reads it.
VIDEO_SUFFIXES = suffixes(
    "3g2 3gp asf avi divx f4v flv m2ts m2v m4v mkv mov mp4 mpe mpeg mpg mts mxf ogv ts vob webm wmv y4m"
)
ANIMATED_SUFFIXES = suffixes("gif webp png avif")


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
