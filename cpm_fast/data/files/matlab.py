"""A careful reader of MATLAB files of level 5 (v6 and v7): a claimed size is checked before memory is allocated.

SciPy reads them too, but allocates memory before it checks the content, and damaged files end its process: loadmat
of SciPy 1.17.1 died of a segmentation fault within 250 copies of a 7 KB file with one to three flipped bits, in each of
eight runs.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.system.limits import check_file

HEADER_BYTES, TAG_BYTES, NUMBER_HEAD_BYTES = 128, 8, 48
# Types of elements and classes of arrays in the MAT-File Format, Level 5 (MathWorks).
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
TEXTS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, TEXT = 1, 2, 4
NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
DEEPEST = 32
# Annotations shrink about tenfold; data that claim to have shrunk a hundred times, and by more than this, are refused.
LARGEST_RATIO, FREE_BYTES = 100, 1 << 22
LARGEST_BYTES = 1 << 30
NOTHING = np.empty(0)


def read_mat(path: Path, variable: str) -> Any:
    """Read one variable of a MATLAB file.

    One number is a number, several are an array as MATLAB has it; a text is a str; structs are a list of dicts, cells a
    list of values. Anything else (functions, objects, sparse and complex numbers) is None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, damaged, or without this variable; the message names the file.
    """
    check_file(path, LARGEST_BYTES)
    data = path.read_bytes()
    try:
        for elements, array in _variables(data):
            if array.name == variable.encode():
                return elements.value(array, 0)
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"{path}: not a MATLAB file that can be read: {error}") from None
    raise ValueError(f"{path}: must hold the variable {variable}")


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return the variables of a MATLAB file that are arrays of numbers, or texts, as arrays.

    Args:
        data: the file's bytes.

    Returns:
        By name: numbers as MATLAB has them, one number as [1, 1]; a cell array of texts, and the lines of a text, as
        [n] of str. Other variables are left out.

    Raises:
        ValueError: not such a file, or damaged.
    """
    found: dict[str, np.ndarray] = {}
    try:
        for elements, array in _variables(data):
            if array.kind not in (CELL, TEXT, *NUMBERS):
                continue
            value = elements.value(array, 0)
            if isinstance(value, str):
                value = value.split("\n")
            if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
                value = np.array(value)
            if isinstance(value, int | float):
                value = np.array([[value]])
            if isinstance(value, np.ndarray):
                found[array.name.decode("ascii")] = value
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"not a MATLAB file that can be read: {error}") from None
    return found


