"""The table of labels keeps unchanged cells, and returns the stored labels."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_fast.labeling.table import EMPTY, LabeledSubject, LabelTable
from cpm_fast.skeleton import Skeleton

SKELETON = Skeleton("pair", ("a", "left_b"))
HUNDREDTHS = st.integers(-10_000_000, 10_000_000).map(lambda n: n / 100)
POINT = st.none() | st.tuples(HUNDREDTHS, HUNDREDTHS, st.sampled_from((1, 2)))
SUBJECT = st.builds(LabeledSubject, st.tuples(POINT, POINT), st.none() | st.just((1.0, 2.0, 3.5, 4.25)))
# Names may hold any character of a file system; CSV can't represent a zero byte.
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAME, st.lists(SUBJECT, min_size=1, max_size=3), max_size=4))
def test_what_is_written_is_read(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    table = LabelTable(path, SKELETON)
    for name, subjects in pictures.items():
        table.replace(name, subjects, "labeled")
    table.write()
    again = LabelTable(path, SKELETON)
    assert list(again.rows) == list(pictures)
    for name, subjects in pictures.items():
        found = again.subjects(name)
        assert [(s.points, s.box) for s in found] == [(s.points, s.box) for s in subjects]
        assert again.revision(name) == table.revision(name)


def test_other_columns_and_untouched_cells_stay(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,mood,a_x,a_y,left_b_x,left_b_y\nx.png,good,1.123456,2,,\ny.png,bad,3,4,5,6\ny.png,,7,8,,\n")
    table = LabelTable(path, SKELETON)
    first, second = table.subjects("y.png")
    moved = LabeledSubject(((9.0, 9.0, 1), None), None, second.row)
    table.replace("y.png", [moved, first], "corrected")
    table.write()
    rows = list(csv.DictReader(path.open()))
    assert rows[0]["a_x"] == "1.123456" and rows[0]["mood"] == "good"
    assert [(row["mood"], row["a_x"], row["a_v"]) for row in rows[1:]] == [("", "9", "1"), ("bad", "3", "2")]
    assert table.state("y.png") == "corrected" and table.state("x.png") == "labeled"


def test_a_picture_without_subjects_is_remembered(tmp_path):
    table = LabelTable(tmp_path / "labels.csv", SKELETON)
    table.replace("x.png", [], EMPTY)
    table.write()
    again = LabelTable(tmp_path / "labels.csv", SKELETON)
    assert again.state("x.png") == EMPTY and again.subjects("x.png") == []
    again.replace("x.png", [], None)
    assert again.state("x.png") is None and "x.png" not in again.rows


def test_visibility_0_is_not_labeled(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,a_x,a_y,a_v,left_b_x,left_b_y\nx.png,1,2,0,3,4\n")
    assert LabelTable(path, SKELETON).subjects("x.png")[0].points == (None, (3.0, 4.0, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,a_x\nx,1\n", "line 1: must have the column image"),
        ("image,a_x,a_y\nx.png,1\n", "line 2: must have 3 cells"),
        ("image,a_x,a_y\nx.png,one,2\n", "line 2: a_x must be a number"),
        ("image,a_x,a_y\nx.png,inf,2\n", "line 2: a_x must be a number"),
        ("image,a_x,a_y\nx.png,1,\n", "line 2: a_x and a_y must both"),
        ("image,a_x,a_y,a_v\nx.png,1,2,3\n", "line 2: a_v must be 0, 1, 2"),
        ("image,left,top\nx.png,1,2\n", "line 2: left, top, right, bottom must all"),
        ("image,image\nx,y\n", "columns must be named once"),
        ("image\n\xff", "not a text file"),
    ],
)
def test_names_file_and_line_of_what_it_rejects(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"labels.csv.*{message}"):
        LabelTable(path, SKELETON)


@pytest.mark.parametrize(
    "subject",
    [
        None,
        [],
        {"points": None},
        {"points": [None]},
        {"points": [None, [1, 2]]},
        {"points": [None, [1, 2, 0]]},
        {"points": [None, [1, 2, 3]]},
        {"points": [None, ["1", 2, 2]]},
        {"points": [None, [float("nan"), 2, 2]]},
        {"points": [None, [float("inf"), 2, 2]]},
        {"points": [None, [1e9, 2, 2]]},
        {"points": [None, [10**400, 2, 2]]},
        {"points": [None, [True, 2, 2]]},
        {"points": [None, None], "box": [3, 3, 1, 4]},
        {"points": [None, None], "box": {"left": 1}},
        {"points": [None, None], "row": -1},
        {"points": [None, None], "row": True},
        {"points": [None, None], "row": "0"},
    ],
)
def test_rejects_subjects_that_are_none(subject):
    with pytest.raises(ValueError):
        LabeledSubject.from_dict(subject, 2)
