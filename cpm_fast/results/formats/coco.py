"""Key points in COCO's format of results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.plain import triples
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, parse_json
from cpm_fast.system.limits import LARGEST_BYTES, check_file
from cpm_fast.system.numbers import identifier
from cpm_fast.system.words import in_short

COCO = "coco"
PERSON = 1


@dataclass(frozen=True)
class CocoIds:
    """The ids that a COCO file gives to its images and its category.

    Args:
        path: of the file.
        images: id by file name.
        category: the id of the (first) one with key points.
    """

    path: Path
    images: dict[str, int | str]
    category: int | str = PERSON

    @classmethod
    def read(cls, path: str | Path) -> CocoIds:
        """Read a COCO file's images and categories; it needs no annotations.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a COCO file, or an image has two ids; the message names the file.
        """
        path = Path(path)
        check_file(path, LARGEST_BYTES)
        data = path.read_bytes()
        try:
            content = parse_json(data)
            pairs = [(str(image["file_name"]), _own_id(image["id"])) for image in content["images"]]
            categories = [entry for entry in content.get("categories", []) if entry.get("keypoints")]
            category = _own_id(categories[0]["id"]) if categories else PERSON
        except VALUE_ERRORS as error:
            raise ValueError(f"{path}: must be a COCO file with images, got {in_short(error)}") from None
        twice = [name for name, count in Counter(name for name, _ in dict.fromkeys(pairs)).items() if count > 1]
        if twice:
            raise ValueError(f"{path}: images must have an id of their own, got two for {twice[0]}")
        return cls(path, dict(pairs), category)

    def of(self, names: Sequence[str]) -> list[int | str]:
        """Return the image ids of pictures, by as much of the end of their paths as is unique.

        Raises:
            ValueError: a picture is none of the file's, or may be several.
        """
        by_last: dict[str, list[str]] = {}
        for name in self.images:
            by_last.setdefault(_parts(name)[-1], []).append(name)
        return [self.images[self._named(name, by_last)] for name in names]

    def _named(self, name: str, by_last: dict[str, list[str]]) -> str:
        parts = _parts(name)
        fitting = [known for known in by_last.get(parts[-1], ()) if parts[-len(_parts(known)) :] == _parts(known)]
        if fitting:
            return max(fitting, key=lambda known: len(_parts(known)))
        fitting = by_last.get(parts[-1], [])
        if len(fitting) != 1:
            raise ValueError(f"{name}: must be one of the {len(self.images)} images of {self.path}, got {fitting[:3]}")
        return fitting[0]


def _own_id(value: object) -> int | str:
    """Return an id as it stands in the file, so that it is found there again."""
    found = identifier(value, "id")
    return value if isinstance(value, str) else found


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or (name,)


def save_coco(results: Sequence[Entry], path: Path, ids: CocoIds | None = None) -> None:
    """Write one list of subjects, as `COCO.loadRes` reads it (cocodataset.org, results format, keypoints).

    An entry has image_id, category_id, keypoints (x, y, score of every part; 0, 0, 0 where there is none), score
    (the mean over the parts) and, beyond COCO's, file_name. With `ids` both ids are those of that file. Otherwise
    category_id is 1, and image_id is a video's frame, or the number that the file is called, as COCO's are, where every
    name is a number of its own; or else the image's place among the results, from 1.
    """
    numbers = _image_ids(results) if ids is None else ids.of([result.name for result in results])
    entries = [
        {
            "image_id": number,
            "file_name": Path(result.name).name + ("" if result.frame is None else f" frame {result.frame}"),
            "category_id": PERSON if ids is None else ids.category,
            "keypoints": triples(result, i),
            "score": float(np.nan_to_num(result.scores[i]).mean()),
        }
        for number, result in zip(numbers, results, strict=True)
        for i in range(len(result))
    ]
    with atomic_write(path) as file:
        file.write((json.dumps(entries, allow_nan=False) + "\n").encode())


def _image_ids(results: Sequence[Entry]) -> Sequence[int | str]:
    frames = [result.frame for result in results if result.frame is not None]
    if frames and len(set(frames)) == len(results):
        return frames
    stems = [Path(result.name).stem for result in results]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(results) + 1))
