"""The scores of finding subjects in whole pictures: a table to print, numbers to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cpm_fast.evaluation.cells import percent, plain_number
from cpm_fast.evaluation.oks import AveragePrecision
from cpm_fast.evaluation.rule import Rule

OVERLAPS = (0.5, 0.75)
# Overlap from which the key points of a region are scored as a subject's.
MATCHED = OVERLAPS[0]


@dataclass(frozen=True)
class RegionScore:
    """Counts of the regions that were found, at one overlap.

    Args:
        overlap: least intersection over union of a region and a subject's true region, both as the pose network sees
            them, for the subject to count as found.
        hits: subjects that were found.
        missed: subjects that were not found.
        false: regions of no subject; those of people who do not count are not among them.
    """

    overlap: float
    hits: int
    missed: int
    false: int

    @property
    def recall(self) -> float:
        """Share of the subjects that were found."""
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else math.nan

    @property
    def precision(self) -> float:
        """Share of the regions that are those of a subject."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers."""
        return {**vars(self), "recall": plain_number(self.recall), "precision": plain_number(self.precision)}


@dataclass(frozen=True, eq=False)
class PoseScore:
    """Key points of regions from one source.

    Args:
        matched: PCK over the subjects that were found.
        every: PCK over all subjects; the parts of one that was not found are wrong.
        precision: COCO's numbers; None where they were left out.
    """

    matched: float
    every: float
    precision: AveragePrecision | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers."""
        oks: dict[str, float | None] | None = None
        if self.precision is not None:
            oks = {name: plain_number(value) for name, value in self.precision.numbers.items()}
        return {"matched": plain_number(self.matched), "every": plain_number(self.every), "average_precision": oks}


@dataclass(frozen=True, eq=False)
class FindingScore:
    """Scores of finding subjects in the whole pictures of a dataset.

    Args:
        dataset, finder: names, for titles.
        rule: of PCK, settled.
        pictures, subjects: their numbers.
        unreadable: number of samples that could not be read.
        regions: at each of `OVERLAPS`.
        found, true: key points of the regions that were found, and of the annotated ones.
        left_out: the reason for a missing average precision; empty if it is there.
    """

    dataset: str
    finder: str
    rule: Rule
    pictures: int
    subjects: int
    unreadable: int
    regions: tuple[RegionScore, ...]
    found: PoseScore
    true: PoseScore
    left_out: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, fractions, None for NaN."""
        return {
            "dataset": self.dataset,
            "finder": self.finder,
            "metric": self.rule.title,
            "reference": self.rule.over,
            "pictures": self.pictures,
            "subjects": self.subjects,
            "unreadable": self.unreadable,
            "regions": [one.to_dict() for one in self.regions],
            "found": self.found.to_dict(),
            "true_regions": self.true.to_dict(),
            "average_precision_left_out": self.left_out or None,
        }

    def table(self) -> str:
        """Format two tables in percent: regions by overlap, and key points beside those of true regions."""
        hits = self.regions[OVERLAPS.index(MATCHED)].hits
        lines = [f"subjects of {self.dataset} in {self.pictures} pictures, found by {self.finder}"]
        lines += [_row("overlap of the regions", [f"{one.overlap:g}" for one in self.regions])]
        lines += [_row("recall", [percent(one.recall) for one in self.regions])]
        lines += [_row("precision", [percent(one.precision) for one in self.regions])]
        lines += [_row("found", [str(one.hits) for one in self.regions])]
        lines += [_row("missed", [str(one.missed) for one in self.regions])]
        lines += [_row("false", [str(one.false) for one in self.regions])]
        ways = (self.found, self.true)
        title = self.rule.title
        lines += [_row("key points, percent", ["found", "true regions"])]
        lines += [_row(f"{title} of the {hits} found", [percent(way.matched) for way in ways])]
        lines += [_row(f"{title} of all {self.subjects}", [percent(way.every) for way in ways])]
        if self.found.precision is not None and self.true.precision is not None:
            for name in self.found.precision.numbers:
                values = [way.precision.numbers[name] for way in ways if way.precision is not None]
                lines.append(_row(f"{name} (COCO's OKS)", [percent(value) for value in values]))
        lines.append(f"a subject is found by a region of at least {MATCHED:g} overlap; error over {self.rule.over}")
        if self.left_out:
            lines.append(f"average precision is left out: {self.left_out}")
        if self.unreadable:
            lines.append(f"unreadable: {self.unreadable} samples")
        return "\n".join(lines)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<28}" + "".join(f"{cell:>14}" for cell in cells)
