"""Readable pictures: colors and a legend of parts, numbers and colors of subjects, boxes and scores."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest

from cpm_fast.media.sources import Source
from cpm_fast.results import fonts
from cpm_fast.results.marks import SUBJECT_COLORS, is_person, legend, mark_subject, part_colors, with_legend
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton

MOUSE = Skeleton("mouse", ("nose", "ear", "tail base"), limbs=(("nose", "ear"), ("ear", "tail base")))
BLACK = np.zeros((160, 200, 3), np.uint8)


@pytest.fixture
def no_font(monkeypatch):
    """Simulate a machine that has only matplotlib's fonts."""
    fonts._of_system.cache_clear()
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [])
    yield
    fonts._of_system.cache_clear()


def mice(count: int = 2, skeleton: Skeleton = MOUSE) -> Result:
    points = np.array([[[30.0 + 90 * i, 60 + 8 * p] for p in range(len(skeleton))] for i in range(count)], np.float32)
    rois = tuple(Roi((40.0 + 90 * i, 80.0), 75.0) for i in range(count))
    scores = np.full((count, len(skeleton)), 0.75, np.float32)
    return Result(points, scores, skeleton, "a.png", (160, 200), rois, "boxes", source=Source("a.png", BLACK))


def has(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - color).max(axis=2) <= 2).any())


def test_parts_of_no_person_have_a_color_each_and_a_legend():
    assert is_person(LSP) and part_colors(LSP) == LSP.colors and not is_person(MOUSE)
    colors = part_colors(Skeleton("many", tuple(f"part {i}" for i in range(20))))
    assert len(set(colors)) == 20
    assert min(np.abs(np.subtract(a, b)).max() for a, b in pairwise(colors)) > 60
    picture = mice(1).plot()
    assert picture.shape[0] == 160 and picture.shape[1] > 200
    assert all(has(picture[:, 200:], color) for color in part_colors(MOUSE))
    assert all(has(picture[55:85, 20:40], color) for color in part_colors(MOUSE)), "the dots have the legend's colors"
    assert mice(1).plot(legend=False).shape == (160, 200, 3) == mice(1, LSP).plot().shape
    assert mice(1, LSP).plot(legend=True).shape[1] > 200
    # A low picture has space for some of the names.
    assert with_legend(BLACK[:40], MOUSE).shape[0] == 40


@pytest.mark.parametrize("height", [192, 1080], ids=["low", "high"])
def test_every_name_of_many_is_in_the_legend_in_a_size_to_be_read(height):
    many = Skeleton("many", tuple(f"part {i}" for i in range(32)))
    shown = legend(many, height)
    assert all(has(shown, color) for color in part_colors(many)), "each has its circle"
    assert shown.shape[1] < 2 * height
    dark = (shown.max(axis=2) < 100).any(axis=1)
    runs = np.diff(np.flatnonzero(np.diff(dark.astype(int))))[::2]
    assert runs.min() >= max(5, height / 80), "letters are as high as this"


@pytest.mark.parametrize("size", [(12, 30), (1, 1), (300, 40)], ids=str)
def test_numbers_of_subjects_stand_within_any_picture(size):
    picture = np.zeros((*size, 3), np.uint8)
    for corner in (-1e9, 0, 25, 1e9):
        mark_subject(picture, (corner, corner, corner + 9, corner + 9), "12 0.75", 0, outlined=True)
    assert picture.any()


def test_several_subjects_have_numbers_and_colors_and_details_on_request():
    one, two, details = mice(1).plot(legend=False), mice().plot(legend=False), mice().plot(legend=False, details=True)
    assert not has(one, SUBJECT_COLORS[0])
    assert has(two[:, :100], SUBJECT_COLORS[0]) and has(two[:, 100:], SUBJECT_COLORS[1])
    # The box: 75 / 1.25 = 60 px around the region's center.
    row = details[109:112, 20:60]
    assert has(row, SUBJECT_COLORS[0]) and not has(two[109:112, 20:60], SUBJECT_COLORS[0])
    outside = mice()
    off = tuple(Roi((roi.center[0] - 500, roi.center[1] + 5000), 1e5) for roi in outside.rois)
    assert (
        Result(outside.keypoints, outside.scores, MOUSE, "a.png", rois=off).drawn(BLACK, details=True).shape
        == BLACK.shape
    )


def test_a_result_as_plain_values_and_in_a_notebook():
    result = mice()
    result.keypoints[0, 1] = np.nan
    plain = json.loads(result.to_json())
    assert plain == result.to_dict() | {"size": [160, 200], "subjects": plain["subjects"]}
    assert plain["subjects"][1]["parts"]["tail base"] == [120.0, 76.0, 0.75] and plain["name"] == "a.png"
    assert plain["subjects"][0]["parts"]["ear"][:2] == [None, None]
    assert repr(result) == "Result('a.png', 2 subjects, 3 parts, mean score 0.75)"
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert (shown == result.plot()).all()
    gone = Result(result.keypoints, result.scores, MOUSE, "<gone>.png")
    assert gone._repr_png_() is None
    page = Results([result, *[gone] * 30], {"b.png": "cut"})._repr_html_()
    assert "<td>a.png</td><td>2</td><td>0.75</td>" in page and "&lt;gone&gt;.png" in page and "<gone>" not in page
    assert "and 11 more" in page and "1 could not be read" in page


def test_names_in_letters_that_no_font_has_are_numbers_in_the_legend(no_font):
    strange = Skeleton("strange", ("\u9f3b", "ear", "\u8033"))
    with pytest.warns(UserWarning, match="no font .* the letters of \u9f3b, \u8033; the legend has the numbers"):
        found = legend(strange, 120)
    assert (found == legend(Skeleton("numbers", ("part 1", "ear", "part 3")), 120)).all()


def test_letters_of_other_alphabets_come_from_a_font_of_the_system(monkeypatch, recwarn):
    """The second font has the letters that the first lacks."""
    has = {"first": "abc", "second": "\u9f3babc", fonts._own(): "abcdefghijklmnopqrstuvwxyz"}
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: ["first", "second"])
    monkeypatch.setattr(fonts, "_has", lambda path, letters: letters <= set(has[path]))
    monkeypatch.setattr("PIL.ImageFont.truetype", lambda path, size: (path, size))
    fonts._of_system.cache_clear()
    assert fonts.font_for("\u9f3b a", 12) == ("second", 12) and fonts.font_for("nose", 12) == (fonts._own(), 12)
    assert fonts.font_for("\u8033", 12) is None
    fonts._of_system.cache_clear()


def test_damaged_fonts_are_passed_over(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"\0\1\0\0 no font")
    assert not fonts._has(str(tmp_path / "bad.ttf"), frozenset("a")) and not fonts._has("gone.ttf", frozenset("a"))
    assert fonts._has(fonts._own(), frozenset("a\u043d\u03a9"))
