r"""A reader of lists, tuples, texts and numbers in a pickle, without unpickling: nothing is called or imported.

The standard library's pickle runs what a file says (`b"cos\nsystem\n(S'true'\ntR."` is a command), and PyTables uses
it on a file's attributes; pickletools, of the same library, only lists a pickle's operations.
"""

from __future__ import annotations

import pickletools
from typing import Any

TEXTS = frozenset(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"))
NUMBERS = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"))
PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NOTHING = frozenset(("PROTO", "FRAME"))
MARK = object()


def literals(data: bytes) -> Any:
    """Return the values of a pickle of plain values.

    Raises:
        ValueError: it is no pickle, or holds anything but lists, tuples, texts and whole numbers.
    """
    try:
        return _run(data)
    except (ValueError, IndexError, KeyError, OverflowError, AttributeError) as error:
        raise ValueError(f"not plain values in a pickle: {error}") from None


def _run(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in TEXTS or name in NUMBERS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(MARK)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "LIST":
            stack.append(_since_mark(stack))
        elif name == "TUPLE":
            stack.append(tuple(_since_mark(stack)))
        elif name in TUPLES:
            first = len(stack) - TUPLES[name]
            stack[first:] = [tuple(stack[first:])]
        elif name == "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        elif name == "APPENDS":
            values = _since_mark(stack)
            stack[-1].extend(values)
        elif name in PUTS:
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in GETS:
            stack.append(memo[int(argument)])
        elif name == "STOP":
            return stack.pop()
        elif name not in NOTHING:
            raise ValueError(f"it does more than name values ({name})")
    raise ValueError("it has no end")


def _since_mark(stack: list[Any]) -> list[Any]:
    at = max(place for place, value in enumerate(stack) if value is MARK)
    values = stack[at + 1 :]
    del stack[at:]
    return values
