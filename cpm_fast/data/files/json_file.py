"""A careful reader of annotations in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpm_fast.system.limits import check_file
from cpm_fast.system.numbers import is_finite, is_whole

LARGEST = 1e9
# COCO's own key points have 240 MB.
LARGEST_BYTES = 1 << 31


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON; the message names the file.
    """
    check_file(path, LARGEST_BYTES)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON that can be read: {error}") from None


def starts_list(path: Path) -> bool:
    """Return whether the file's JSON is a list; only its beginning is read."""
    with path.open("rb") as file:
        return file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def numbers(values: Any, count: int, what: str) -> list[float]:
    """Return a list of `count` finite numbers.

    Raises:
        ValueError: it is not one.
    """
    fine = isinstance(values, list) and len(values) == count
    if not fine or not all(_is_stored_number(value) for value in values):
        if count == 1 and isinstance(values, list) and len(values) == 1:
            raise ValueError(f"{what} must be a finite number, got {values[0]!r:.80}")
        raise ValueError(f"{what} must be {count} finite numbers, got {values!r:.80}")
    return [float(value) for value in values]


def whole(value: Any, what: str) -> int:
    """Return a whole number.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST:
        return int(value)
    if not is_whole(value):
        raise ValueError(f"{what} must be a whole number, got {value!r:.80}")
    return value


def _is_stored_number(value: Any) -> bool:
    return is_finite(value) and abs(value) < LARGEST
