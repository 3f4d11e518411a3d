"""MATLAB files: files of SciPy are read back, in both byte orders, compressed and not; claims are checked."""

import struct

import numpy as np
import pytest

from cpm_fast.data.files.matlab import field, number_field, read_arrays, read_mat, structs
from support import matlab

scipy_io = pytest.importorskip("scipy.io", reason="needs scipy")

RANDOM = np.random.default_rng(0)


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def saved(request, tmp_path):
    """Write a variable among others and read it back."""

    def save(value, variable="wanted"):
        path = tmp_path / "a.mat"
        content = {"before": np.ones((3, 3)), variable: value, "after": "text"}
        scipy_io.savemat(path, content, do_compression=request.param)
        return read_mat(path, variable)

    return save


@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_numbers(saved, kind):
    values = RANDOM.integers(0, 100, (3, 4, 2)).astype(kind)
    found = saved(values)
    np.testing.assert_array_equal(found, values)
    assert found.shape == (3, 4, 2) and found.dtype == (np.uint8 if kind == "?" else np.dtype(kind))


@pytest.mark.parametrize("text", ["", "a", "folder/picture 1.jpg", "Größe", "日本"])
def test_texts(saved, text):
    assert field({"name": saved(text)}, "name") == (text or None)


def test_a_text_of_several_lines(saved):
    assert saved(np.array(["ab ", "cde"])) == "ab \ncde"


def test_structs_and_cells(saved):
    inner = matlab.structs({"id": 3.0, "x": 1.5}, {"id": 4.0})
    cell = np.empty((1, 3), object)
    cell[0, :] = "one", 2.0, [[1, 2], [3, 4]]
    (found,) = saved({"point": inner, "cell": cell, "none": np.empty((0, 0)), "name": "n"})
    assert [number_field(point, "id") for point in structs(found, "point")] == [3, 4]
    assert number_field(found["point"][0], "x") == 1.5 and np.isnan(number_field(found["point"][1], "x"))
    assert found["cell"][0] == "one" and found["cell"][1] == 2 and found["cell"][2].tolist() == [[1, 2], [3, 4]]
    assert field(found, "none") is None and field(found, "gone") is None and structs(found, "gone") == []
    assert field([found], "name") == "n"


def test_what_annotations_are_not_made_of_is_skipped(saved):
    sparse = pytest.importorskip("scipy.sparse").csc_array(np.eye(3))
    (found,) = saved({"sparse": sparse, "complex": np.array([1j]), "x": 1.0})
    assert found["sparse"] is None and found["complex"] is None and number_field(found, "x") == 1


def test_numbers_of_the_wrong_kind(saved):
    (found,) = saved({"text": "1", "two": [1.0, 2.0], "endless": np.inf})
    for name in ("text", "two", "endless"):
        with pytest.raises(ValueError, match=f"{name} must be one number, got"):
            number_field(found, name)
    with pytest.raises(ValueError, match="two must be structs, got"):
        structs(found, "two")


def test_one_number_of_every_kind(saved):
    kinds = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
    values = {f"x_{kind}".replace("?", "logical"): np.ones((1, 1), kind) * 7 for kind in kinds}
    (found,) = saved({**values, "small": np.array([[1000.0]]), "half": -0.5})
    assert [number_field(found, name) for name in values] == [7] * 11
    assert (number_field(found, "small"), number_field(found, "half")) == (1000, -0.5)


def element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def by_hand(order, shape=(2, 2), kind=9, values=(1, 2, 3, 4), flags=6):
    """Return a matrix of doubles by the format's own description."""
    head = element(6, struct.pack(f"{order}II", flags, 0), order)
    head += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    # A short name is in the tag itself.
    name = struct.pack(f"{order}I", 1 | 1 << 16) + b"a\0\0\0"
    body = element(kind, struct.pack(f"{order}{len(values)}d", *values), order)
    mark = b"IM" if order == "<" else b"MI"
    return b"by hand".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark + element(14, head + name + body, order)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little end first", "big end first"])
def test_both_byte_orders(tmp_path, order):
    (tmp_path / "a.mat").write_bytes(by_hand(order))
    assert read_mat(tmp_path / "a.mat", "a").tolist() == [[1, 3], [2, 4]]  # column by column


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 3)}, "claims 6 numbers, 4 are there"),
        ({"shape": (1 << 30, 1 << 30, 1 << 30)}, r"claims \d+ numbers, 4 are there"),
        ({"shape": ()}, "must have two axes or more, got 0"),
        ({"shape": (4,), "flags": 4}, "must have two axes or more, got 1"),
        ({"kind": 99}, "can't be of type 99"),
        ({"flags": 1, "shape": (9, 9)}, "claims 81 elements of 1 fields in 40 bytes"),
    ],
    ids=["too few", "overflow", "no axes", "one axis", "no such type", "a cell of more than there is"],
)
def test_claims(tmp_path, changes, message):
    (tmp_path / "a.mat").write_bytes(by_hand("<", **changes))
    with pytest.raises(ValueError, match=rf"a\.mat: .*{message}"):
        read_mat(tmp_path / "a.mat", "a")


def test_cells_within_cells_within_cells(tmp_path):
    value = np.empty((1, 1), object)
    value[0, 0] = 1.0
    for _ in range(40):
        outer = np.empty((1, 1), object)
        outer[0, 0] = value
        value = outer
    scipy_io.savemat(tmp_path / "a.mat", {"a": value})
    with pytest.raises(ValueError, match="more than 32 deep"):
        read_mat(tmp_path / "a.mat", "a")


@pytest.mark.parametrize("compressed", [False, True])
def test_all_arrays_of_a_file(tmp_path, compressed):
    """Numbers and texts keep their shapes; structs are left out."""
    content = {
        "prediction_all": np.arange(84.0).reshape(14, 2, 3),
        "count": 3,
        "images": np.array(["a", "bc"], dtype=object),
        "lines": np.array(["ab", "cd"]),
        "about": {"by": "us"},
    }
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, content, do_compression=compressed)
    data = path.read_bytes()
    found = read_arrays(data)
    assert list(found) == ["prediction_all", "count", "images", "lines"]
    np.testing.assert_array_equal(found["prediction_all"], content["prediction_all"])
    assert found["count"].tolist() == [[3]]
    assert found["images"].tolist() == ["a", "bc"] and found["lines"].tolist() == ["ab", "cd"]
    for damaged in (b"", b"MATLAB 7.3 MAT-file" + bytes(500), data[:-50], bytes(200)):
        with pytest.raises(ValueError, match=r"not a MATLAB file that can be read|save it again with -v7"):
            read_arrays(damaged)
