"""The time of the first frame of a Matroska or WebM file, which OpenCV subtracts from all times and does not give."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

# Names of elements. The duration in the header counts from time 0, not from the first frame.
EBML_HEADER, SEGMENT, INFO, TIME_UNIT = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x2AD7B1
TRACKS, TRACK, TRACK_NUMBER, TRACK_KIND, VIDEO_KIND = 0x1654AE6B, 0xAE, 0xD7, 0x83, 1
CLUSTER, CLUSTER_TIME, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
# Elements that are entered. All others are passed over.
MASTERS = frozenset({SEGMENT, INFO, TRACKS, TRACK, CLUSTER, BLOCK_GROUP})
# The part of a file that is searched: sound may stand before the first frame.
SEARCHED_BYTES = 1 << 24
DEFAULT_UNIT_NS = 1_000_000


def unseen_seconds(path: Path) -> float | None:
    """Return the seconds of a file's duration before its first frame: 0 if it is no Matroska; None if not found."""
    with path.open("rb") as file:
        if file.read(4) != EBML_HEADER.to_bytes(4, "big"):
            return 0.0
        file.seek(0)
        data = file.read(SEARCHED_BYTES)
    unit, cluster, track = DEFAULT_UNIT_NS, 0, 0
    videos: set[int] = set()
    for name, start, end in _elements(data):
        if name in (SIMPLE_BLOCK, BLOCK):
            number, at = _length(data, start)
            if number in videos and at + 2 <= len(data):
                return (cluster + struct.unpack(">h", data[at : at + 2])[0]) * unit / 1e9
        elif name in (TIME_UNIT, CLUSTER_TIME, TRACK_NUMBER, TRACK_KIND):
            value = int.from_bytes(data[start:end], "big")
            unit = value if name == TIME_UNIT else unit
            cluster = value if name == CLUSTER_TIME else cluster
            track = value if name == TRACK_NUMBER else track
            if name == TRACK_KIND and value == VIDEO_KIND:
                videos.add(track)
    return None


def _elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (name, start, end) of every element that is not entered, in the order of the file."""
    at = 0
    while at < len(data):
        size = 9 - data[at].bit_length()
        if size > 4:
            return
        name, at = int.from_bytes(data[at : at + size], "big"), at + size
        length, at = _length(data, at)
        if name in MASTERS:
            continue
        yield name, at, at + length
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable size; return it and the place after it. At the end of the data it is 0."""
    if at >= len(data) or not data[at]:
        return 0, len(data)
    size = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + size], "big") & ((1 << 7 * size) - 1), at + size
