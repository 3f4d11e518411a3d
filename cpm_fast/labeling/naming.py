"""The parts of a folder's labels: from an option, the folder's skeleton.toml, its table, or a network."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from cpm_fast.data.files.csv_file import read_csv_text
from cpm_fast.data.own_skeleton import SKELETON_FILE, skeleton_of
from cpm_fast.labeling.table import X, Y
from cpm_fast.skeleton import BUILT_IN, Skeleton
from cpm_fast.system.files import atomic_write
from cpm_fast.system.limits import file_exists


def find_skeleton(folder: Path, given: str | Path | None, table: Path, network: Skeleton | None = None) -> Skeleton:
    """Return the skeleton of a folder's labels; a given one is kept as skeleton.toml in the folder, for training too.

    Args:
        folder: of the pictures.
        given: lsp, mpii, flic, coco or jhmdb, or a .toml file; None: the folder's skeleton.toml, or else the columns of
            the table, or else the network's.
        table: the labels, which may not exist yet.
        network: the skeleton of the network that predicts, if there is one.

    Raises:
        FileNotFoundError: no such skeleton file.
        ValueError: there is none, or another than the folder's was given.
    """
    own = folder / SKELETON_FILE
    if given is not None:
        skeleton = BUILT_IN.get(str(given)) or Skeleton.from_toml(given)
        if file_exists(own):
            there = Skeleton.from_toml(own)
            if (there.names, there.limbs, there.pairs) != (skeleton.names, skeleton.limbs, skeleton.pairs):
                raise ValueError(f"{own}: is another skeleton than {given}; edit that file, or leave --skeleton out")
            return there
        write_skeleton(skeleton, own)
        return skeleton
    if file_exists(own):
        return Skeleton.from_toml(own)
    if file_exists(table):
        found = _skeleton_of_table(table)
        if found is not None:
            return found
    if network is not None:
        write_skeleton(network, own)
        return network
    raise ValueError(
        f"{folder}: its parts must be named; give --skeleton, a .toml file or one of {', '.join(BUILT_IN)}"
    )


def write_skeleton(skeleton: Skeleton, path: Path) -> None:
    """Write a skeleton.toml that `Skeleton.from_toml` reads back."""
    lines = [f"name = {json.dumps(skeleton.name)}"]
    for key, rows in (("names", skeleton.names), ("limbs", skeleton.limbs), ("pairs", skeleton.pairs)):
        lines.append(f"{key} = [")
        lines += [f"    {json.dumps(list(row) if isinstance(row, tuple) else row)}," for row in rows]
        lines.append("]")
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def _skeleton_of_table(table: Path) -> Skeleton | None:
    """Return the parts that the columns of a table name; None if there are none."""
    text, mark = read_csv_text(table)
    try:
        columns = next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])
        parts = [name.removesuffix(X) for name in columns if name.endswith(X) and name.removesuffix(X) + Y in columns]
        return skeleton_of(table.stem, parts) if parts else None
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{table}: its columns name no parts: {error}") from None
