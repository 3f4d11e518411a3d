"""Skeletons of a user's own parts: from a skeleton.toml beside the data, or from the names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cpm_fast.sides import mirror_pairs
from cpm_fast.skeleton import BUILT_IN, Skeleton
from cpm_fast.system.files import text_of_name

SKELETON_FILE = "skeleton.toml"


def skeleton_file(folders: Iterable[Path]) -> Path | None:
    """Return the first skeleton.toml in these folders."""
    return next((folder / SKELETON_FILE for folder in folders if (folder / SKELETON_FILE).is_file()), None)


def skeleton_of(name: str, parts: Sequence[str], limbs: Iterable[tuple[str, str]] = ()) -> Skeleton:
    """Return the built-in skeleton that has exactly these parts, or else one with pairs by the names.

    Args:
        name: of a skeleton that is not built in.
        parts: names, in order.
        limbs: of a skeleton that is not built in.

    Raises:
        ValueError: a name is not unique or not a name.
    """
    for skeleton in BUILT_IN.values():
        if skeleton.names == tuple(parts):
            return skeleton
    return Skeleton(text_of_name(name), tuple(parts), tuple(limbs), mirror_pairs(parts))


def alike_apart(lists: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Return names that differ only in case, spaces, - and _, and stand in no list together: one part, or a mistake.

    >>> alike_apart([("Nose", "ear"), ("nose", "ear")]), alike_apart([("A", "a")])
    ([('Nose', 'nose')], [])
    """
    by_key: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for names in lists for name in names):
        by_key.setdefault(plain_name(name), []).append(name)
    together = [set(names) for names in lists]
    return [
        (name, other)
        for alike in by_key.values()
        for place, name in enumerate(alike)
        for other in alike[place + 1 :]
        if not any({name, other} <= names for names in together)
    ]


def plain_name(name: str) -> str:
    """Return a name of a part without case, spaces, - and _."""
    return re.sub(r"[\s_-]", "", name).casefold()
