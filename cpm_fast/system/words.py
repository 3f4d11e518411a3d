"""Words of messages: suggestions for unknown ones, and the contents of files in short."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Characters of a library's error within one of ours; names in a list, and characters of each.
LONGEST_REASON, MOST_NAMES, LONGEST_NAME = 300, 12, 40


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the known one that it resembles, or nothing.

    >>> meant("compct", ["compact", "cpm6"]), meant("x", ["compact"])
    ("; did you mean 'compact'?", '')
    """
    close = get_close_matches(word, [str(each) for each in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def in_short(error: Exception) -> str:
    """Return an error's message, with its type if that says more, for the message of another error.

    The repr of an error may hold the whole file that it is about.

    >>> in_short(KeyError("images")), in_short(ValueError("too long")), len(in_short(ValueError("a" * 1000)))
    ("KeyError: 'images'", 'too long', 303)
    """
    text = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def some_of(names: Iterable[object]) -> str:
    """Return the first names of a list that a file gave, each cut where it is long.

    >>> some_of(["image", "a" * 1000])
    "['image', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]"
    """
    all_names = list(names)
    shown = [f"{name!r:.{LONGEST_NAME}}" for name in all_names[:MOST_NAMES]]
    return f"[{', '.join(shown + ['...'] * (len(all_names) > MOST_NAMES))}]"
