"""A dataset whose labels are corrected by a small file: indices, parts and points, no pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.system.files import VALUE_ERRORS, parse_json, write_text
from cpm_fast.system.limits import LARGEST_BYTES, check_file
from cpm_fast.system.numbers import is_whole

FORM = "cpm_fast corrections 1"


@dataclass(frozen=True)
class Correction:
    """One part of one sample.

    Args:
        sample: its index in the dataset, from 0.
        part: its name.
        point: (x, y) image pixels; None: the part is not labeled.
        why: the reason, one word such as "exchanged".
    """

    sample: int
    part: str
    point: tuple[float, float] | None
    why: str = ""


class Corrected:
    """The samples of a dataset with some parts moved, added or left out; regions are unchanged.

    Args:
        dataset: with the labels. corrections: of its samples. file: the source of the corrections; a run checks that it
        has not changed.

    Raises:
        ValueError: a correction names a sample or a part that the dataset does not have.
    """

    def __init__(self, dataset: Dataset, corrections: Sequence[Correction], file: Path | None = None) -> None:
        self.dataset = dataset
        self.annotation_files = [*getattr(dataset, "annotation_files", ()), *([] if file is None else [file])]
        self.by_sample: dict[int, list[Correction]] = {}
        for one in corrections:
            if not 0 <= one.sample < len(dataset):
                raise ValueError(f"{dataset.name}: has no sample {one.sample}, only {len(dataset)} of them")
            if one.part not in dataset.skeleton.names:
                raise ValueError(f"{dataset.name}: has no part {one.part!r}, only {list(dataset.skeleton.names)}")
            self.by_sample.setdefault(one.sample, []).append(one)

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def skeleton(self) -> Any:
        return self.dataset.skeleton

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        corrections = self.by_sample.get(index, ())
        if not corrections:
            return sample
        parts, labeled = sample.parts_image.copy(), sample.labeled.copy()
        for one in corrections:
            place = self.skeleton.index(one.part)
            labeled[place] = one.point is not None
            parts[place] = np.nan if one.point is None else one.point
        return replace(sample, parts_image=parts, labeled=labeled)


def write_corrections(
    path: Path, dataset: Dataset, corrections: Sequence[Correction], about: Mapping[str, Any]
) -> None:
    """Write corrections with the name and the length of their dataset, one row for each part."""
    rows = [
        [one.sample, one.part, None if one.point is None else [round(value, 1) for value in one.point], one.why]
        for one in corrections
    ]
    head = {"form": FORM, "dataset": dataset.name, "samples": len(dataset), "about": dict(about)}
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_text(path, json.dumps(head)[:-1] + f', "rows": [\n{lines}\n]}}\n')


def read_corrections(path: Path, dataset: Dataset) -> list[Correction]:
    """Read corrections of a dataset.

    Raises:
        ValueError: the file is not of this form, or of another dataset; the message names it.
    """
    check_file(path, LARGEST_BYTES)
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        if values["form"] != FORM:
            raise ValueError(f"form must be {FORM!r}, got {values['form']!r:.60}")
        if (values["dataset"], values["samples"]) != (dataset.name, len(dataset)):
            raise ValueError(
                f"is of {values['samples']} samples of {values['dataset']!r:.60}, "
                f"got {len(dataset)} of {dataset.name!r}"
            )
        return [_correction(row) for row in values["rows"]]
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: not corrections of this dataset: {error}") from None


def _correction(row: Any) -> Correction:
    sample, part, point, why = row
    if not is_whole(sample) or not isinstance(part, str):
        raise ValueError(f"a row must begin with a number and a part, got {row!r:.80}")
    if point is None:
        return Correction(sample, part, None, str(why))
    x, y = (float(value) for value in point)
    if not np.isfinite([x, y]).all():
        raise ValueError(f"a point must be two finite numbers, got {point!r:.60}")
    return Correction(sample, part, (x, y), str(why))
