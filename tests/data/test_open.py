"""Words and paths that name a dataset."""

import json

import cv2
import numpy as np
import pytest

from cpm_fast.commands.options.early import DRAWN_WORDS
from cpm_fast.data.drawn.scenes import DrawnScenes
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.formats.annotation_set import AnnotationSet
from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.data.formats.deeplabcut import DeepLabCut
from cpm_fast.data.formats.flic import FramesInCinema
from cpm_fast.data.formats.lsp import LeedsSports
from cpm_fast.data.formats.mpii import MpiiJson, MpiiRelease
from cpm_fast.data.formats.table import PartsTable
from cpm_fast.data.open import DRAWN, open_dataset
from support import frames
from support.matlab import structs

ROWS = "image,nose_x,nose_y,tail_x,tail_y\na.png,1,2,3,4\n"


@pytest.mark.parametrize(("word", "kind"), [("synthetic", DrawnFigures), ("synthetic-scenes", DrawnScenes)])
@pytest.mark.parametrize(("numbers", "count", "seed"), [("", None, 0), (":24", 24, 0), (":24:3", 24, 3)])
def test_drawn_data_by_word(word, kind, numbers, count, seed):
    dataset = open_dataset(word + numbers)
    assert isinstance(dataset, kind) and dataset.name == word
    assert (dataset.count, dataset.seed) == (DRAWN[word][1] if count is None else count, seed)


def test_the_command_accepts_every_word_of_drawn_data():
    assert set(DRAWN_WORDS) == set(DRAWN)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
@pytest.mark.parametrize("what", ["cats.csv", "CATS.CSV", "."], ids=["file", "capitals", "folder"])
def test_a_table_by_file_or_folder(tmp_path, what, kind):
    (tmp_path / ("cats.csv" if what == "." else what)).write_text(ROWS)
    (tmp_path / "notes.txt").write_text("not data")
    dataset = open_dataset(kind(tmp_path / what))
    assert isinstance(dataset, PartsTable) and len(dataset) == 1


def test_leeds_sports_by_folder(tmp_path):
    savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat
    savemat(tmp_path / "joints.mat", {"joints": np.ones((14, 3, 2)) * np.arange(1, 15)[:, None, None]})
    (tmp_path / "images").mkdir()
    (tmp_path / "more.csv").write_text(ROWS)
    cv2.imwrite(str(tmp_path / "images" / "im00001.jpg"), np.zeros((9, 9, 3), np.uint8))
    assert isinstance(open_dataset(tmp_path), LeedsSports)


PEOPLE = {"image": "a.png", "center": [9, 9], "scale": 1, "joints": [[1, 2]] * 16, "joints_vis": [1] * 16}
CATS = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"keypoints": ["nose"]}],
    "annotations": [{"id": 1, "image_id": 1, "keypoints": [1, 2, 2], "bbox": [0, 0, 5, 5]}],
}


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(
    ("content", "kind"), [([PEOPLE], MpiiJson), (CATS, CocoKeypoints)], ids=["a list is MPII", "a table is COCO"]
)
def test_json_by_its_first_sign(tmp_path, content, kind, whole):
    (tmp_path / "any.json").write_text("\n  " + json.dumps(content))
    assert isinstance(open_dataset(tmp_path if whole else tmp_path / "any.json"), kind)


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_matlab_files_by_name(tmp_path, whole):
    savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat
    person = {"annopoints": {"point": structs({"id": 0, "x": 1.0, "y": 2.0})}, "scale": 1.0, "objpos": {"x": 1, "y": 1}}
    release = {"annolist": structs({"image": {"name": "a.png"}, "annorect": person})}
    example = {"filepath": "a.png", "coords": np.ones((2, 29)), "torsobox": [1.0, 2, 3, 9], "istest": 1}
    for folder, name, variables, kind in (
        ("mpii", "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release}, MpiiRelease),
        ("flic", "examples.mat", {"examples": structs(example)}, FramesInCinema),
    ):
        (tmp_path / folder).mkdir()
        savemat(tmp_path / folder / name, variables)
        assert isinstance(open_dataset(tmp_path / folder if whole else tmp_path / folder / name), kind)


LABELS = "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\na.png,1,2,3,4\n"


@pytest.mark.parametrize("folder", [".", "labeled-data/film"], ids=["file's folder", "project"])
def test_labels_of_deeplabcut(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    path = tmp_path / folder / "CollectedData_me.csv"
    path.write_text(LABELS)
    # It writes its labels in both forms, and a video's folder holds both.
    path.with_suffix(".h5").write_bytes(b"not looked at")
    for spec in (path, path.parent, tmp_path):
        dataset = open_dataset(spec)
        assert isinstance(dataset, DeepLabCut) and len(dataset) == 1


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_hdf5_by_what_it_holds(tmp_path, whole):
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    for name in ("set", "labels"):
        (tmp_path / name).mkdir()
    with h5py.File(tmp_path / "set" / "any.h5", "w") as file:
        file["images"], file["annotations"] = np.zeros((1, 9, 9, 1), np.uint8), np.ones((1, 2, 2))
    columns = [("me", part, axis) for part in "ab" for axis in "xy"]
    frames.write_fixed(tmp_path / "labels" / "any.h5", [("a.png",)], columns, np.ones((1, 4)))
    for name, kind in (("set", AnnotationSet), ("labels", DeepLabCut)):
        assert isinstance(open_dataset(tmp_path / name if whole else tmp_path / name / "any.h5"), kind)


@pytest.mark.parametrize(
    ("files", "spec", "error", "message"),
    [
        ((), "none", FileNotFoundError, "none: no such file or folder .*synthetic"),
        ((), "none.csv", FileNotFoundError, "none.csv: no such file"),
        ((), ".", ValueError, "this folder holds 0 of them"),
        (("a.csv", "b.csv"), ".", ValueError, "this folder holds 2 of them"),
        (("a.txt",), "a.txt", ValueError, "a.txt: data must be a folder of LSP"),
        (("joints.mat",), "joints.mat", ValueError, "joints.mat: not a MATLAB file"),
    ],
    ids=["missing", "missing table", "empty folder", "two tables", "another file", "a file that says it is MATLAB's"],
)
def test_nothing_that_is_known(tmp_path, files, spec, error, message):
    for name in files:
        (tmp_path / name).write_text(ROWS)
    with pytest.raises(error, match=message):
        open_dataset(tmp_path / spec)


@pytest.mark.parametrize("word", ["synthetic", "synthetic-scenes"])
@pytest.mark.parametrize("numbers", [":", ":-3", ":many", ":1:2:3", ":0"])
def test_words_that_are_none(word, numbers):
    with pytest.raises(ValueError, match=f"data must be {word}, {word}:COUNT or|count must be at least 1"):
        open_dataset(word + numbers)


def test_deeplabcut_s_config_means_its_project(tmp_path):
    folder = tmp_path / "labeled-data" / "v"
    folder.mkdir(parents=True)
    text = "scorer,A,A,A,A\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nlabeled-data/v/i.png,1,2,30,40\n"
    (folder / "CollectedData_A.csv").write_text(text)
    (tmp_path / "config.yaml").write_text("scorer: A\n")
    assert len(open_dataset(tmp_path / "config.yaml")) == 1


@pytest.mark.parametrize(
    ("name", "remedy"), [("l.slp", "data convert"), ("l.xlsx", "CSV UTF-8"), ("l.json.gz", "unpack")]
)
def test_other_files_are_told_with_a_remedy(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(ValueError, match=f"{name}: data must be .*; .*{remedy}"):
        open_dataset(tmp_path / name)
