"""The page in a real browser: a person labels, drags, goes back, and loses no change."""

import csv
import itertools

import pytest

from cpm_fast.data.open import open_dataset
from cpm_fast.labeling.naming import write_skeleton
from cpm_fast.labeling.store import Store
from support.browser import Page, start_browser, until
from support.labeling import SKELETON, draw_pictures, make_beetles

pytestmark = pytest.mark.slow
UNDO, ENTER = "z", "\ue007"
RIGHT, LEFT, DELETE, SHIFT = "\ue014", "\ue012", "\ue017", "\ue008"
FIRST = [(48.0, 38.0), (38.0, 60.0), (58.0, 60.0), (48.0, 84.0)]
SECOND = [(112.0, 38.0), (102.0, 60.0), (122.0, 60.0), (112.0, 84.0)]


@pytest.fixture(scope="module")
def browser():
    driver = start_browser()
    yield driver
    driver.quit()


def rows(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def points(row):
    return [(float(row[f"{part}_x"]), float(row[f"{part}_y"])) if row[f"{part}_x"] else None for part in SKELETON.names]


def near(found, wanted, tolerance=0.6):
    """Compare within a pixel of the screen, on which clicks land; it is a fraction of the picture's."""
    return len(found) == len(wanted) and all(
        (a is None) == (b is None) and (a is None or b is None or max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= tolerance)
        for a, b in zip(found, wanted, strict=True)
    )


def label(page, subjects):
    for number, subject in enumerate(subjects):
        if number:
            page.keys("n")
        for at in subject:
            page.click(*at)


def test_the_picture_stays_where_it_is(browser, serve, beetles):
    """A click may change words in the head of the page, but in no window does the picture move under the mouse."""
    page = Page(browser, serve(beetles).address)
    for width in (700, 1280):
        page.size(width, 600)
        before = page.place(*FIRST[0])
        page.click(*FIRST[0])
        page.saved()
        assert page.place(*FIRST[0]) == before
        assert page.run("return document.documentElement.scrollWidth") <= width


WATCH_NAMES = """
window.names = [];
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  window.names.push([text, x, x + this.measureText(text).width, y]); return draw.call(this, text, x, y);
};
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...sides) {
  if (this.canvas.id === "marks") window.names = [];
  return clear.apply(this, sides);
};"""
ZOOM_IN = """
const [x, y] = arguments;
for (let i = 0; i < 8; i++) document.getElementById("stage").dispatchEvent(
  new WheelEvent("wheel", { deltaY: -240, clientX: x, clientY: y, bubbles: true, cancelable: true }));"""
SEE_ALL_SMALL = "return [...document.querySelectorAll('#strip img')].every((image) => image.naturalWidth)"


def test_a_large_picture_in_a_large_window(browser, serve, tmp_path):
    """Clicks land within a pixel of the screen, zoom keeps what is under the mouse, no name covers another."""
    folder = tmp_path / "large"
    draw_pictures(folder, 4, (3000, 4000), ".jpg")
    write_skeleton(SKELETON, folder / "skeleton.toml")
    page = Page(browser, serve(folder).address, (1920, 1080))
    until(lambda: page.run(SEE_ALL_SMALL), "small pictures")
    assert page.run("return document.querySelectorAll('#strip figure').length") == 4
    page.run(WATCH_NAMES)
    parts = [(1200.0, 900.0), (1207.0, 903.0), (1215.0, 897.0), (2900.0, 2100.0)]
    scale = page.scale()
    assert 0.2 < scale < 0.4
    page.click(*parts[0])
    page.click(*parts[3])
    at = page.place(*parts[0])
    browser.execute_script(ZOOM_IN, *at)
    until(lambda: page.scale() > 4, "a zoomed picture")
    # The mouse was within half a pixel of the screen, which the zoom makes larger.
    assert max(abs(a - b) for a, b in zip(page.place(*parts[0]), at, strict=True)) <= 0.5 * page.scale() / scale + 1
    page.click(*parts[1])
    page.click(*parts[2])
    page.saved()
    found = points(rows(folder)[0])
    assert near([found[0], found[2], found[3]], [parts[0], parts[1], parts[2]], 0.5 / scale)
    page.keys("0")
    until(lambda: page.scale() == scale, "the whole picture")
    names = page.run("return window.names")
    assert len(names) == 2
    for one, other in itertools.combinations(names, 2):
        assert one[2] < other[1] or other[2] < one[1] or abs(one[3] - other[3]) > 10
    assert not page.errors()


def test_three_pictures_of_two_subjects_and_a_killed_server(browser, serve, beetles):
    served = serve(beetles)
    page = Page(browser, served.address)
    for picture in range(2):
        label(page, [FIRST, SECOND])
        page.saved()
        page.go(RIGHT, picture + 1)
    found = rows(beetles)
    assert [row["image"] for row in found] == ["run-000000.png"] * 2 + ["run-000001.png"] * 2
    assert all(near(points(row), FIRST if row["subject"] == "0" else SECOND) for row in found)
    assert page.text("progress") == "2 of 6 labeled" and page.text("state") == "untouched"

    label(page, [FIRST])
    page.saved()
    page.drag(FIRST[0], (60.0, 30.0))
    page.saved()
    assert near(points(rows(beetles)[4]), [(60.0, 30.0), *FIRST[1:]])
    page.keys(UNDO)
    page.saved()
    assert near(points(rows(beetles)[4]), FIRST)
    page.keys("y")
    page.saved()
    assert near(points(rows(beetles)[4]), [(60.0, 30.0), *FIRST[1:]])

    page.open(served.address)
    assert page.data("picture") == "2" and page.text("state") == "labeled"

    served.kill()
    assert near(points(rows(beetles)[4]), [(60.0, 30.0), *FIRST[1:]])
    page.keys("n")
    page.click(*SECOND[0])
    until(lambda: page.text("saved").startswith("not saved"), "the page to see that the server is gone")
    again = serve(beetles, served.port)
    page.open(again.address)
    page.saved()
    found = rows(beetles)
    assert near(points(found[4]), [(60.0, 30.0), *FIRST[1:]]) and near(points(found[5]), [SECOND[0], None, None, None])
    page.keys("\ue004", "s")
    for at in SECOND[1:]:
        page.click(*at)
    page.saved()
    assert len(open_dataset(str(beetles / "labels.csv"))) == 6
    assert not page.errors()


def test_two_pages_do_not_overwrite_each_other(browser, serve, beetles):
    served = serve(beetles)
    one = Page(browser, served.address)
    label(one, [FIRST])
    one.saved()
    two = Page(browser, served.address)
    # Neither page polls for changes any more, by no timer that runs already either: both begin from the same labels.
    for page in (one, two):
        page.run("for (let i = setTimeout(() => 0); i; i--) clearTimeout(i); window.setTimeout = () => 0")
    one.drag(FIRST[0], (60.0, 30.0))
    one.saved()
    two.drag(FIRST[3], (60.0, 90.0))
    until(lambda: near(points(rows(beetles)[0]), [(60.0, 30.0), *FIRST[1:3], (60.0, 90.0)]), "both changes")

    one.drag((60.0, 30.0), (20.0, 20.0))
    until(lambda: near(points(rows(beetles)[0]), [(20.0, 20.0), *FIRST[1:3], (60.0, 90.0)]), "the first page's change")
    two.drag((60.0, 30.0), (80.0, 20.0))
    until(lambda: two.run("return document.getElementById('conflict').open"), "the question whose change counts")
    assert near(points(rows(beetles)[0]), [(20.0, 20.0), *FIRST[1:3], (60.0, 90.0)])
    two.run("document.querySelector('#conflict button[value=mine]').click()")
    until(lambda: near(points(rows(beetles)[0]), [(80.0, 20.0), *FIRST[1:3], (60.0, 90.0)]), "the second page's change")


def test_a_page_shows_what_another_changed(browser, serve, beetles):
    served = serve(beetles)
    one, two = Page(browser, served.address), Page(browser, served.address)
    label(one, [FIRST])
    one.saved()
    until(lambda: two.text("state") == "labeled", "the other page to show it")
    two.click(*FIRST[1], button="context_click")
    two.saved()
    assert near(points(rows(beetles)[0]), [FIRST[0], None, *FIRST[2:]])


def test_marks_boxes_and_removal(browser, serve, beetles):
    page = Page(browser, serve(beetles).address)
    label(page, [FIRST[:2]])
    page.keys("w", "w", "w")
    page.run("document.querySelectorAll('#parts li')[1].click()")
    page.keys("h")
    page.saved()
    assert rows(beetles)[0]["left_wing_v"] == "1" and rows(beetles)[0]["head_v"] == "2"
    page.keys("b")
    page.drag((30.0, 30.0), (70.0, 90.0))
    page.saved()
    sides = [float(rows(beetles)[0][side]) for side in ("left", "top", "right", "bottom")]
    assert sides == pytest.approx([30, 30, 70, 90], abs=0.6)
    page.drag((70.0, 75.0), (80.0, 75.0))
    page.saved()
    assert float(rows(beetles)[0]["right"]) == pytest.approx(80, abs=0.6)
    page.keys("m")
    page.saved()
    assert near(points(rows(beetles)[0]), [FIRST[0], None, FIRST[1], None])
    page.chord(SHIFT, DELETE)
    page.saved()
    assert rows(beetles) == []
    page.keys("x")
    page.saved()
    assert rows(beetles)[0]["label_state"] == "empty" and page.text("state") == "no subject"
    page.keys(UNDO, UNDO)
    page.saved()
    assert near(points(rows(beetles)[0]), [FIRST[0], None, FIRST[1], None])
    assert not page.errors()


def test_predictions_are_taken_over(browser, serve, tmp_path):
    import numpy as np

    folder = make_beetles(tmp_path / "beetles")
    store = Store(folder, SKELETON)
    for number, score in ((0, 0.9), (3, 0.2), (5, 0.5)):
        store.predict(number, [np.array([[*at, score] for at in subject]) for subject in (FIRST, SECOND)])
    store.save_predictions()
    store.close()
    page = Page(browser, serve(folder).address)
    assert page.text("state") == "predicted" and not (folder / "labels.csv").exists()
    page.keys("a")
    page.saved()
    assert near(points(rows(folder)[0]), FIRST, 0.01) and page.text("state") == "corrected"
    page.click(*SECOND[2])
    page.saved()
    assert near(points(rows(folder)[1]), [None, None, SECOND[2], None], 0.01)
    page.keys("o")
    page.go("j", 3)
    page.chord(SHIFT, "a")
    page.saved()
    assert [row["image"] for row in rows(folder)].count("run-000003.png") == 2
    page.go("j", 5)
    page.go("j", 1)
    assert page.text("progress") == "2 of 6 labeled"
    assert not page.errors()


def test_help_names_every_key(browser, serve, beetles):
    page = Page(browser, serve(beetles).address)
    page.keys("?")
    until(lambda: page.run("return document.getElementById('help').open"), "the help")
    shown = page.text("keys")
    assert "undo" in shown and "next picture" in shown and "box" in shown


@pytest.mark.parametrize("name", ["<img src=x onerror=document.title=1>.png", "a\nb&amp;.png"])
def test_hostile_names_are_only_text(browser, serve, beetles, name):
    (beetles / "run-000000.png").rename(beetles / name)
    page = Page(browser, serve(beetles).address)
    while page.text("picture") != name:
        page.go(RIGHT, int(page.data("picture") or 0) + 1)
    label(page, [FIRST])
    page.saved()
    assert rows(beetles)[0]["image"] == name
    assert page.run("return document.title") == "cpm-fast label" and not page.errors()
