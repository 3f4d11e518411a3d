"""Corrected labels: their effect, their file, and their form in --data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cpm_fast.data.corrected import Corrected, Correction, read_corrections, write_corrections
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.open import open_dataset

CORRECTIONS = [
    Correction(1, "neck", (12.5, 30.0), "moved"),
    Correction(1, "left_knee", None, "left out"),
    Correction(3, "right_wrist", (4.0, 5.2), "added"),
]


def test_parts_are_moved_and_left_out():
    plain = DrawnFigures(5, seed=2)
    data = Corrected(plain, CORRECTIONS)
    assert (len(data), data.name, data.skeleton) == (5, plain.name, plain.skeleton)
    neck, knee = plain.skeleton.index("neck"), plain.skeleton.index("left_knee")
    before, after = plain[1], data[1]
    assert after.parts_image[neck].tolist() == [12.5, 30.0] and after.labeled[neck]
    assert np.isnan(after.parts_image[knee]).all() and not after.labeled[knee]
    others = [i for i in range(len(plain.skeleton)) if i not in (neck, knee)]
    np.testing.assert_array_equal(after.parts_image[others], before.parts_image[others])
    assert after.roi == before.roi and before.labeled[knee]
    np.testing.assert_array_equal(data[3].parts_image[plain.skeleton.index("right_wrist")], [4.0, 5.2])
    np.testing.assert_array_equal(data[0].parts_image, plain[0].parts_image)


def test_the_way_through_a_file_and_a_word(tmp_path):
    plain = open_dataset("synthetic:5:2")
    path = tmp_path / "corrections.json"
    write_corrections(path, plain, CORRECTIONS, {"threshold": 0.5})
    assert read_corrections(path, plain) == CORRECTIONS
    assert len(path.read_text().splitlines()) == 2 + len(CORRECTIONS)
    data = open_dataset(f"corrected:{path}:synthetic:5:2")
    assert data[1].parts_image[plain.skeleton.index("neck")].tolist() == [12.5, 30.0]
    assert path in data.annotation_files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v | {"samples": 6}, "is of 6 samples of 'synthetic', got 5 of 'synthetic'"),
        (lambda v: v | {"form": "other"}, "form must be"),
        (lambda v: v | {"rows": [[0, "neck", [1.0, float("nan")], ""]]}, "two finite numbers"),
        (lambda v: v | {"rows": [[True, "neck", None, ""]]}, "must begin with a number"),
        (lambda v: v | {"rows": [[0]]}, "not corrections"),
        (lambda v: [v], "not corrections"),
    ],
)
def test_damaged_files_are_named(tmp_path, change, message):
    plain = DrawnFigures(5, seed=2)
    path = tmp_path / "corrections.json"
    write_corrections(path, plain, CORRECTIONS, {})
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message) as error:
        read_corrections(path, plain)
    assert str(path) in str(error.value)


def test_rejects():
    plain = DrawnFigures(5, seed=2)
    with pytest.raises(ValueError, match="has no sample 5, only 5"):
        Corrected(plain, [Correction(5, "neck", None)])
    with pytest.raises(ValueError, match="has no part 'tail'"):
        Corrected(plain, [Correction(0, "tail", None)])
    for word in ("corrected", "corrected:x.json", "corrected::synthetic:5"):
        with pytest.raises((ValueError, FileNotFoundError), match="corrected:FILE:DATA|no such file"):
            open_dataset(word)
