"""Tables that pandas wrote in HDF5: blocks, missing levels, and forms that are refused."""

import base64
import gzip
import os
import pickle
import signal

import numpy as np
import pytest

from cpm_fast.data.files import hdf5
from cpm_fast.data.files.hdf5 import check_hdf5
from cpm_fast.data.files.pandas_hdf5 import read_frame
from cpm_fast.data.formats.annotation_set import AnnotationSet
from cpm_fast.data.open import open_dataset
from support import frames

h5py = pytest.importorskip("h5py", reason="needs h5py")

ROWS = [("a.png",), ("b.png",), ("c.png",)]
COLUMNS = [("me", "nose", "x"), ("me", "nose", "y"), ("me", "tail", "x"), ("me", "tail", "y")]
VALUES = np.arange(12.0).reshape(3, 4)


def test_blocks_go_by_name(tmp_path):
    """Columns of one type are together in a block, in any order of the table."""
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
    """Return a tuple that would be 2 ** depth long in print."""
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
        (
            lambda group: group.attrs.__delitem__("pandas_type"),
            r"must hold one table that pandas wrote, got \['df_with",
        ),
    ],
    ids=["a block too many", "no level", "no such label", "another's file"],
)
def test_a_mistake_is_named_with_its_file(tmp_path, change, message):
    frames.write_fixed(tmp_path / "a.h5", ROWS, COLUMNS, VALUES)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        change(file["df_with_missing"])
    with pytest.raises(ValueError, match=rf"a\.h5: .*{message}"):
        read_frame(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links_are_refused(tmp_path, kind):
    import h5py

    with h5py.File(tmp_path / "private.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8, 1), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = h5py.ExternalLink("private.h5", "/images") if kind == "external" else h5py.SoftLink("/points")
        file["points"] = file["annotations"] = np.ones((2, 3, 2))
    with pytest.raises(ValueError, match=r"a\.h5: images must be stored in the file itself, got a link"):
        AnnotationSet(tmp_path / "a.h5")


def test_a_link_to_a_pipe_does_not_wait(tmp_path):
    import h5py

    os.mkfifo(tmp_path / "pipe")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("pipe", "/images")
    with pytest.raises(ValueError, match=r"a\.h5: x must be stored in the file itself"):
        open_dataset(tmp_path / "a.h5")


def test_two_tables_in_a_file(tmp_path):
    import h5py

    frames.write_fixed(tmp_path / "a.h5", [("a.png",)], [("me", "nose", "x"), ("me", "nose", "y")], np.ones((1, 2)))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        first = next(iter(file))
        file.copy(first, "other")
    with pytest.raises(ValueError, match=r"a\.h5: must hold one table that pandas wrote, got \["):
        read_frame(tmp_path / "a.h5")


# A table of labels with damage that makes the library read one of its attributes forever.
ENDLESS = (
    "H4sIALaHCmsC/+1av1MTQRjdvSRwYsSgOBPxV8axwB8wCUaGsSGOgCkcySjO2CUHOeDGy5HJBQydpXaUlJb8CZaWlpSUlpSUdJjb2+9ye3DLRG"
    "Hg4HsFm919u7fZffvt5nHfi1Mz1/qG+ogDVSVxkiJ+HHDsjot5qK/wlPL0G0+3FCinrC7Nywd4/0He3PvpaYd9EAA850/CTVWCuIwoTr8qOekn"
    "ngc9/VZEXnWx/MVoLpdrhm0b1pKny8I/PpeSfkG/Ka7f4V43v0P8+o2F6lcdEvW7NSLul418YCMhzhcKJ6PfCl/fFKxz9nSH/eHd7JQTgUF3mZ"
    "gosyLPLydwiWWAfQ+BYJ+XJ0mRz2eSDLZnua5ZVc0uN9frOiu/TQlrmfLmXBXmP+ELCpT1l+Wf1fZnlVjz5srCZ5ukVKAVhPbUGwe0S7jtqkaN"
    "jTukHYTNN69n31LCBxgcVxuLDa2mA98Xmz7OzYxMECfiifzaqtk02mmc53mYJA19adXUGh4vyAe0rqPWEAgEAoFAIBAIBAKBOGmAr7HxwM0vH/"
    "I1rjBfQ7cWVqqOocrRja+hCP31s/60lmFny2taw9Cb6132F2P9TXj9Jb3+LFNf002bhPse4Fc4Pgn1VVBu7FBKBX6nnco+36Tu90nwvKIo1B2a"
    "2z5GSabzrf3YPNc6cH3CuOdzl+7I+RM8rd+T88CvJ8NyHviT++lo76fjdAW+WNzTVYpRHb36dR+uLyUj9gDYiOR8wC5Rjthncek89GRE5URjn5"
    "2+PvovjT6odB5uRDIOw3m8/cTN/zx0HnfOz1wX52evb6v4lcHMfWKt2HpTM0xn3lvrzr/stdG6tTTv/AljuO33Jv8vRSAQCAQCcRHvo4ORuo9e"
    "tPWT3Z8T0nVL83Xri9T9Gd4vDb7XlCQlPj+32P2ZvVaTLRtNvWb7rtFd+VAJ1m/B6zcZ7LdjR52hH/Uwkr+DTj8uPYpUXAJ/Dmy0yl05v8jTr/"
    "flPPB7fz2W8+A91c1nlzdeyv2o4Uj6UQDXP2fxKuvLa/Ni3qnPBepzgfqxQL2Xd4hCfOw8LlDuPfYIfi6Enwvhj4XwhfI1zVzVbV98LUUmjmXR"
    "72PzkMdz7sh5GY/gOdfj+Z6VnJy/C+fcczmvDufYUznvB0/3RuW8beh37NgFZth5cda6cm8OVBH3WTyw3zo6S7OmA5lJ796av0ryBzFyjN5ecr"
    "0VAiNqnamu/gJtSx+f6DYAAA=="
)


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="POSIX")
def test_a_good_file_is_not_refused_on_a_busy_machine(tmp_path, monkeypatch):
    """There a process waits: only its work counts."""
    path, probe = tmp_path / "labels.h5", tmp_path / "probe.py"
    path.write_bytes(b"x")
    monkeypatch.setattr(hdf5, "PROBE", probe)
    probe.write_text("import time\ntime.sleep(2)\n")
    check_hdf5(path, seconds=1)


def test_a_file_that_keeps_the_library_busy_is_refused(tmp_path):
    path = tmp_path / "CollectedData_me.h5"
    path.write_bytes(gzip.decompress(base64.b64decode(ENDLESS)))
    with pytest.raises(ValueError, match=r"CollectedData_me\.h5: damaged: the HDF5 library takes more than 4 s"):
        check_hdf5(path, seconds=4)
