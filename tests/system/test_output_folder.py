"""Output folders: one process at a time, and no foreign file is overwritten."""

import json
import os
import socket
import subprocess
import sys

import pytest

from cpm_fast.system.locks import LOCK_FILE, FolderInUse
from cpm_fast.system.output_folder import MANIFEST, OutputFolder, locked, reserved, written_files


def test_what_others_wrote_is_refused_before_anything_is_claimed(tmp_path):
    (tmp_path / "cam.csv").write_text("my,own,labels")
    with pytest.raises(FileExistsError, match=r"cam\.csv: exists, and cpm-fast did not write it"):
        OutputFolder(tmp_path).claim(["new.csv", "cam.csv"], overwrite=True)
    assert os.listdir(tmp_path) == ["cam.csv"] and (tmp_path / "cam.csv").read_text() == "my,own,labels"


def test_what_was_written_may_be_replaced_until_it_is_changed(tmp_path):
    folder = OutputFolder(tmp_path)
    assert folder.claim(["a.csv", "b.csv"]) == []
    (tmp_path / "a.csv").write_text("found")
    folder.finish()
    assert list(written_files(tmp_path)) == ["a.csv"]
    assert OutputFolder(tmp_path).claim(["a.csv"]) == ["a.csv"]
    folder.finish()
    (tmp_path / "a.csv").write_text("corrected by hand")
    with pytest.raises(FileExistsError, match=r"a\.csv: was changed since cpm-fast wrote it; --overwrite"):
        OutputFolder(tmp_path).claim(["a.csv"])
    assert OutputFolder(tmp_path).claim(["a.csv"], overwrite=True) == ["a.csv"]


def test_names_are_reserved_for_as_long_as_files_are_written(tmp_path):
    for text in ("first", "second"):
        with reserved(tmp_path / "out", ["a.json", "b.png"]):
            (tmp_path / "out" / "a.json").write_text(text)
    assert list(written_files(tmp_path / "out")) == ["a.json"]
    (tmp_path / "out" / "b.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"b\.png: exists, and cpm-fast"), reserved(tmp_path / "out", ["b.png"]):
        pass
    with pytest.raises(KeyError), reserved(tmp_path / "new" / "folder", ["a.json"]):
        raise KeyError
    assert os.listdir(tmp_path) == ["out"]
    with pytest.raises(NotADirectoryError, match="must be a folder"), reserved(tmp_path / "out" / "b.png", ["a"]):
        pass


@pytest.mark.parametrize("text", ["", "[", "[]", '{"files": 3}', '{"files": {"a": [1, null]}}'])
def test_a_damaged_list_counts_as_none(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    assert written_files(tmp_path) == {}


def test_a_folder_is_held_by_one_process(tmp_path):
    with locked(tmp_path / "out"):
        mine = rf"out is in use by this process \({os.getpid()}\)"
        with pytest.raises(FolderInUse, match=mine), locked(tmp_path / "out"):
            pass
        (tmp_path / "out" / "a").touch()
    with locked(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path / "out") == ["a"]
    with pytest.raises(KeyError), locked(tmp_path / "new" / "folder"):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_the_lock_and_the_leftovers_of_a_process_that_is_gone_are_cleared(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / LOCK_FILE).write_text(json.dumps({"host": socket.gethostname(), "process": gone.pid}))
    (tmp_path / ".results.json.x.cpm_fast.tmp").touch()
    with pytest.warns(UserWarning, match=f"taking over from process {gone.pid} of .*, which is gone"), locked(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
        assert os.listdir(tmp_path) == [LOCK_FILE]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("stamp", ["1e999", "-1e999", "NaN", "null", "[]", '"x"', "{}", "1" + "0" * 400])
def test_a_damaged_list_of_files_is_of_no_file(tmp_path, stamp):
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / MANIFEST).write_text(f'{{"files": {{"a.csv": [{stamp}, 1]}}, "inputs": {{"a.csv": {stamp}}}}}')
    with pytest.raises(FileExistsError, match=r"a\.csv"):
        OutputFolder(tmp_path).claim(["a.csv"])
    OutputFolder(tmp_path).finish()
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_in_place_of_the_list_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / MANIFEST)
    assert written_files(tmp_path) == {}
