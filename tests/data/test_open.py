"""Words and paths that mean a dataset."""

import cv2
import numpy as np
import pytest

from cpm_fast.data.lsp import LeedsSports
from cpm_fast.data.open import SYNTHETIC_COUNT, open_dataset
from cpm_fast.data.synthetic import DrawnFigures
from cpm_fast.data.table import PartsTable

ROWS = "image,nose_x,nose_y,tail_x,tail_y\na.png,1,2,3,4\n"


@pytest.mark.parametrize(
    ("word", "count", "seed"),
    [("synthetic", SYNTHETIC_COUNT, 0), ("synthetic:24", 24, 0), ("synthetic:24:3", 24, 3)],
)
def test_drawn_figures_by_word(word, count, seed):
    dataset = open_dataset(word)
    assert isinstance(dataset, DrawnFigures) and (len(dataset), dataset.seed) == (count, seed)


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


@pytest.mark.parametrize(
    ("files", "spec", "error", "message"),
    [
        ((), "none", FileNotFoundError, "none: no such file or folder .*synthetic"),
        ((), "none.csv", FileNotFoundError, "none.csv: no such file"),
        ((), ".", ValueError, "it holds 0 CSV files"),
        (("a.csv", "b.csv"), ".", ValueError, "it holds 2 CSV files"),
        (("a.txt",), "a.txt", ValueError, "a.txt: data must be a CSV file"),
        (("joints.mat",), "joints.mat", ValueError, "a folder with joints.mat and images/"),
    ],
    ids=["missing", "missing table", "empty folder", "two tables", "another file", "the file in the folder"],
)
def test_nothing_that_is_known(tmp_path, files, spec, error, message):
    for name in files:
        (tmp_path / name).write_text(ROWS)
    with pytest.raises(error, match=message):
        open_dataset(tmp_path / spec)


@pytest.mark.parametrize("word", ["synthetic:", "synthetic:-3", "synthetic:many", "synthetic:1:2:3", "synthetic:0"])
def test_words_that_are_none(word):
    with pytest.raises(ValueError, match="data must be synthetic, synthetic:COUNT or|count must be at least 1"):
        open_dataset(word)
