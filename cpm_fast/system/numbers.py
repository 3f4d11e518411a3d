"""Checks of single numbers that come from callers and files.

A whole number is an int of Python or NumPy, a number also a float of either. A bool is neither, and so is an array or
tensor of no axes, whose value may lie on another device or be traced.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Decimal digits of a whole number that is also a float without loss.
MOST_DIGITS = 15
LARGEST_SCORE = 1.0
# Almost all values are of these types, which are compared first: an abstract class takes several times as long.
PLAIN = frozenset({bool, int, float, str, type(None)})


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, of Python or NumPy, and not a bool.

    >>> import numpy as np
    >>> is_whole(3), is_whole(np.int64(3)), is_whole(3.0), is_whole(True), is_whole(np.array(3))
    (True, True, False, False, False)
    """
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def is_number(value: Any) -> bool:
    """Return whether a value is a number, of Python or NumPy, not a finite one perhaps, and not a bool."""
    return type(value) in (int, float) or (isinstance(value, Real) and not isinstance(value, bool))


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number within the range of a float, of Python or NumPy, and not a bool.

    >>> import numpy as np
    >>> is_finite(3), is_finite(np.float32(0.5)), is_finite(float("nan")), is_finite(True), is_finite("3")
    (True, True, False, False, False)
    """
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits, as JSON may have it
        return False


def check_score(value: Any, name: str) -> None:
    """Check the least score of a part or subject.

    A score is a height of belief maps, whose targets reach 1: above it there is nothing. Below 0 it leaves nothing out.

    Raises:
        ValueError: it is no finite number, or above 1.
    """
    if not is_finite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r:.80}")
    if value > LARGEST_SCORE:
        raise ValueError(f"{name} must be at most {LARGEST_SCORE:g}, the score of a part that is sure, got {value!r}")


def plain(value: Any) -> Any:
    """Return a number or bool of NumPy as one of Python, a list or an array of one axis as a tuple, others as they are.

    >>> import numpy as np
    >>> plain(np.int64(3)), plain(np.array([0.5, 1.0])), plain([np.uint8(8), "a"]), plain(np.True_)
    (3, (0.5, 1.0), (8, 'a'), True)
    """
    if type(value) in PLAIN:
        return value
    # NumPy's bools, recognized by name: this module does not import NumPy.
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple) or getattr(value, "ndim", None) == 1:
        return tuple(plain(entry) for entry in value)
    return value


def make_plain(config: Any) -> None:
    """Put `plain` values into the fields of a frozen dataclass, so that it compares, hashes and goes into JSON.

    Raises:
        ValueError: a field that is True or False by default has another kind of value. "no" would count as true.
    """
    for field in _fields(config.__class__):
        value = plain(getattr(config, field.name))
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"{field.name} must be True or False, got {value!r:.80}")
        object.__setattr__(config, field.name, value)


@cache
def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def number_array(values: Any, name: str, shape: str = "") -> np.ndarray:
    """Return an array, tensor or nested list of numbers as float64.

    Raises:
        TypeError: it holds something else (texts, bools, None), is ragged, or is a tensor on another device.

    >>> number_array([[1, 2.5]], "boxes").tolist()
    [[1.0, 2.5]]
    """
    import numpy as np

    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" or not array.ndim:
            raise TypeError
        return array.astype(np.float64)
    # A ragged list, and a tensor that requires a gradient or lies on another device.
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be numbers{shape}, got {values!r:.80}") from None


def identifier(value: Any, what: str) -> int | str:
    """Return the id of an entry in a JSON file: a whole number or a text; a text of digits becomes a number.

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