def field(value: Any, name: str) -> Any:
    """Return a field of a struct, alone or the only one of a list; None if the struct has none or it is empty."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = value.get(name) if isinstance(value, dict) else None
    return None if isinstance(found, np.ndarray | list | str) and not len(found) else found


def structs(value: Any, name: str) -> list[Any]:
    """Return the structs in a field of a struct; none if it is empty.

    Raises:
        ValueError: it holds something else.
    """
    found = field(value, name)
    if found is not None and not isinstance(found, list):
        raise ValueError(f"{name} must be structs, got {found!r:.60}")
    return found or []


def number_field(value: Any, name: str) -> float:
    """Return a field of a struct that is one number; NaN if the struct has none or it is empty.

    Raises:
        ValueError: it is something else, or infinite.
    """
    found = field(value, name)
    if found is None:
        return math.nan
    if isinstance(found, int | float) and not math.isinf(found):
        return float(found)
    raise ValueError(f"{name} must be one number, got {type(found).__name__} {found!r:.60}")


def _variables(data: bytes) -> Iterator[tuple[_Bytes, _Array]]:
    """Yield the head of every variable, with the bytes that its body lies in."""
    mark = data[126:128]
    if len(data) < HEADER_BYTES or mark not in (b"IM", b"MI"):
        v73 = " (it is of v7.3; save it again with -v7)" if b"MATLAB 7.3" in data[:HEADER_BYTES] else ""
        raise ValueError(f"it has no header of MATLAB's level 5{v73}")
    order = "<" if mark == b"IM" else ">"
    at = HEADER_BYTES
    while at < len(data):
        kind, start, end, after = _Bytes(data, order).element(at, len(data))
        content, first = (_decompress(data[start:end]), 0) if kind == COMPRESSED else (data, at)
        elements = _Bytes(content, order)
        yield elements, elements.head(first, len(content))
        at = after


def _decompress(data: bytes) -> bytes:
    limit = LARGEST_RATIO * len(data) + FREE_BYTES
    found = zlib.decompressobj().decompress(data, limit)
    if len(found) == limit:
        raise ValueError(f"{len(data)} bytes claim to be more than {limit}")
    return found


@dataclass(frozen=True)
class _Array:
    """An array's head, and the place of its body, from `at` to `end`.

    Args:
        kind: its class; 0 of an empty one without a head.
    """

    kind: int
    shape: tuple[int, ...]
    name: bytes
    at: int
    end: int
    is_complex: bool = False


class _Bytes:
    """Elements of a file.

    Args:
        data: all of it, or of what was compressed.
        order: "<" or ">".
    """

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order = data, order
        self._pair, self._one = struct.Struct(f"{order}II"), struct.Struct(f"{order}I")
        self._number_head = struct.Struct(f"{order}12I")
        self._numbers = {kind: struct.Struct(order + name) for kind, name in TYPES.items()}

    def element(self, at: int, limit: int) -> tuple[int, int, int, int]:
        """Return the type of the element at `at`, the begin and end of its data, and the begin of the next element.

        Raises:
            ValueError: it reaches beyond `limit`.
        """
        if at + TAG_BYTES > limit:
            raise ValueError(f"it is cut short at {at} of {limit} bytes")
        kind, size = self._pair.unpack_from(self.data, at)
        if kind >> 16:  # up to four bytes of data stand in the tag itself
            kind, size = kind & 0xFFFF, kind >> 16
            if size > TAG_BYTES // 2:
                raise ValueError(f"an element at {at} claims {size} of 4 bytes")
            return kind, at + 4, at + 4 + size, at + TAG_BYTES
        start = at + TAG_BYTES
        if start + size > limit:
            raise ValueError(f"an element at {at} claims {size} of {limit - start} bytes")
        return kind, start, start + size, min(limit, start + size + (0 if kind == COMPRESSED else -size % 8))

    def head(self, at: int, limit: int) -> _Array:
        """Return the array at `at`; its body's end is where the next one begins."""
        kind, start, end, _ = self.element(at, limit)
        if kind != MATRIX:
            raise ValueError(f"an array must begin at {at}, got an element of type {kind}")
        if start == end:
            return _Array(0, (0, 0), b"", end, end)
        _, flags, _, at_shape = self.element(start, end)
        _, shape, shape_end, at_name = self.element(at_shape, end)
        _, name, name_end, body = self.element(at_name, end)
        word = self._one.unpack_from(self.data, flags)[0]
        sizes = struct.unpack_from(f"{self.order}{(shape_end - shape) // 4}I", self.data, shape)
        if len(sizes) < 2:
            raise ValueError(f"an array at {at} must have two axes or more, got {len(sizes)}")
        return _Array(word & 0xFF, sizes, self.data[name:name_end], body, end, bool(word & 0x0800))

    def value(self, array: _Array, depth: int) -> Any:
        """Return the content of an array; see `read_mat`."""
        if depth > DEEPEST:
            raise ValueError(f"arrays lie in each other more than {DEEPEST} deep")
        # Claims are compared, never allocated, and Python's integers do not overflow.
        count = math.prod(array.shape)
        if not count or array.is_complex:
            return None if array.is_complex else NOTHING
        if array.kind == CELL:
            return self._several(array.at, array.end, count, 1, depth)
        if array.kind == STRUCT:
            return self._structs(array, count, depth)
        if array.kind != TEXT and array.kind not in NUMBERS:
            return None
        kind, start, end, _ = self.element(array.at, array.end)
        if array.kind == TEXT:
            return self._text(self.data[start:end], kind, array.shape)
        if kind not in TYPES:
            raise ValueError(f"numbers at {array.at} can't be of type {kind}")
        found = np.frombuffer(self.data[start:end], self.order + TYPES[kind])
        if len(found) != count:
            raise ValueError(f"an array at {array.at} claims {count} numbers, {len(found)} are there")
        numbers = found.astype(NUMBERS[array.kind]).reshape(array.shape, order="F")
        return numbers.item() if count == 1 else numbers

    def _lone_number(self, at: int, end: int) -> tuple[float, int] | None:
        """Return one number at `at` in the usual form, and the begin of the next array; None for any other form.

        Three quarters of an annotation file are these; read one element after another it takes twice as long.
        """
        if at + NUMBER_HEAD_BYTES + TAG_BYTES > end:
            return None
        kind, size, *head = self._number_head.unpack_from(self.data, at)
        flags = head[2]
        # Array flags, dimensions 1 x 1, no name.
        if (kind, *head) != (MATRIX, 6, 8, flags, head[3], 5, 8, 1, 1, 1, 0) or flags & 0x0800:
            return None
        start, after = at + NUMBER_HEAD_BYTES + TAG_BYTES, at + TAG_BYTES + size
        kind, size = self._pair.unpack_from(self.data, start - TAG_BYTES)
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, start - TAG_BYTES // 2
        number = self._numbers.get(kind)
        if flags & 0xFF not in NUMBERS or number is None or number.size != size or not start + size <= after <= end:
            return None
        return number.unpack_from(self.data, start)[0], after

    def _several(self, at: int, end: int, count: int, fields: int, depth: int) -> list[Any]:
        if TAG_BYTES * count * max(1, fields) > end - at:
            raise ValueError(f"an array at {at} claims {count} elements of {fields} fields in {end - at} bytes")
        found = []
        for _ in range(count * fields):
            number = self._lone_number(at, end)
            if number is not None:
                value, at = number
            else:
                inner = self.head(at, end)
                value, at = self.value(inner, depth + 1), inner.end
            found.append(value)
        return found

    def _structs(self, array: _Array, count: int, depth: int) -> list[dict[str, Any]]:
        """Return the length of a field's name, all the names, then the values, struct by struct."""
        _, length_at, _, at_names = self.element(array.at, array.end)
        _, start, end, at = self.element(at_names, array.end)
        length = max(1, self._one.unpack_from(self.data, length_at)[0])
        texts = [self.data[place : place + length] for place in range(start, end - length + 1, length)]
        names = [text.partition(b"\0")[0].decode("ascii") for text in texts]
        values = self._several(at, array.end, count, len(names), depth)
        width = len(names)
        return [dict(zip(names, values[i * width : (i + 1) * width], strict=True)) for i in range(count)]

    def _text(self, data: bytes, kind: int, shape: tuple[int, ...]) -> str:
        if kind not in TEXTS:
            raise ValueError(f"a text can't be of type {kind}")
        side = "-le" if self.order == "<" else "-be"
        text = data.decode(TEXTS[kind] + (side if kind not in (1, 2, 16) else ""))
        lines = shape[0]
        # Several lines of one length stand column by column.
        return text if lines <= 1 else "\n".join(text[line::lines] for line in range(min(lines, len(text))))
