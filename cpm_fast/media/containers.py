"""Container formats of picture files: the end of the first picture, and the number of pixels in its header."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
RIFF, WEBP = b"RIFF", b"WEBP"
# Markers without a length: TEM, RST0 to RST7 and a second SOI.
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG_END, JPEG_SCAN = 0xD9, 0xDA
# A segment that holds EXIF tags, and its first bytes.
JPEG_TAGS, EXIF = 0xE1, b"Exif\0"
# Frame headers, which hold the size: SOF0 to SOF15 without DHT, JPG and DAC.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Within a scan: 0xFF followed by neither a stuffed zero, a restart, nor another 0xFF.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True)
class FirstPicture:
    """The first picture of a file.

    Args:
        data: its bytes.
        size: (height, width) of its header, where it is known.
        exif: whether it is a JPEG with EXIF tags.
    """

    data: bytes
    size: tuple[int, int] | None = None
    exif: bool = False


def starts_as_picture(head: bytes) -> bool:
    """Return whether a file with these first 12 bytes is a JPEG, PNG, GIF, WebP, TIFF, HEIF or AVIF.

    >>> starts_as_picture(b"GIF89a......"), starts_as_picture(b"image,nose_x")
    (True, False)
    """
    in_box = (head[:4] == RIFF and head[8:12] == WEBP) or head[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif")
    return in_box or head.startswith((JPEG_START + b"\xff", PNG_START, b"GIF8", b"II*\0", b"MM\0*"))


def first_picture(data: bytes) -> FirstPicture:
    """Walk a JPEG, PNG or WebP to the end of its first picture; files of other kinds are returned whole.

    Phones put a film behind the picture, and recovery tools put zeros there: bytes after the end do no harm.

    Raises:
        ValueError: the file ends before its picture does.
    """
    if data.startswith(JPEG_START):
        return _first_jpeg(data)
    if data.startswith(PNG_START):
        return _first_png(data)
    if data.startswith(RIFF) and data[8:12] == WEBP:
        end = 8 + int.from_bytes(data[4:8], "little")
        if end > len(data):
            raise ValueError(f"the WebP is cut short ({len(data)} of {end} bytes)")
        return FirstPicture(data[:end])
    return FirstPicture(data)


def _first_jpeg(data: bytes) -> FirstPicture:
    """Find the picture of a JPEG: segments with a length are skipped, and so is a thumbnail within one."""
    size, at, scanned, exif = None, len(JPEG_START), False, False
    while (found := JPEG_MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == JPEG_END:
            if not scanned:
                break
            return FirstPicture(data[:at], size, exif)
        if marker in JPEG_BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in JPEG_FRAMES and size is None and len(data) >= at + 7:
            height, width = struct.unpack(">HH", data[at + 3 : at + 7])
            size = (height, width)
        scanned = scanned or marker == JPEG_SCAN
        exif = exif or (marker == JPEG_TAGS and data.startswith(EXIF, at + 2))
        at += max(length, 2)
    raise ValueError(f"the JPEG is cut short (no end of image after {len(data)} bytes)")


def _first_png(data: bytes) -> FirstPicture:
    size, at = None, len(PNG_START)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IHDR" and length >= 8 and len(data) >= at + 16:
            width, height = struct.unpack(">II", data[at + 8 : at + 16])
            size = (height, width)
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return FirstPicture(data[:at], size)
    raise ValueError(f"the PNG is cut short (no end chunk after {len(data)} bytes)")
