"""The code paths of macOS and Windows, by patching the calls that differ there."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from cpm_fast import weights
from cpm_fast.config import preset
from cpm_fast.data import loader
from cpm_fast.data.files import hdf5, hdf5_probe
from cpm_fast.engine import tuning
from cpm_fast.labeling import server
from cpm_fast.media import capture, decoder_log
from cpm_fast.model.decode import belief_to_parts
from cpm_fast.ops import backend
from cpm_fast.system import files, locks, memory
from support.pictures import jpeg

OTHER_SYSTEM = Path(__file__).resolve().parent.parent / "support" / "other_system.py"


@pytest.mark.parametrize(
    ("system", "variables", "wanted"),
    [
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/cpm_fast")),
        ("win32", {}, Path("/home/me/AppData/Local/cpm_fast")),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, Path("/home/me/Library/Caches/cpm_fast")),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, Path("/elsewhere/cpm_fast")),
    ],
    ids=["windows", "windows without a variable", "macos", "linux"],
)
def test_measurements_go_to_the_system_s_folder(
    system: str, variables: dict[str, str], wanted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CPM_FAST_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert tuning.cache_folder() == wanted


def test_the_processor_has_a_name_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path, *arguments: object, **named: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert tuning._processor() == "arm64"


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_only_glibc_is_asked_to_keep_memory(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    # CDLL(None) fails on Windows.
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("a C library was opened"))
    memory.keep_freed_memory()


def test_another_c_library_on_linux_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl, for instance, has no mallopt."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    memory.keep_freed_memory()


def test_a_folder_that_can_t_be_opened_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def windows(path: str | Path, flags: int, *arguments: int, **named: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", windows)
    with files.atomic_write(tmp_path / "kept.txt") as file:
        file.write(b"whole")
    assert (tmp_path / "kept.txt").read_bytes() == b"whole"


def test_windows_decodes_without_catching_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        patch.setattr(os, "dup2", lambda *handles: pytest.fail("the error stream was moved"))
        assert decoder_log.heard(lambda: 7) == (7, [])


def test_there_is_no_fast_code_for_mps() -> None:
    assert "mps" in str(backend.native_missing("mps")) and "mps" in str(backend.triton_missing("mps", None))
    with backend.use_backend("fast"), pytest.raises(RuntimeError, match="context_conv on mps"):
        backend.use_fast("context_conv", "mps", backend.native_missing("mps"))
    with pytest.warns(RuntimeWarning, match="on mps runs on the slower reference backend"):
        backend._announced.discard(("mps", str(backend.native_missing("mps"))))
        assert not backend.use_fast("context_conv", "mps", backend.native_missing("mps"))


def test_mps_is_a_device_where_pytorch_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert weights.find_device("mps").type == "mps" and weights.find_device("auto").type != "mps"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="device 'mps' is not available"):
        weights.find_device("mps")


class OnMps(torch.Tensor):
    """A tensor with the device of an Apple GPU, which can only be copied back."""

    device = torch.device("mps")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_belief_maps_of_mps_are_decoded_on_the_cpu() -> None:
    config = preset("compact")
    maps = torch.rand(2, 1, config.maps, *(side // 8 for side in config.input_size))
    for found, wanted in zip(
        belief_to_parts(maps.as_subclass(OnMps), (1.0,), config), belief_to_parts(maps, (1.0,), config), strict=True
    ):
        assert (found == wanted).all()


@pytest.fixture
def windows_locks(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Simulate the locks of Windows for locks.py, with the numbers of the locked files."""
    held: set[int] = set()

    def locking(handle: int, mode: int, count: int) -> None:
        number = os.fstat(handle).st_ino
        # No process could read a locked byte.
        assert (mode, count) == (2, 1) and os.lseek(handle, 0, os.SEEK_CUR) > 4096
        if number in held:
            raise PermissionError(13, "Permission denied")
        held.add(number)

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signal 0 is Ctrl-C on Windows"))
    for name in ("pread", "pwrite", "O_NOFOLLOW", "O_NONBLOCK"):
        monkeypatch.delattr(os, name)
    return held


