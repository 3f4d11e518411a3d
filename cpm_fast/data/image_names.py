"""Names of images in two places, which have only the ends of their paths in common."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

# Names that are shown in a message.
SHOWN = 3


class MatchError(ValueError):
    """An error: names can't be matched."""


class Names:
    """Names of images, matched by as much of their paths as both have: im1.jpg is lsp/images/im1.jpg.

    Names that are numbers alone, as COCO's images have in results, stand for the file called that number.

    Raises:
        MatchError (from `find`): several names fit.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.by_last = defaultdict(list)
        for name in dict.fromkeys(names):
            self.by_last[self._last(name)].append(name)

    def find(self, name: str) -> str | None:
        """Return the name of the same image, None if there is none."""
        wanted = _path(name)
        fitting = [other for other in self.by_last.get(self._last(name), ()) if self._agree(wanted, _path(other))]
        exact = [other for other in fitting if other == name]
        if len(exact or fitting) > 1:
            raise MatchError(f"{name} may be {' or '.join(fitting[:SHOWN])}: give more of the paths")
        return next(iter(exact or fitting), None)

    @staticmethod
    def _last(name: str) -> str:
        path = _path(name)
        return path.stem.lstrip("0") if path.stem.isascii() and path.stem.isdigit() else path.name

    @staticmethod
    def _agree(first: PurePosixPath, second: PurePosixPath) -> bool:
        # The last names agree already, and the file of a number may have a suffix or none.
        shared = min(len(first.parts), len(second.parts))
        return first.parts[-shared:-1] == second.parts[-shared:-1] and (
            first.suffix == second.suffix or "" in (first.suffix, second.suffix)
        )


def _path(name: str) -> PurePosixPath:
    """Return a path without the steps up at its front, as a table of results in another folder has them."""
    path = PurePosixPath(name.replace("\\", "/"))
    return PurePosixPath(*itertools.dropwhile(lambda part: part == "..", path.parts))
