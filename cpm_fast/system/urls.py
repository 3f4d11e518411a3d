"""URLs of cameras and files in a network."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LIVE_URL = re.compile(r"(rtsps?|rtmps?|rtp|udp|tcp|srt)://", re.IGNORECASE)


def is_url(source: object) -> bool:
    """Return whether a source is the address of a camera or file in a network, such as rtsp://host/stream."""
    return isinstance(source, str) and URL.match(source) is not None


def is_live(source: object) -> bool:
    """Return whether a source is the address of a live stream, whose past frames can't be read again."""
    return isinstance(source, str) and LIVE_URL.match(source) is not None


def shown_url(url: str) -> str:
    """Return an address without user and password, which belong in no file and no message.

    >>> shown_url("rtsp://me:secret@camera:554/live?channel=1")
    'rtsp://camera:554/live?channel=1'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def stem_of_url(url: str) -> str:
    """Return a name for files about an address: the last part of its path, or the host.

    >>> stem_of_url("http://host/films/walk.mp4?start=3"), stem_of_url("rtsp://10.0.0.7:554/")
    ('walk', '10.0.0.7')
    """
    parts = urlsplit(url)
    stem = parts.path.rstrip("/").rpartition("/")[2].rpartition(".")[0] or parts.path.strip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", stem or parts.hostname or "stream")