def test_windows_holds_a_folder(tmp_path: Path, windows_locks: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = Path.unlink, []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        # Windows can't remove an open file: the first try fails.
        opened.append(path)
        if len(opened) == 1:
            raise PermissionError(13, "Permission denied", str(path))
        real(path, missing_ok)

    with locks.folder_lock(tmp_path):
        assert json.loads((tmp_path / locks.LOCK_FILE).read_bytes())["process"] == os.getpid()
        # This is the view of another process.
        locks.HELD.clear()
        with pytest.raises(locks.FolderInUse, match=f"in use by process {os.getpid()}"), locks.folder_lock(tmp_path):
            pass
        monkeypatch.setattr(Path, "unlink", unlink)
    assert list(tmp_path.iterdir()) == []


def test_windows_takes_over_from_a_holder_that_is_gone(tmp_path: Path, windows_locks: set[int]) -> None:
    """The system has released its lock."""
    left = {"host": socket.gethostname(), "process": 1, "since": 0.0}
    (tmp_path / locks.LOCK_FILE).write_text(json.dumps(left))
    with pytest.warns(UserWarning, match="taking over from process 1"), locks.folder_lock(tmp_path):
        assert len(windows_locks) == 1


def test_a_video_with_an_odd_name_is_opened_where_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(1314, "a required privilege is not held")

    opened: list[str] = []
    monkeypatch.setattr(Path, "symlink_to", refused)
    monkeypatch.setattr("cv2.VideoCapture", opened.append)
    capture._captured(tmp_path / "50%.mp4", raw=False)
    assert opened == [str(tmp_path / "50%.mp4")]


@pytest.mark.skipif(sys.platform == "win32", reason="the system allows no such name")
def test_a_file_with_a_name_of_any_bytes_is_read_where_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / os.fsdecode(b"\xff.bin")
    path.write_bytes(b"whole")
    monkeypatch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError(1314, "a right is missing")))
    with files.utf8_path(path) as readable:
        assert readable.read_bytes() == b"whole"


def test_a_data_worker_starts_without_the_calls_of_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = []
    monkeypatch.setattr("cv2.setNumThreads", lambda count: None)
    monkeypatch.setattr("signal.signal", lambda *pair: handlers.append(pair))
    monkeypatch.delattr(os, "nice", raising=False)
    for name in ("sigwaitinfo", "pthread_sigmask"):
        monkeypatch.delattr(signal, name, raising=False)
    loader._start_worker(0)
    assert handlers == [(signal.SIGINT, signal.SIG_IGN)]


def test_a_probe_of_a_file_runs_without_limits_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    hdf5_probe.limit_processor_time(1)


def test_the_clock_ends_a_probe_where_the_system_has_no_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def run(*_: object, timeout: float, **__: object) -> None:
        waits.append(timeout)
        raise subprocess.TimeoutExpired("probe", timeout)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delattr(signal, "SIGXCPU", raising=False)
    path = tmp_path / "labels.h5"
    path.write_bytes(b"some")
    with pytest.raises(ValueError, match="labels.h5: damaged: the HDF5 library takes more than 1.5 s"):
        hdf5.check_hdf5(path, 1.5)
    assert waits == [1.5]


@pytest.mark.parametrize(("code", "said"), [(0xC0000005, "exception 0xc0000005"), (-11, "signal 11")])
def test_a_probe_that_crashes_refuses_the_file_on_every_system(
    code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: types.SimpleNamespace(returncode=code))
    path = tmp_path / f"{code}.h5"
    path.write_bytes(b"some")
    with pytest.raises(ValueError, match=f"crashes on it \\({said}\\)"):
        hdf5.check_hdf5(path)


def test_two_servers_do_not_share_a_port_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There SO_REUSEADDR would allow it."""
    for system, shared in (("win32", 0), ("linux", 1)):
        monkeypatch.setattr(sys, "platform", system)
        with server.listen(None) as listening:
            assert bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) == bool(shared)


TRAIN = "train --data synthetic:4 --preset compact --width 0.1 --epochs 1 --batch 2 -o out --workers"
COMMANDS = {
    "windows, infer": ("win32", "infer picture.jpg -o out"),
    "windows, train": ("win32", f"{TRAIN} 0"),
    "macos, train": ("darwin", f"{TRAIN} 1"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="this is such a system")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_without_the_calls_that_another_system_lacks(command: str, tmp_path: Path) -> None:
    """Every call that only Linux, or only POSIX, has is gone, whoever makes it."""
    (tmp_path / "picture.jpg").write_bytes(jpeg(64, 48))
    system, line = COMMANDS[command]
    called = [sys.executable, str(OTHER_SYSTEM), system, *line.split()]
    done = subprocess.run(called, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out").iterdir())) > 1
