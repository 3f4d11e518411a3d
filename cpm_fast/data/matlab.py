"""MATLAB files, looked over before scipy reads them: a size that a file claims is not memory that it gets."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

HEADER_BYTES = 128
# Types of elements and classes of arrays in the MAT-File Format, Level 5 (MathWorks).
COMPRESSED, MATRIX = 15, 14
CELL, STRUCT, CHARACTERS = 1, 2, 4
NUMBERS = frozenset(range(6, 16))
# Every element of a cell or a struct takes at least its own tag.
TAG_BYTES = 8
DEEPEST = 32
# Annotations shrink about tenfold; what claims to have shrunk a hundred times more than this allows is refused.
LARGEST_RATIO, FREE_BYTES = 100, 1 << 24


def read_mat(path: Path, variable: str) -> Any:
    """One variable of a MATLAB file (level 5, which MATLAB calls v6 and v7).

    Structs are objects with attributes, arrays of one element are that element, arrays are squeezed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, damaged, or without this variable; the message names the file.
        RuntimeError: scipy is missing.
    """
    found = _read(path, variable, {"struct_as_record": False, "squeeze_me": True})
    if found is None:
        raise ValueError(f"{path}: must hold the variable {variable}")
    return found


def read_mat_array(path: Path, variable: str) -> np.ndarray | None:
    """An array of a MATLAB file with all its axes, None where the file has no such variable; raises as `read_mat`."""
    found: np.ndarray | None = _read(path, variable, {})
    return found


def as_list(value: Any) -> list[Any]:
    """The elements of what `read_mat` gives for an array of structs or cells: none, one by itself, or an array."""
    return [value] if not isinstance(value, np.ndarray) else list(value.ravel())


def field(value: Any, name: str) -> Any:
    """A field of a struct; None where the struct has none or it is empty."""
    found = getattr(value, name, None)
    return None if isinstance(found, np.ndarray) and found.size == 0 else found


def number(value: Any, name: str) -> float:
    """A field of a struct that is one number; NaN where the struct has none or it is empty.

    Raises:
        ValueError: it is something else, or infinite.
    """
    found = field(value, name)
    if found is None:
        return math.nan
    if isinstance(found, int | float | np.number) and not np.isinf(found):
        return float(found)
    raise ValueError(f"{name} must be one number, got {type(found).__name__} {found!r:.60}")


def _read(path: Path, variable: str, how: dict[str, bool]) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise RuntimeError(f"reading {path.name} needs scipy: pip install 'cpm_fast[data]'") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        _look_over(data, variable)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = loadmat(io.BytesIO(data), variable_names=[variable], **how)
    except Exception as error:
        raise ValueError(f"{path}: not a MATLAB file that can be read: {error}") from None
    return content.get(variable)


def _look_over(data: bytes, variable: str) -> None:
    """Check every claim of the variable's elements about its size against the bytes that are there.

    Raises:
        ValueError: a claim is larger, or a kind of array is none that annotations are made of.
    """
    mark = data[126:128]
    if len(data) < HEADER_BYTES or mark not in (b"IM", b"MI"):
        v73 = " (it is of v7.3; save it again with -v7)" if b"MATLAB 7.3" in data[:HEADER_BYTES] else ""
        raise ValueError(f"it has no header of MATLAB's level 5{v73}")
    order = "<" if mark == b"IM" else ">"
    at = HEADER_BYTES
    while at < len(data):
        kind, size, start, after = _element(data, at, order)
        if kind == COMPRESSED:
            _look_at_variable(_decompress(data[start : start + size]), 0, order, variable)
        elif kind == MATRIX:
            _look_at_variable(data, at, order, variable)
        at = after


def _decompress(data: bytes) -> bytes:
    limit = LARGEST_RATIO * len(data) + FREE_BYTES
    found = zlib.decompressobj().decompress(data, limit)
    if len(found) == limit:
        raise ValueError(f"{len(data)} bytes claim to be more than {limit}")
    return found


def _look_at_variable(data: bytes, at: int, order: str, variable: str) -> None:
    _, _, flags, _ = _element(data, at, order)
    dims = _element(data, flags, order)[3]
    _, size, start, _ = _element(data, _element(data, dims, order)[3], order)
    if data[start : start + size] == variable.encode():
        _look_at_array(data, at, order, 0)


def _look_at_array(data: bytes, at: int, order: str, depth: int) -> int:
    """Look over the array at `at`; where the next one begins."""
    kind, size, start, end = _element(data, at, order)
    if kind != MATRIX:
        raise ValueError(f"an array must begin at {at}, got an element of type {kind}")
    if not size:
        return end
    what = struct.unpack_from(f"{order}I", data, start + 8)[0] & 0xFF
    if what in NUMBERS:
        return end
    if what not in (CELL, STRUCT, CHARACTERS) or depth > DEEPEST:
        raise ValueError(f"an array at {at} is of class {what}, {depth} deep; annotations are made of none such")
    # Array flags, dimensions, name; then, of a struct, the length of a field's name and all the names.
    _, dims_size, dims, at_name = _element(data, start + 16, order)
    inner = _element(data, at_name, order)[3]
    # Claims are compared, never allocated, and Python's integers do not overflow.
    count = math.prod(struct.unpack_from(f"{order}{dims_size // 4}I", data, dims))
    fields = 1
    if what == STRUCT:
        _, _, length, names = _element(data, inner, order)
        _, names_size, _, inner = _element(data, names, order)
        fields = names_size // max(1, struct.unpack_from(f"{order}I", data, length)[0])
    least = count if what == CHARACTERS else TAG_BYTES * count * max(1, fields)
    if least > max(end - inner, TAG_BYTES):
        raise ValueError(f"an array at {at} claims {count} elements of {fields} fields in {end - inner} bytes")
    if what != CHARACTERS:
        for _ in range(count * fields):
            inner = _look_at_array(data, inner, order, depth + 1)
    return end


def _element(data: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Type and size of the element at `at`, where its data begins, and where the next element does.

    Raises:
        ValueError: it reaches beyond the end.
    """
    if at + TAG_BYTES > len(data):
        raise ValueError(f"it is cut short at {at} of {len(data)} bytes")
    kind, size = struct.unpack_from(f"{order}II", data, at)
    if kind >> 16:  # up to four bytes of data stand in the tag itself
        kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + TAG_BYTES
        if size > 4:
            raise ValueError(f"an element at {at} claims {size} of 4 bytes")
        return kind, size, start, after
    start = at + TAG_BYTES
    after = start + size + (0 if kind == COMPRESSED else -size % 8)
    if start + size > len(data):
        raise ValueError(f"an element at {at} claims {size} of {len(data) - start} bytes")
    return kind, size, start, after
