"""Results: a sequence with pictures, and files that read back unchanged."""

import csv
import dataclasses
import io
import json
import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cpm_fast.media.sources import Source
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, MPII, Skeleton

SUFFIXES = (".json", ".csv", ".npz")
FLOATS = st.floats(width=32, allow_infinity=False)


def some_result(name: str = "a.jpg", count: int = 2, beliefs: bool = False, seed: int = 0) -> Result:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 60, (count, 14, 2)).astype(np.float32)
    keypoints[:, 3] = np.nan
    scores = rng.uniform(0, 1, (count, 14)).astype(np.float32)
    scores[:, 3] = np.nan
    return Result(
        keypoints,
        scores,
        LSP,
        name,
        size=(50, 70),
        rois=tuple(Roi((rng.uniform(), 3.0), 40.1 + i) for i in range(count)),
        roi_source="boxes",
        belief_maps=rng.normal(size=(count, 2, 15, 8, 8)).astype(np.float32) if beliefs else None,
        box_size=(64, 64),
        source=Source(name, np.full((50, 70, 3), 99, np.uint8)),
    )


def same(a: Result, b: Result) -> None:
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert a.keypoints.dtype == b.keypoints.dtype == np.float32 and a.name == b.name
    assert a.skeleton == b.skeleton


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"results{suffix}"
    results = Results([some_result('a, "b"\n.jpg'), some_result("ü.png", 1, seed=1)], {"bad.jpg": "cut short"})
    results.save(path)
    back = Results.load(path)
    assert len(back) == 2
    for a, b in zip(results, back, strict=True):
        same(a, b)
        if suffix != ".csv":
            assert (b.size, b.rois, b.roi_source) == (a.size, a.rois, a.roi_source)
    assert back.failures == ({} if suffix == ".csv" else results.failures)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_keep_their_place_and_time(tmp_path, suffix):
    path = tmp_path / f"results{suffix}"
    regions = (Roi((10.5, 20.0625), 30.125), Roi((3.0, 4.0), 5.0))
    frames = [dataclasses.replace(some_result("walk.mp4"), frame=i, seconds=i / 29.97, rois=regions) for i in range(3)]
    Results(frames).save(path)
    back = Results.load(path)
    assert [(result.frame, result.seconds, result.rois) for result in back] == [
        (i, i / 29.97, regions) for i in range(3)
    ]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_images_without_subjects_and_no_images_at_all(tmp_path, suffix):
    path = tmp_path / f"results{suffix}"
    Results([some_result(count=0), some_result(), some_result(count=0)]).save(path)
    assert [len(result) for result in Results.load(path)] == [0, 2, 0]
    Results([], {"a": "b"}).save(path)
    assert len(Results.load(path)) == 0 and Results.load(path).failures == {"a": "b"}


def test_npz_keeps_belief_maps_and_is_not_pickled(tmp_path):
    path = tmp_path / "results.npz"
    results = Results([some_result(beliefs=True), some_result()])
    results.save(path)
    back = Results.load(path)
    np.testing.assert_array_equal(back[0].belief_maps, results[0].belief_maps)
    assert back[1].belief_maps is None and back[0].box_size == (64, 64)
    with np.load(path, allow_pickle=False) as arrays_of_file:
        assert arrays_of_file["keypoints"].shape == (4, 14, 2)


# Every example syncs three files to the disk.
@settings(max_examples=25)
@given(arrays.arrays(np.float32, (1, 2, 3), elements=FLOATS))
def test_every_float_comes_back_bit_for_bit(tmp_path_factory, table):
    skeleton = Skeleton("two", ("left_end", "right end"))
    result = Result(table[..., :2].copy(), table[..., 2].copy(), skeleton)
    for suffix in SUFFIXES:
        path = tmp_path_factory.getbasetemp() / f"floats{suffix}"
        result.save(path)
        back = Results.load(path)[0]
        np.testing.assert_array_equal(back.keypoints, result.keypoints)
        np.testing.assert_array_equal(back.scores, result.scores)


