"""Checks of single numbers that come from callers and files."""

from __future__ import annotations

import math
from typing import Any

# Decimal digits of a whole number that is also a float without loss.
MOST_DIGITS = 15


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number within the range of a float, and not a bool."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits, as JSON may have it
        return False


def identifier(value: Any, what: str) -> int | str:
    """Return what a JSON file calls an entry: a whole number, or a text; digits alone are the number.

    Raises:
        ValueError: it is neither.

    >>> identifier("7", "id"), identifier(7.0, "id"), identifier("a7", "id")
    (7, 7, 'a7')
    """
    if isinstance(value, str) and value:
        return int(value) if value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**MOST_DIGITS:
        return int(value)
    if not is_whole(value):
        raise ValueError(f"{what} must be a whole number or a text, got {value!r:.80}")
    return int(value)
