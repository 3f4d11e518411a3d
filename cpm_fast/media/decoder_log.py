"""Messages of the decoders, which native code writes only to the process's error stream."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import cv2

Out = TypeVar("Out")

# Lines of libjpeg, libpng, libtiff and OpenCV, with its reader of AVI; all others belong to somebody else, and are
# passed on, but for the empty ones among lines of theirs.
DECODER_LINE = re.compile(
    rb"^(Corrupt JPEG|Premature end|Inconsistent|Invalid (SOS|JPEG)|Unsupported marker|Application transferred"
    rb"|Warning: unknown JFIF|Unknown Adobe"
    rb"|libpng (warning|error)|imread_|\[ ?(WARN|ERROR|INFO)[ :]|OpenCV(\(|:)|TIFF|\w+: Warning|\[\w+ @ 0x"
    rb"|Unexpected (element\.|list type\.|end of file while searching)|JPEGLib: |\w+(Decode|SetupDecode|PreDecode): )"
)
# The lines among these that mean damage; libpng's remarks on color profiles, for one, mean none.
DAMAGE_LINE = re.compile(
    rb"corrupt|premature|damage|truncat|CRC|IDAT|bad huffman|extraneous|read error|decompress|inconsistent|TIFF_Error"
    rb"|lzwDecode",
    re.IGNORECASE,
)


# OpenCV's reader of AVI shows four bytes of a damaged file, which may be ends of lines.
SHOWN_BYTES = re.compile(
    rb"^(Unexpected (?:element|list type)\. Expected: .{0,4}\. Got: ).{0,4}\.$", re.DOTALL | re.MULTILINE
)
# OpenCV's messages of failed checks take several lines.
MORE_OF_LINE = re.compile(rb"^> ")
# The start of a message in OpenCV's log: level, time, file and line.
LOG_START = re.compile(rb"^\[[^\]]*\] global \S+ ")


class _Ear:
    """The process's error stream, caught in a file while pictures are decoded.

    Decoders in several threads share one catch. A line that appears while several of them work has no owner, so their
    pictures are decoded again one by one, which only damaged pictures cost.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._users = self._entries = 0
        self._alone = False
        self._caught: int | None = None
        self._real: int | None = None

    def listen(self, decode: Callable[[], Out]) -> tuple[Out, list[str]]:
        """Run a decoder; return its result, and the lines that mean damage."""
        if not self._can_listen():
            return decode(), []
        out, text, crowded = self._caught_while(decode, alone=False)
        if text and crowded:
            out, text, _ = self._caught_while(decode, alone=True)
        return out, _damage(text)

    def _caught_while(self, decode: Callable[[], Out], alone: bool) -> tuple[Out, bytes, bool]:
        before, crowded, entries = self._enter(alone)
        text = b""
        try:
            out = decode()
        finally:
            text, after = self._leave(before, alone)
        return out, text, crowded or after > entries

    def _can_listen(self) -> bool:
        try:
            os.fstat(2)
        except OSError:
            return False
        return sys.platform != "win32"

    def _enter(self, alone: bool) -> tuple[int, bool, int]:
        with self._turn:
            while self._alone or (alone and self._users):
                self._turn.wait()
            self._alone = alone
            if self._users == 0:
                self._caught = _nameless_file()
                self._real = os.dup(2)
                os.dup2(self._caught, 2)
            self._users += 1
            self._entries += 1
            assert self._caught is not None
            return os.fstat(self._caught).st_size, self._users > 1, self._entries

    def _leave(self, before: int, alone: bool) -> tuple[bytes, int]:
        with self._turn:
            assert self._caught is not None and self._real is not None
            size = os.fstat(self._caught).st_size
            text = os.pread(self._caught, size - before, before) if size > before else b""
            self._users -= 1
            self._alone = self._alone and not alone
            self._turn.notify_all()
            if self._users == 0:
                os.dup2(self._real, 2)
                whole = os.pread(self._caught, size, 0) if size else b""
                os.close(self._caught)
                lines = SHOWN_BYTES.sub(rb"\1", whole).splitlines(keepends=True)
                others = _others(lines)
                if len(others) < len(lines):
                    others = [line for line in others if line.strip()]
                if others:
                    os.write(self._real, b"".join(others))
                os.close(self._real)
                self._caught = self._real = None
            return text, self._entries


def _nameless_file() -> int:
    """Return the descriptor of a new file; one in memory, where there are such, takes a third of the time."""
    with suppress(AttributeError, OSError):
        return os.memfd_create("decoder log")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _others(lines: list[bytes]) -> list[bytes]:
    """Return the lines that no decoder wrote."""
    others, own = [], False
    for line in lines:
        own = bool(DECODER_LINE.search(line) or (own and MORE_OF_LINE.search(line)))
        if not own:
            others.append(line)
    return others


def _damage(text: bytes) -> list[str]:
    lines = [line for line in text.splitlines() if DECODER_LINE.search(line) and DAMAGE_LINE.search(line)]
    return [LOG_START.sub(b"", line).decode(errors="replace").strip() for line in lines]


_ear = _Ear()


def _restart() -> None:
    """Give the child of a fork its error stream back, if another thread was decoding."""
    global _ear
    if _ear._real is not None:
        os.dup2(_ear._real, 2)
    _ear = _Ear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart)


def heard(decode: Callable[[], Out]) -> tuple[Out, list[str]]:
    """Run a decoder with OpenCV's log silent; return its result, and its lines about damage."""
    return _ear.listen(decode)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's log within the block; FFmpeg, which reads its setting once, for good, unless the user set it."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