def test_json_is_plain(tmp_path):
    some_result(count=1).save(tmp_path / "one.json")
    content = json.loads((tmp_path / "one.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert content["version"] == 1 and content["skeleton"]["names"] == list(LSP.names)
    (subject,) = content["images"][0]["subjects"]
    assert len(subject["parts"]) == 14 and subject["parts"][3] == [None, None, None]
    assert subject["parts"][0][0] == pytest.approx(float(some_result(count=1).keypoints[0, 0, 0]))


def test_csv_is_one_row_a_subject(tmp_path):
    Results([some_result("a.jpg"), some_result("b.jpg", 1)]).save(tmp_path / "all.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert rows[0][:6] == ["image", "subject", "left", "top", "right", "bottom"]
    assert rows[0][6:9] == ["head_top_x", "head_top_y", "head_top_score"]
    assert [row[:2] for row in rows[1:]] == [["a.jpg", "0"], ["a.jpg", "1"], ["b.jpg", "0"]]
    assert len(rows[0]) == 6 + 3 * 14 and rows[1][6 + 9 : 6 + 12] == ["", "", ""]
    box = [float(cell) for cell in rows[1][2:6]]
    roi = some_result("a.jpg").rois[0]
    assert Roi.from_box(box, 1.25).center == pytest.approx(roi.center)
    assert Roi.from_box(box, 1.25).side == pytest.approx(roi.side)


def test_parts_below_the_least_score_are_absent_but_keep_their_score(tmp_path):
    result = some_result("a.jpg", 1)
    low = result.scores[0] < 0.5
    assert low.any() and not low.all()
    for name, form in (("r.json", None), ("r.csv", None), ("r.npz", None)):
        result.save(tmp_path / name, form=form, min_score=0.5)
        back = Results.load(tmp_path / name)[0]
        assert (np.isnan(back.keypoints[0]).all(axis=1) == (low | np.isnan(result.scores[0]))).all()
        np.testing.assert_array_equal(back.scores, result.scores)


def test_names_in_a_table_are_relative_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures", "deep/out"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/out")
    cv2.imwrite("pictures/a.png", np.zeros((50, 70, 3), np.uint8))
    result = some_result("pictures/a.png", 1)
    for folder in ("deep/out", "link"):
        result.save(f"{folder}/r.csv")
        assert (tmp_path / folder / "r.csv").read_text().splitlines()[1].startswith("../../pictures/a.png,0,")
        back = Results.load(f"{folder}/r.csv")[0]
        assert (tmp_path / back.name).samefile("pictures/a.png")
    assert Results.load("deep/out/r.csv")[0].name == "pictures/a.png"
    absolute = some_result(str(tmp_path / "pictures" / "a.png"), 1)
    absolute.save("pictures/r.csv")
    assert (tmp_path / "pictures" / "r.csv").read_text().splitlines()[1].startswith("a.png,0,")


def test_csv_by_hand_needs_only_image_and_parts(tmp_path):
    path = tmp_path / "hand.csv"
    path.write_text("image,tip_x,tip_y\na.jpg,1.5,2\na.jpg,,\nb.jpg,3,4\n")
    results = Results.load(path)
    assert [len(result) for result in results] == [2, 1] and results[0].skeleton.names == ("tip",)
    np.testing.assert_array_equal(results[0].keypoints[:, 0], [[1.5, 2], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("b.json", b"[]"),
        ("c.json", b'{"format": "x"}'),
        ("d.json", b"\xff\xfe"),
        ("e.json", b'{"format": "cpm_fast results", "version": 2, "images": []}'),
        ("f.json", b'{"format": "cpm_fast results", "version": 1, "skeleton": null, "images": [{}]}'),
        ("g.json", b"[" * 100000),
        ("a.csv", b""),
        ("b.csv", b"image,subject\na,0\n"),
        ("c.csv", b"image,n_x,n_y\na,1\n"),
        ("d.csv", b"image,n_x,n_y\na,1,word\n"),
        ("e.csv", b"image,n_x,n_y\na,1,2,3\n"),
        ("f.csv", b"\xff\xfe"),
        ("a.npz", b""),
        ("b.npz", b"PK\x03\x04 cut"),
        ("c.npz", b"\x80\x04K\x01."),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
        Results.load(tmp_path / name)


def test_cut_npz_and_pickled_npz_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    some_result().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.npz"):
        Results.load(path)
    np.savez(path, header=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz"):
        Results.load(path)


@pytest.mark.parametrize("order", "<>")
def test_a_character_beyond_unicode_is_damage(tmp_path, order):
    """NumPy makes a text of it unchecked, which breaks Python's own reader of JSON."""
    path = tmp_path / "a.npz"
    np.savez(path, header=np.frombuffer(np.array([ord("{"), 0x0FFFFFFF], order + "u4").tobytes(), order + "U2")[0:1])
    with pytest.raises(ValueError, match=r"a\.npz: .*: UnicodeDecodeError: .* codec can't decode"):
        Results.load(path)


def test_rejects(tmp_path):
    with pytest.raises(ValueError, match=r"suffix must be one of \.json, \.csv, \.npz"):
        some_result().save(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"suffix must be one of"):
        Results.load(tmp_path / "a.pkl")
    with pytest.raises(FileNotFoundError):
        Results.load(tmp_path / "none.json")
    other = Result(np.zeros((1, 16, 2), np.float32), np.zeros((1, 16), np.float32), MPII)
    with pytest.raises(ValueError, match="one skeleton"):
        Results([some_result(), other]).save(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"keypoints must be \[N, 14, 2\]"):
        Result(np.zeros((1, 16, 2), np.float32), np.zeros((1, 16), np.float32), LSP)
    with pytest.raises(ValueError, match="rois must be 2"):
        dataclasses.replace(some_result(), rois=(Roi((0, 0), 1),))


def test_results_are_a_sequence():
    results = Results([some_result(name) for name in "abc"], {"d": "why"})
    assert len(results) == 3 and results[-1].name == "c" and [result.name for result in results] == list("abc")
    assert isinstance(results[1:], Results) and [result.name for result in results[1:]] == ["b", "c"]
    assert results[1:].failures == {"d": "why"} and repr(results) == "Results(3 images, 6 subjects, 1 failures)"
    assert len(results[0]) == 2
    with pytest.raises(IndexError):
        results[3]


def test_plot_and_files(tmp_path):
    result = some_result(beliefs=True)
    picture = result.plot(tmp_path / "out.png")
    assert picture.shape == (50, 70, 3) and (picture != 99).any()
    assert (cv2.imread(str(tmp_path / "out.png")) == picture).all()
    assert (result.image() == 99).all()
    assert (result.plot(min_score=1.0) == 99).all()
    strip = result.plot_stages(tmp_path / "stages.jpg", part=["neck", "all parts"], subject=1)
    assert (tmp_path / "stages.jpg").exists() and strip.shape[0] > 600
    with pytest.raises(ValueError, match="suffix such as"):
        result.plot(tmp_path / "out.nothing")
    with pytest.raises(ValueError, match="subject must be from 0 to 1, got 2"):
        result.plot_stages(subject=2)
    with pytest.raises(ValueError, match="part must be one of"):
        result.plot_stages(part="tail")
    with pytest.raises(ValueError, match="belief_maps=True"):
        some_result().plot_stages()


def test_a_loaded_result_finds_its_image_by_name(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((50, 70, 3), 7, np.uint8))
    for suffix in SUFFIXES:
        Results([some_result(str(path))]).save(tmp_path / f"r{suffix}")
        assert Results.load(tmp_path / f"r{suffix}")[0].plot().shape == (50, 70, 3)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Results.load(tmp_path / "r.json")[0].plot()


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(1)", "+1.png", "-a", "@x", "\tx", "a\rb.png", "c\nd", 'e"f', "./=g", "plain"]
)
def test_names_in_csv_are_no_formulas_and_read_back(tmp_path, name):
    skeleton = Skeleton("two", ("nose", "tail"))
    result = Result(np.ones((1, 2, 2), np.float32), np.ones((1, 2), np.float32), skeleton, name)
    Results([result, dataclasses.replace(result, name="other")]).save(tmp_path / "r.csv")
    cells = list(csv.reader(io.StringIO((tmp_path / "r.csv").read_bytes().decode(), newline="")))
    assert [row[0][:1] in tuple("=+-@\t\r") for row in cells] == [False] * 3
    again = Results.load(tmp_path / "r.csv")
    assert [one.name for one in again] == [name.removeprefix("./") if name == "./=g" else name, "other"]
