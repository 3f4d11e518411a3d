"""Pictures by the names that annotations give them, including paths of another machine."""

from __future__ import annotations

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from cpm_fast.system.limits import has_file

# Number of pictures that are searched when a dataset is opened, to warn of paths from elsewhere.
LOOKED_FOR = 1000


class Pictures:
    r"""The pictures of a dataset by name.

    A name is tried as it stands in each folder; then without its drive and root, and without one folder after another
    from its front (D:\mice\day1\a.png: mice/day1/a.png, day1/a.png, a.png). The first that exists wins. In the end,
    spaces around it, upper case, the two ways to write an accent, and percent signs for special characters are looked
    through.

    Args:
        folders: where pictures are looked for, in order.
        bare: whether a file name alone, without the folders before it, may be enough.
        given: paths of pictures outside all folders, by name.
    """

    def __init__(self, folders: Sequence[Path], bare: bool = True, given: Mapping[str, Path] | None = None) -> None:
        self.folders, self.bare, self.given = tuple(folders), bare, dict(given or {})

    def path(self, name: str, beside: Path | None = None) -> Path:
        """Return the path of a picture; if it is nowhere, its name in the first folder.

        Args:
            name: as the annotations have it.
            beside: a folder in which the file name alone is enough.
        """
        return self._find(name, beside)[0]

    def _find(self, name: str, beside: Path | None = None) -> tuple[Path, bool]:
        """Return the path, and whether it was found by an end of the name."""
        if name in self.given:
            return self.given[name], False
        for folder in self.folders:
            if has_file(folder / name):
                return folder / name, False
        for end in ends(name):
            for folder in self.folders if self.bare or "/" in end else ():
                if has_file(folder / end):
                    return folder / end, True
        if beside is not None and has_file(beside / file_name(name)):
            return beside / file_name(name), True
        for end in ends(name):
            for folder in self.folders if self.bare or "/" in end else ():
                if (path := _spelled_otherwise(folder, end)) is not None:
                    return path, True
        if beside is not None and (path := _spelled_otherwise(beside, file_name(name))) is not None:
            return path, True
        return self.folders[0] / name.replace("\\", "/"), False

    def warn_of_foreign_paths(self, dataset: str, names: Sequence[tuple[str, Path | None]]) -> None:
        """Warn of names that are paths of another place; check at most `LOOKED_FOR` of them, evenly chosen.

        Args:
            dataset: its name, for the message.
            names: of its pictures, each with the folder beside which it may lie.

        Raises:
            ValueError: two names of different pictures lead to one file.
        """
        every = max(1, len(names) // LOOKED_FOR)
        if not any(self._find(*name)[1] for name in names[::every]):
            return
        found: dict[Path, str] = {}
        for name, beside in names:
            path, by_end = self._find(name, beside)
            if by_end and found.setdefault(path, name) != name:
                raise ValueError(
                    f"{dataset}: {found[path]} and {name} are both found as {path}; put the pictures into the folders "
                    "that these names have"
                )
        path, name = next(iter(found.items()))
        warnings.warn(
            f"{dataset}: {len(found)} of {len(names)} pictures are named by paths of another place, or in another "
            f"spelling; {name} is taken from {path}",
            stacklevel=2,
        )


def _spelled_otherwise(folder: Path, name: str) -> Path | None:
    """Return the one file whose name differs in upper case, in composed accents, or in %20 for a space and the like."""
    for spelled in dict.fromkeys((name, unquote(name))):
        path: Path | None = folder
        for part in spelled.split("/"):
            found = [] if path is None else _spellings(path).get(_folded(part), [])
            path = path / found[0] if path is not None and len(found) == 1 else None
        if path is not None and has_file(path):
            return path
    return None


@lru_cache(maxsize=256)
def _spellings(folder: Path) -> dict[str, list[str]]:
    """Return the files in a folder by their plain names."""
    names = defaultdict(list)
    if folder.is_dir():
        for path in folder.iterdir():
            names[_folded(path.name)].append(path.name)
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


@lru_cache(maxsize=100_000)
def ends(name: str) -> tuple[str, ...]:
    r"""Return the ends of a path of any system, the longest first, the file name last.

    >>> ends("D:\\mice\\a.png")
    ('mice/a.png', 'a.png')
    """
    path = PureWindowsPath(name)
    parts = [part for part in path.parts if part not in (path.anchor, "..", ".")]
    return tuple("/".join(parts[first:]) for first in range(len(parts)))


def file_name(name: str) -> str:
    """Return the last part of a path of any system."""
    return PurePosixPath(name.replace("\\", "/")).name
