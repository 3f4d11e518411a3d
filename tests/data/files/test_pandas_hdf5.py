"""Tables that pandas wrote into HDF5: blocks, missing levels, and forms that are refused."""

import pickle

import numpy as np
import pytest

from cpm_fast.data.files.pandas_hdf5 import read_frame
from support import frames

h5py = pytest.importorskip("h5py", reason="needs h5py")

ROWS = [("a.png",), ("b.png",), ("c.png",)]
COLUMNS = [("me", "nose", "x"), ("me", "nose", "y"), ("me", "tail", "x"), ("me", "tail", "y")]
VALUES = np.arange(12.0).reshape(3, 4)


def test_blocks_go_by_name(tmp_path):
    """Columns of one type stand together in a block, whatever their order in the table."""
    path = tmp_path / "a.h5"
    frames.write_fixed(path, ROWS, COLUMNS[::-1], VALUES[:, ::-1], blocks=3)
    with h5py.File(path, "a") as file:
        group = file["df_with_missing"]
        for name in [name for name in group if name.startswith("axis0")]:
            del group[name]
        frames._write_axis(group, "axis0", COLUMNS)
    rows, columns, values = read_frame(path)
    assert (rows, columns) == (ROWS, COLUMNS)
    np.testing.assert_array_equal(values, VALUES)


def test_a_missing_level_is_empty(tmp_path):
    rows = [("labeled-data", "a", ""), ("labeled-data", "", "b.png")]
    frames.write_fixed(tmp_path / "a.h5", rows, COLUMNS, VALUES[:2])
    assert read_frame(tmp_path / "a.h5")[0] == rows


@pytest.mark.parametrize("form", ["fixed", "table"])
def test_what_pandas_itself_wrote(tmp_path, form):
    pandas = pytest.importorskip("pandas", reason="needs pandas and tables")
    pytest.importorskip("tables", reason="needs pandas and tables")
    columns = pandas.MultiIndex.from_tuples(COLUMNS, names=["scorer", "bodyparts", "coords"])
    index = [name for (name,) in ROWS]
    pandas.DataFrame(VALUES, index, columns).to_hdf(tmp_path / "a.h5", key="any", mode="w", format=form)
    rows, names, values = read_frame(tmp_path / "a.h5")
    assert (rows, names) == (ROWS, COLUMNS)
    np.testing.assert_array_equal(values, VALUES)


class Harmful:
    def __reduce__(self):
        return print, ("it was called",)


def doubled(depth: int) -> list:
    """A tuple that would be 2 ** depth long in print."""
    value: tuple = ("x",)
    for _ in range(depth):
        value = (value, value)
    return [value]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (pickle.dumps([Harmful()], 0), "not plain values in a pickle"),
        (pickle.dumps("nose", 0), "must be a list of tuples, got a str"),
        (pickle.dumps(doubled(60), 0), "must be texts or whole numbers"),
        (pickle.dumps(COLUMNS[:3], 0), r"must have 3 columns of numbers, got \[3, 4\]"),
    ],
    ids=["code", "text", "endless in print", "few"],
)
def test_names_that_are_none(tmp_path, names, message, capsys):
    frames.write_table(tmp_path / "a.h5", ROWS, COLUMNS, VALUES, names)
    with pytest.raises(ValueError, match=rf"a\.h5: .*{message}"):
        read_frame(tmp_path / "a.h5")
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda group: group.attrs.__setitem__("nblocks", 2), "block1_items"),
        (lambda group: group.__delitem__("axis0_level1"), "must hold the array axis0_level1"),
        (lambda group: group["axis0_label1"].__setitem__(0, 7), "range"),
        (lambda group: group.attrs.__delitem__("pandas_type"), r"must hold a table that pandas wrote, got \['df_with"),
    ],
    ids=["a block too many", "no level", "no such label", "another's file"],
)
def test_a_mistake_is_named_with_its_file(tmp_path, change, message):
    frames.write_fixed(tmp_path / "a.h5", ROWS, COLUMNS, VALUES)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        change(file["df_with_missing"])
    with pytest.raises(ValueError, match=rf"a\.h5: .*{message}"):
        read_frame(tmp_path / "a.h5")
