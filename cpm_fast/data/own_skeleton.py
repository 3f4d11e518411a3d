"""The skeleton of parts that a user named: from a skeleton.toml beside the data, or from the names alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cpm_fast.skeleton import BUILT_IN, Skeleton

SKELETON_FILE = "skeleton.toml"


def skeleton_file(folders: Iterable[Path]) -> Path | None:
    """The first skeleton.toml in these folders."""
    return next((folder / SKELETON_FILE for folder in folders if (folder / SKELETON_FILE).is_file()), None)


def skeleton_of(name: str, parts: Sequence[str], limbs: Iterable[tuple[str, str]] = ()) -> Skeleton:
    """The built-in skeleton that has exactly these parts, or else one in which left_... and right_... are pairs.

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
    stems = [part.removeprefix("left_") for part in parts if part.startswith("left_")]
    pairs = tuple((f"left_{stem}", f"right_{stem}") for stem in stems if f"right_{stem}" in parts)
    return Skeleton(name, tuple(parts), tuple(limbs), pairs)
