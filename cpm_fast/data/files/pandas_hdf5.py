"""A reader of tables of numbers that pandas wrote into an HDF5 file, in either of its formats, without pandas.

pandas reads it by PyTables, which unpickles attributes of the file: read_hdf of pandas 3.1.1 with PyTables 3.11.1 ran
the command of a pickle that was added as an attribute, in both forms, and died of a segmentation fault within 145
copies of an 84 KB table with one to three flipped bits, in three of four runs. h5py unpickles nothing, and
`check_hdf5` reads a file in another process first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.hdf5 import array, check_hdf5, dataset, member, open_hdf5
from cpm_fast.data.files.literals import literals

Name = tuple[str, ...]


def read_frame(path: Path) -> tuple[list[Name], list[Name], np.ndarray]:
    """Read the frame of a file.

    Both names are tuples, one text per level of the index; a missing one is "".

    Returns:
        names of the M rows, names of the C columns, values [M, C] float64.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no frame, or several, or none of numbers that can be read; the message names the file.
        RuntimeError: h5py is missing.
    """
    check_hdf5(path)
    with open_hdf5(path) as file:
        groups = [name for name in file if "pandas_type" in member(file, name).attrs]
        if len(groups) != 1:
            raise ValueError(f"must hold one table that pandas wrote, got {groups or sorted(file)[:8]}")
        group = file[groups[0]]
        return _table(group) if "table" in group else _fixed(group)


def _fixed(group: Any) -> tuple[list[Name], list[Name], np.ndarray]:
    """Read a table of `to_hdf(format="fixed")`: axis0 names columns, axis1 rows, blocks hold columns of one type."""
    columns, rows = _axis(group, "axis0"), _axis(group, "axis1")
    place = {name: at for at, name in enumerate(columns)}
    values = np.full((len(rows), len(columns)), np.nan)
    for block in range(int(group.attrs["nblocks"])):
        items = [place[name] for name in _axis(group, f"block{block}_items")]
        values[:, items] = array(group, f"block{block}_values", "iuf", 2)
    return rows, columns, values


def _axis(group: Any, name: str) -> list[Name]:
    if _text(group.attrs[f"{name}_variety"]) != "multi":
        return [(text,) for text in _texts(group, name)]
    levels = []
    for level in range(int(group.attrs[f"{name}_nlevels"])):
        texts = [*_texts(group, f"{name}_level{level}"), ""]  # -1 is a missing one
        places = array(group, f"{name}_label{level}", "iu", 1)
        levels.append([texts[at] for at in places])
    return list(zip(*levels, strict=True))


def _table(group: Any) -> tuple[list[Name], list[Name], np.ndarray]:
    """Read a table of `to_hdf(format="table")`: an index and blocks of columns, whose names stand in a pickle."""
    stored = dataset(group, "table", "V", 1)
    records = stored[()]
    blocks = sorted(name for name in records.dtype.names if name.startswith("values_block_"))
    columns: list[Name] = []
    for block in blocks:
        columns += _column_names(literals(bytes(stored.attrs[f"{block}_kind"])))
    values = np.concatenate([records[block].reshape(len(records), -1) for block in blocks], axis=1)
    if values.shape[1] != len(columns) or values.dtype.kind not in "iuf":
        raise ValueError(f"must have {len(columns)} columns of numbers, got {list(values.shape)} {values.dtype}")
    if records.dtype["index"].kind != "S":
        raise ValueError(f"rows must be named by texts, got {records.dtype['index']}")
    return [(_text(name),) for name in records["index"]], columns, values.astype(np.float64)


def _column_names(names: Any) -> list[Name]:
    # Never shown in full: values that hold each other many times over are small in a file and endless in print.
    if not isinstance(names, list) or not all(isinstance(name, tuple) for name in names):
        raise ValueError(f"names of the columns must be a list of tuples, got a {type(names).__name__}")
    if not all(isinstance(level, str | int) for name in names for level in name):
        raise ValueError("names of the columns must be texts or whole numbers")
    return [tuple(str(level) for level in name) for name in names]


def _texts(group: Any, name: str) -> list[str]:
    return [_text(text) for text in array(group, name, "S", 1)]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
