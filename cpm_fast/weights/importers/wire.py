"""A reader of protocol buffers, field by field: only the wire format, from memory or a mapped file of any content.

The protobuf package would be a dependency for this one format of the past, with Caffe's schema beside it, and it copies
a file before it can be judged: 20 MB of two-byte fields became 101 MB of objects in protobuf 7.36.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTH_BYTES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT_BYTES = 10
LARGEST_NUMBER = 2**29 - 1
# Fields per file, runs of unpacked numbers counted once: networks have some thousands, and a file of nothing but
# two-byte fields is given up after a fraction of a second.
MOST_FIELDS = 50_000
FIRST_RUN = 16


class WireError(ValueError):
    """An error: the bytes are not a message, or not one that is read here."""


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Args:
        number: of the field in its message.
        kind: the wire type: VARINT, FIXED64, BYTES or FIXED32.
        value: of a VARINT, an unsigned number below 2^64; else the bytes: of a BYTES field its content, of FIXED32 and
            FIXED64 all the numbers that follow each other under one tag, as repeated fields do that are not packed.
    """

    number: int
    kind: int
    value: int | memoryview


class WireReader:
    """A reader of one file's messages, nested ones too, up to so many fields in all."""

    def __init__(self, most_fields: int = MOST_FIELDS) -> None:
        self.left = self.most = most_fields

    def fields(self, data: memoryview) -> Iterator[Field]:
        """Yield the fields of a message in their order; nothing is copied but unpacked numbers.

        Raises:
            WireError: the bytes end within a field, or are no field.
        """
        at = 0
        while at < len(data):
            self.left -= 1
            if self.left < 0:
                raise WireError(f"more than {self.most} fields")
            start = at
            tag, at = varint(data, at)
            number, kind = tag >> 3, tag & 7
            if not 1 <= number <= LARGEST_NUMBER:
                raise WireError(f"byte {start}: there is no field {number}")
            value: int | memoryview
            if kind == VARINT:
                value, at = varint(data, at)
            elif kind == BYTES:
                size, at = varint(data, at)
                if size > len(data) - at:
                    raise WireError(f"byte {start}: field {number} claims {size} bytes, {len(data) - at} are left")
                value = data[at : at + size]
                at += size
            elif kind in WIDTH_BYTES:
                value, at = _run(data, start, at, WIDTH_BYTES[kind])
            else:
                raise WireError(f"byte {start}: field {number} has the wire type {kind}, which is not used")
            yield Field(number, kind, value)


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, seven bits per byte and the lowest first, and its end.

    Raises:
        WireError: the bytes end before it does, or it is longer than 64 bits.
    """
    value = 0
    for i, byte in enumerate(data[at : at + LONGEST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + i + 1
    raise WireError(f"byte {at}: a number that doesn't end")


def varints(data: memoryview, most: int) -> list[int]:
    """Return the numbers of a packed field.

    Raises:
        WireError: the bytes end within one, or there are more than `most`.
    """
    values: list[int] = []
    at = 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
        if len(values) > most:
            raise WireError(f"more than {most} numbers")
    return values


def _run(data: memoryview, start: int, at: int, width: int) -> tuple[memoryview, int]:
    """Return the fixed-width numbers from `at` on whose tags all equal data[start:at], and their end."""
    if width > len(data) - at:
        raise WireError(f"byte {start}: a number of {width} bytes, {len(data) - at} are left")
    tag_bytes = at - start
    tag = np.frombuffer(data[start:at], np.uint8)
    records = np.frombuffer(data[start:], np.uint8)
    step = tag_bytes + width
    records = records[: len(records) // step * step].reshape(-1, step)
    count, look = 1, FIRST_RUN
    # Compared in growing pieces, so that many short runs cost no more than their length.
    while count < len(records):
        other = (records[count : count + look, :tag_bytes] != tag).any(axis=1)
        if other.any():
            count += int(other.argmax())
            break
        count += len(other)
        look *= 2
    return memoryview(records[:count, tag_bytes:].tobytes()), start + count * step
