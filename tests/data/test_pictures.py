"""Pictures are found by the names in annotations, which may come from any machine."""

import unicodedata
import warnings

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.table import PartsTable
from cpm_fast.data.pictures import Pictures


def draw(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.zeros((50, 60, 3), np.uint8))[1].tobytes())


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("a.png", "a.PNG"),
        ("Day1/IMG_1.PNG", "day1/img_1.png"),
        (unicodedata.normalize("NFC", "mäuse.png"), unicodedata.normalize("NFD", "mäuse.png")),
        (unicodedata.normalize("NFD", "mäuse.png"), unicodedata.normalize("NFC", "mäuse.png")),
        ("my picture.png", "my%20picture.png"),
        ("a.png", " a.png "),
        ("a.png", "https://host/data/a.png"),
        ("a.png", "file:///home/me/a.png"),
        ("day1/a.png", "D:\\mice\\day1\\A.PNG"),
    ],
)
def test_other_spellings(tmp_path, there, named):
    draw(tmp_path / there)
    pictures = Pictures([tmp_path])
    found = pictures.path(named)
    assert found.is_file() and found.name == there.split("/")[-1]
    with pytest.warns(UserWarning, match="1 of 1 pictures are named by paths of another place, or in another spelling"):
        pictures.warn_of_foreign_paths("mice", [(named, None)])


def test_a_name_as_it_stands_comes_first_and_two_that_differ_in_case_are_none(tmp_path):
    for name in ("a.png", "A.png"):
        draw(tmp_path / name)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes no two names that differ in case")
    pictures = Pictures([tmp_path])
    assert pictures.path("A.png").name == "A.png" and pictures.path("a.png").name == "a.png"
    assert not pictures.path("a.PNG").exists()


def table(folder, *rows: str) -> PartsTable:
    draw(folder / "a.png")
    (folder / "m.csv").write_text("\n".join(["image,nose_x,nose_y,ear_x,ear_y", *rows]) + "\n")
    return PartsTable(folder / "m.csv")


def test_labels_at_the_first_pixel_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r"m: 2 of 4 labels are at exactly 0, 0; where that stands for"):
        table(tmp_path, "a.png,0,0,30,40", "a.png,0,0,31,41")
    with pytest.warns(UserWarning, match=r"m: 1 of 2 labels are at exactly -1, -1; where"):
        table(tmp_path, "a.png,-1,-1,30,40")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table(tmp_path, "a.png,0,1,30,40", "a.png,5,5,31,41")


def test_fractions_of_a_picture_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"m\.csv: points must be in pixels, got all from 0.1 to 0.9; multiply them"):
        table(tmp_path, "a.png,0.1,0.2,0.3,0.4", "a.png,0.2,0.3,0.9,0.4")
    assert len(table(tmp_path, "a.png,0.1,0.2,0.3,0.4", "a.png,0.2,0.3,30,0.4")) == 2
