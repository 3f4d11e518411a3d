"""Tables in HDF5 as pandas writes them, in both of its forms, for tests without pandas."""

import pickle

import numpy as np


def write_fixed(path, rows, columns, values, blocks=1) -> None:
    """Write a file as `to_hdf(format="fixed")` does: axes as levels and labels, values in blocks of columns."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs.update({"pandas_type": b"frame", "nblocks": blocks, "ndim": 2, "encoding": b"UTF-8"})
        _write_axis(group, "axis0", columns)
        _write_axis(group, "axis1", rows)
        for block, places in enumerate(np.array_split(np.arange(len(columns)), blocks)):
            _write_axis(group, f"block{block}_items", [columns[at] for at in places])
            group[f"block{block}_values"] = values[:, places]


def write_table(path, rows, columns, values, names=None) -> None:
    """Write a file as `to_hdf(format="table")` does: one record per row, column names in a pickle of protocol 0."""
    import h5py

    index = np.array([row[0].encode() for row in rows])
    records = np.empty(len(rows), dtype=[("index", index.dtype), ("values_block_0", "f8", (len(columns),))])
    records["index"], records["values_block_0"] = index, values
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = b"frame_table"
        group["table"] = records
        named = pickle.dumps(list(columns), protocol=0) if names is None else names
        group["table"].attrs["values_block_0_kind"] = np.bytes_(named)


def _write_axis(group, name, entries) -> None:
    multi = len(entries[0]) > 1
    group.attrs[f"{name}_variety"] = b"multi" if multi else b"regular"
    if not multi:
        group[name] = np.array([text.encode() for (text,) in entries])
        return
    group.attrs[f"{name}_nlevels"] = len(entries[0])
    for level, texts in enumerate(zip(*entries, strict=True)):
        known = list(dict.fromkeys(text for text in texts if text))
        group[f"{name}_level{level}"] = np.array([text.encode() for text in known])
        group[f"{name}_label{level}"] = np.array([known.index(text) if text else -1 for text in texts], np.int8)
