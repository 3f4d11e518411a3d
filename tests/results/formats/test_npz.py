"""Damaged archives of results and of predictions end in an error that names the file."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from cpm_fast.evaluation.predictions import read_predictions
from cpm_fast.results.result import Results
from cpm_fast.skeleton import LSP

# (place in a file's header in the archive, new value of the 16 bits): claims that zipfile itself refuses.
CLAIMS = {
    "encrypted": (6, 1),
    "patched": (6, 1 << 5),
    "strongly encrypted": (6, 1 << 6),
    "packed, unknown": (8, 99),
    "packed, known": (8, 8),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_an_archive_that_claims_to_be_something_else(tmp_path, claim):
    place, value = CLAIMS[claim]
    np.savez(tmp_path / "found.npz", header=np.array("{}"), predictions=np.ones((1, 14, 2)))
    data = bytearray((tmp_path / "found.npz").read_bytes())
    # Each entry has two headers; the field is two bytes further in the second.
    for signature, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        at = data.find(signature)
        while at >= 0:
            data[at + place + shift : at + place + shift + 2] = value.to_bytes(2, "little")
            at = data.find(signature, at + 4)
    (tmp_path / "found.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"found\.npz"):
        Results.load(tmp_path / "found.npz")
    with pytest.raises(ValueError, match=r"found\.npz"):
        read_predictions(tmp_path / "found.npz", LSP, 1)


def test_the_head_of_an_array_that_does_not_end(tmp_path):
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (7, 14, 2\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    for name in ("header.npy", "predictions.npy"):
        with zipfile.ZipFile(tmp_path / "found.npz", "w") as archive:
            archive.writestr(name, array)
        with pytest.raises(ValueError, match=r"found\.npz"):
            Results.load(tmp_path / "found.npz")
        with pytest.raises(ValueError, match=r"found\.npz"):
            read_predictions(tmp_path / "found.npz", LSP, 1)
