"""A folder that one process holds is refused to others, and taken over from a dead process."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest

from cpm_fast.system import locks
from cpm_fast.system.locks import HELD, LOCK_FILE, FolderInUse, folder_lock

HOLD = """
import sys, time
from pathlib import Path
from cpm_fast.system.locks import folder_lock

with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_with_the_holders_number(tmp_path, holder):
    with pytest.raises(FolderInUse, match=rf"is in use by process {holder.pid} of "), folder_lock(tmp_path):
        pass
    assert holder.poll() is None and (tmp_path / LOCK_FILE).exists()


def test_a_killed_holder_is_told_and_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    gone = pytest.warns(UserWarning, match=rf"taking over from process {holder.pid} of .*, which is gone")
    with gone, folder_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_bytes())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_threads_of_one_process(tmp_path):
    refused = []

    def second():
        try:
            with folder_lock(tmp_path):
                pass
        except FolderInUse as error:
            refused.append(str(error))

    with folder_lock(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"by this process ({os.getpid()})" in refused[0]
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"process": "x"}'])
def test_a_lock_file_that_says_nothing(tmp_path, content):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with pytest.warns(UserWarning) if content.startswith(b'{"') else nullcontext(), folder_lock(tmp_path):
        pass


def test_without_locks_of_the_system_the_number_decides(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="POSIX")

    def none(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    here = {"host": os.uname().nodename, "process": os.getppid()}
    (tmp_path / LOCK_FILE).write_text(json.dumps(here))
    with pytest.raises(FolderInUse), folder_lock(tmp_path):
        pass
    (tmp_path / LOCK_FILE).write_text(json.dumps({**here, "host": "elsewhere"}))
    with pytest.raises(FolderInUse, match=r"of elsewhere; wait for it to end, or remove"), folder_lock(tmp_path):
        pass
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK_FILE).write_text(json.dumps({**here, "process": ended.pid}))
    with pytest.warns(UserWarning, match="which is gone"), folder_lock(tmp_path):
        pass


WRONG_HOLDERS = [
    *({"since": value} for value in (1e300, float("inf"), float("nan"), -1.0, "x", [], 10**400)),
    *({"process": value} for value in (0, -1, 1 << 40, 10**400, True, 1.5, "x", None)),
    *({"host": value} for value in (None, 7, [], "x" * 5000)),
]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
@pytest.mark.parametrize("wrong", WRONG_HOLDERS, ids=lambda wrong: f"{wrong}"[:30])
def test_values_that_no_holder_writes(tmp_path, monkeypatch, wrong, locks):
    """The file is taken over from nobody who lives, or refused by name: other errors would be tracebacks."""
    if not locks:
        fcntl = pytest.importorskip("fcntl", reason="POSIX")

        def none(*_):
            raise OSError("no locks available")

        monkeypatch.setattr(fcntl, "lockf", none)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"host": os.uname().nodename, "process": ended.pid, "since": 1.5, **wrong}
    (tmp_path / LOCK_FILE).write_text(json.dumps(holder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with folder_lock(tmp_path):
                assert json.loads((tmp_path / LOCK_FILE).read_bytes())["process"] == os.getpid()
        except FolderInUse as refused:
            assert not locks and f"remove {tmp_path / LOCK_FILE}" in str(refused)
    assert set() == HELD


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_link_in_place_of_the_lock_file_costs_nobody_a_file(tmp_path):
    own = tmp_path / "labels.csv"
    own.write_text("mine")
    (tmp_path / LOCK_FILE).symlink_to(own)
    refused = pytest.raises(OSError, match=rf"{LOCK_FILE}: must be a regular file, got a link")
    with refused, folder_lock(tmp_path):
        pass
    assert own.read_text() == "mine"
    (tmp_path / LOCK_FILE).unlink()
    os.mkfifo(tmp_path / LOCK_FILE)
    with pytest.raises(OSError, match="got a link, folder, pipe or device"), folder_lock(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_that_comes_after_the_check_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / LOCK_FILE)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(OSError, match=f"{LOCK_FILE}: must be a regular file, got"), folder_lock(tmp_path):
        pass
    assert set() == HELD


@pytest.mark.skipif(sys.platform == "win32", reason="an open file is not removed there")
def test_a_file_that_its_holder_removes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Its holder ends between our opening and locking: the next process would lock a new file of that name."""
    real, taken = locks._lock, []

    def late(handle):
        real(handle)
        if not taken:
            (tmp_path / LOCK_FILE).unlink()
        taken.append(handle)

    monkeypatch.setattr(locks, "_lock", late)
    with folder_lock(tmp_path):
        assert len(taken) == 2
        assert os.path.samestat(os.fstat(taken[-1]), os.stat(tmp_path / LOCK_FILE))
