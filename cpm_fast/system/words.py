"""Suggestions for unknown words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the known one that it resembles, or nothing.

    >>> meant("compct", ["compact", "cpm6"]), meant("x", ["compact"])
    ("; did you mean 'compact'?", '')
    """
    close = get_close_matches(word, [str(each) for each in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
