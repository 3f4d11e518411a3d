"""Annotations that can't be used: left out, counted, and named."""

from __future__ import annotations

import warnings
from pathlib import Path

SHOWN = 3


class LeftOut:
    """The reasons why annotations of a file were left out.

    Args:
        path: of the file.
        what: the word for an annotation, for instance "row".
        many: the plural of the word; with an s if not given.
    """

    def __init__(self, path: Path, what: str, many: str | None = None) -> None:
        self.path, self.what = path, many or f"{what}s"
        self.reasons: list[str] = []

    def add(self, where: str, reason: object) -> None:
        """Note one annotation, by its place in the file."""
        self.reasons.append(f"{where}: {reason}")

    def report(self, kept: int) -> tuple[str, ...]:
        """Warn of the annotations and return the reasons.

        Args:
            kept: number of used annotations.

        Raises:
            ValueError: some were left out, and none is used; names the first.
        """
        if not self.reasons:
            return ()
        if not kept:
            more = f" (and {len(self.reasons) - 1} more)" if len(self.reasons) > 1 else ""
            raise ValueError(f"{self.path} {self.reasons[0]}{more}")
        shown = "; ".join(self.reasons[:SHOWN]) + ("; ..." if len(self.reasons) > SHOWN else "")
        count = f"{len(self.reasons)} of {len(self.reasons) + kept} {self.what}"
        warnings.warn(f"{self.path}: {count} left out: {shown}", stacklevel=3)
        return tuple(self.reasons)
