"""Arrays of predictions: the axes, the order of parts, and the first pixel."""

import io

import numpy as np
import pytest

from cpm_fast.data.formats.lsp import FILE_ORDER
from cpm_fast.evaluation.layouts import MOST_BYTES, from_arrays, read_npz
from cpm_fast.skeleton import COCO, FLIC, LSP, MPII, Skeleton
from support.annotated import FLY


def subjects(count: int, parts: int) -> np.ndarray:
    """Return [K, p, 2] with all numbers different."""
    return np.arange(count * parts * 2, dtype=np.float64).reshape(count, parts, 2)


MATLAB_ARRAYS = {
    "release, LSP": (
        lambda k: {"prediction_all": k.transpose(1, 2, 0)},
        LSP,
        1000,
        FILE_ORDER,
        "[p, 2, K] = [14, 2, 1000]",
    ),
    "release, FLIC": (
        lambda k: {"prediction_all": k.transpose(1, 2, 0)},
        FLIC,
        1016,
        FLIC.names,
        "[p, 2, K] = [9, 2, 1016]",
    ),
    "MPII": (lambda k: {"preds": k}, MPII, 2958, MPII.names, "[K, p, 2] = [2958, 16, 2]"),
    "coordinates first": (lambda k: {"other": k.transpose(2, 1, 0)}, COCO, 5, COCO.names, "[2, p, K] = [2, 17, 5]"),
    "with scores": (lambda k: {"preds": np.dstack([k, k[..., :1]])}, MPII, 4, MPII.names, "[K, p, 3] = [4, 16, 3]"),
    "stages": (lambda k: {"keypoints": k[None], "x": np.zeros((4, 14, 2))}, LSP, 4, FILE_ORDER, "[T, K, p, 2]"),
    "own parts": (lambda k: {"keypoints": k}, FLY, 14, FLY.names, "[K, p, 2] = [14, 3, 2]"),
    "own parts, as many as FLIC": (
        lambda k: {"keypoints": k},
        Skeleton("own", tuple("abcdefghi")),
        4,
        tuple("abcdefghi"),
        "[K, p, 2]",
    ),
}


@pytest.mark.parametrize(("arrays", "skeleton", "count", "names", "told"), MATLAB_ARRAYS.values(), ids=MATLAB_ARRAYS)
def test_matlab_s_arrays(arrays, skeleton, count, names, told):
    values = subjects(count, len(names))
    found = from_arrays(arrays(values), skeleton, count, matlab=True)
    assert np.array_equal(found.points, values[None] - 1), "the first pixel is 1"
    assert found.names == names and told in found.about and "first pixel 1" in found.about
    assert np.isnan(found.heights).all() or np.array_equal(found.heights[0], values[..., 0])


def test_numpy_s_arrays_are_in_the_dataset_s_order_and_begin_at_0():
    values = subjects(3, 14)
    values[1, 2] = np.inf
    found = from_arrays({"parts": values, "scores": np.full((3, 14), 0.5)}, LSP, 3)
    assert found.names == LSP.names and np.isnan(found.points[0, 1, 2]).all()
    assert np.array_equal(found.points[0, 2], values[2]) and found.heights.tolist() == np.full((1, 3, 14), 0.5).tolist()
    assert from_arrays({"parts": values}, LSP, 3, first_pixel=2).points[0, 2, 0].tolist() == (values[2, 0] - 2).tolist()
    assert from_arrays({"parts": values}, LSP, 3, order=FILE_ORDER).names == FILE_ORDER


def test_names_beside_the_numbers():
    arrays = {"keypoints": subjects(2, 3), "names": np.array(FLY.names[::-1]), "images": np.array(["a.png", "b.png"])}
    found = from_arrays(arrays, FLY, 2)
    assert (found.names, found.images) == (FLY.names[::-1], ("a.png", "b.png"))
    in_a_row = arrays["images"].reshape(1, 2)
    assert from_arrays({**arrays, "images": in_a_row}, FLY, 2, matlab=True).images == ("a.png", "b.png")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "must hold an array prediction_all, .*, got {}"),
        ({"a": np.zeros((2, 14, 2)), "b": np.zeros((2, 14, 2))}, r"must hold an array .*'a': \[2, 14, 2\]"),
        ({"preds": np.zeros((2, 5, 2))}, r"preds must have axes of parts \(9 or 14 or 16 or 17\), 2 coordinates"),
        ({"preds": np.zeros((4, 14, 4))}, "preds must have axes of parts"),
        ({"preds": np.zeros((14, 2, 14))}, "parts and subjects can't be told apart"),
        ({"preds": np.zeros((3, 16, 2)), "names": np.array(["a"] * 14)}, r"axes of parts \(14\)"),
        ({"preds": np.zeros((3, 14, 2)), "images": np.array(["a"])}, "images must be 3 names, .*, got 1"),
        ({"preds": np.zeros((1, 14, 2)), "images": np.array([1 << 30], np.uint32).view("U1")}, "codec can't decode"),
        ({"preds": np.array([["a"]])}, "must hold an array"),
    ],
    ids=["nothing", "two", "5 parts", "4 coordinates", "14 of 14", "other names", "an image less", "damaged", "words"],
)
def test_rejects(arrays, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(arrays, LSP, 7)


def test_parts_nobody_names():
    with pytest.raises(ValueError, match="its 14 parts have no names, and the dataset's are 3: give a skeleton"):
        from_arrays({"preds": np.zeros((5, 14, 2))}, FLY, 5)


def test_archives():
    file = io.BytesIO()
    np.savez_compressed(file, keypoints=np.zeros((3, 14, 2)))
    assert read_npz(file.getvalue()).keys() == {"keypoints"}
    pickled = io.BytesIO()
    np.savez(pickled, keypoints=np.array([object()]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_npz(pickled.getvalue())
    for data in (b"", b"PK\x03\x04", file.getvalue()[:-30]):
        with pytest.raises(ValueError, match="not a NumPy archive that can be read"):
            read_npz(data)


def test_an_archive_that_claims_too_much(monkeypatch):
    file = io.BytesIO()
    np.savez_compressed(file, keypoints=np.zeros(2**17))
    monkeypatch.setattr("cpm_fast.evaluation.layouts.MOST_BYTES", 2**20 - 1)
    with pytest.raises(ValueError, match="its arrays claim more than 0 MiB"):
        read_npz(file.getvalue())
    assert MOST_BYTES == 2**30
