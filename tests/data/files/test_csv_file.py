"""CSV as spreadsheets of any country write it."""

import math

import pytest

from cpm_fast.data.files.csv_file import number, read_csv_text
from cpm_fast.data.formats.deeplabcut import DeepLabCut, is_labels
from cpm_fast.data.formats.table import PartsTable
from cpm_fast.data.open import open_dataset

TABLE = "image,nose_x,nose_y,ear_x,ear_y\na.png,10.5,20,30,40.25\n"
LABELS = "scorer,A,A,A,A\nbodyparts,nose,nose,ear,ear\ncoords,x,y,x,y\nlabeled-data/v/a.png,10.5,20,30,40.25\n"
SPELLINGS = {
    "commas": (lambda text: text, "utf-8"),
    "semicolons": (lambda text: text.replace(",", ";"), "utf-8"),
    "semicolons, decimal commas": (
        lambda text: text.replace(",", ";").replace(".5", ",5").replace(".25", ",25"),
        "utf-8",
    ),
    "tabs in UTF-16": (lambda text: text.replace(",", "\t"), "utf-16"),
    "a mark before UTF-8": (lambda text: text, "utf-8-sig"),
    "lines of Windows": (lambda text: text.replace("\n", "\r\n"), "utf-8"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", ["own", "DeepLabCut"])
def test_spellings(tmp_path, spelling, form):
    change, encoding = SPELLINGS[spelling]
    path = tmp_path / "m.csv"
    path.write_bytes(change(TABLE if form == "own" else LABELS).encode(encoding))
    assert is_labels(path) == (form == "DeepLabCut")
    dataset = open_dataset(path)
    assert isinstance(dataset, PartsTable if form == "own" else DeepLabCut)
    assert dataset.skeleton.names == ("nose", "ear")
    assert dataset.subjects[0].parts_image.tolist() == [[10.5, 20], [30, 40.25]]


def test_a_space_behind_every_comma(tmp_path):
    (tmp_path / "m.csv").write_text(TABLE.replace(",", ", "))
    dataset = PartsTable(tmp_path / "m.csv")
    assert dataset.skeleton.names == ("nose", "ear")
    assert dataset.subjects[0].parts_image.tolist() == [[10.5, 20], [30, 40.25]]


def test_other_encodings_are_told(tmp_path):
    (tmp_path / "m.csv").write_bytes(TABLE.replace("a.png", "mäuse.png").encode("cp1252"))
    with pytest.raises(ValueError, match=r"m.csv: not a text file in UTF-8: .*; save it as CSV UTF-8"):
        read_csv_text(tmp_path / "m.csv")


@pytest.mark.parametrize("word", ["", " ", "NaN", "nan", "NA", "N/A", "None", "null", "-", "<NA>"])
def test_missing_numbers(word):
    assert math.isnan(number(word))


def test_numbers():
    assert (number(" 1.5 "), number("-1e3"), number("1,5", ";"), number("-0,25", "\t")) == (1.5, -1000, 1.5, -0.25)
    for text, mark in (("1,5", ","), ("1,500,2", ";"), ("x", ",")):
        with pytest.raises(ValueError, match="must be a number"):
            number(text, mark)
