"""Frames Labeled in Cinema (FLIC), from its own `examples.mat` and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.matlab import field, number_field, read_mat
from cpm_fast.data.left_out import LeftOut
from cpm_fast.data.subjects import Subject, Subjects
from cpm_fast.roi import Roi
from cpm_fast.skeleton import FLIC

# Indices of the released network's 9 parts among the 29 points of an example, in the skeleton's order.
COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 16)
POINTS = 29
# The release's center, as a share of the height of the torso's box, and its scale per pixel of that height.
TOP_SHARE = 0.7
SCALE_PER_PX = 0.0110


class FramesInCinema(Subjects):
    """FLIC (Sapp and Taskar, CVPR 2013). Training examples come first, then those of the test, each in file order.

    So the last 1016 of the 5003 are the test's, in the order of the released predictions. File coordinates are 1-based.
    As in the release, left and right are the observer's: if the right shoulder is further right than the left, the
    two sides change names. The region comes from the torso's box. An example of the same frame is a neighbor.

    Args:
        root: folder that holds examples.mat and images/.

    Raises:
        FileNotFoundError: root has no examples.mat.
        ValueError: examples.mat is no such file; the message names file and example.
    """

    def __init__(self, root: str | Path) -> None:
        root = Path(root)
        path = root / "examples.mat"
        subjects, tested, left_out = [], [], LeftOut(path, "example")
        examples = read_mat(path, "examples")
        for place, example in enumerate(examples if isinstance(examples, list) else [], 1):
            try:
                is_test, subject = number_field(example, "istest") == 1, _subject(example, place)
            except ValueError as error:
                left_out.add(f"example {place}", error)
                continue
            tested.append(is_test)
            subjects.append(subject)
        reasons = left_out.report(len(subjects))
        if not subjects:
            raise ValueError(f"{path}: examples must hold at least one, got none")
        order = np.argsort(tested, kind="stable")
        self.test_count = sum(tested)
        super().__init__("flic", FLIC, [subjects[i] for i in order], [root / "images", root], [path], reasons)


def _subject(example: Any, place: int) -> Subject:
    name = field(example, "filepath")
    if not isinstance(name, str):
        raise ValueError(f"filepath must be text, got {name!r:.60}")
    points = _numbers(example, "coords", (2, POINTS))
    box = _numbers(example, "torsobox", (1, 4))[0] - 1
    if not np.isfinite(box).all():
        raise ValueError(f"torsobox must be four finite numbers, got {box.tolist()}")
    left, top, right, bottom = box.tolist()
    parts_image = points[:, COLUMNS].T - 1  # [9, 2]
    parts_image[~np.isfinite(parts_image).all(axis=1)] = np.nan
    if parts_image[FLIC.index("right_shoulder"), 0] > parts_image[FLIC.index("left_shoulder"), 0]:
        parts_image = parts_image[list(FLIC.mirror)]
    center = ((left + right) / 2, TOP_SHARE * top + (1 - TOP_SHARE) * bottom)
    return Subject(name, parts_image, Roi.from_mpii(center, SCALE_PER_PX * (bottom - top)), identity=(place,))


def _numbers(example: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = field(example, name)
    if not isinstance(values, np.ndarray) or values.shape != shape or values.dtype.kind not in "iuf":
        got = f"{list(values.shape)} {values.dtype}" if isinstance(values, np.ndarray) else repr(values)
        raise ValueError(f"{name} must be numbers {list(shape)}, got {got}")
    return values.astype(np.float64)
