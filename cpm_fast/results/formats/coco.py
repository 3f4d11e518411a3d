"""Key points in the results form of COCO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.plain import triples
from cpm_fast.system.files import atomic_write

COCO = "coco"
PERSON = 1


def save_coco(results: Sequence[Entry], path: Path) -> None:
    """One list of subjects, as `COCO.loadRes` reads it (cocodataset.org, results format, keypoints).

    An entry has image_id, category_id 1, keypoints (x, y, score of every part; 0, 0, 0 where there is none), score
    (the mean over the parts) and, beyond COCO's, file_name. image_id is the number that the file is called, as COCO's
    are, where every name is a number of its own; otherwise the image's place among the results, from 1.
    """
    entries = [
        {
            "image_id": number,
            "file_name": Path(result.name).name,
            "category_id": PERSON,
            "keypoints": triples(result, i),
            "score": float(np.nan_to_num(result.scores[i]).mean()),
        }
        for number, result in zip(_image_ids(results), results, strict=True)
        for i in range(len(result))
    ]
    with atomic_write(path) as file:
        file.write((json.dumps(entries, allow_nan=False) + "\n").encode())


def _image_ids(results: Sequence[Entry]) -> list[int]:
    stems = [Path(result.name).stem for result in results]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(results) + 1))
