"""Checks of single numbers that come from callers and files."""

from __future__ import annotations

import math
from typing import Any


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number within the range of a float, and not a bool."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits, as JSON may have it
        return False
