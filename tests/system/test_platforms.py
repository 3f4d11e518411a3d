"""The code paths of macOS and Windows, by patching the calls that differ there."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import types
from pathlib import Path

import pytest
import torch

from cpm_fast import weights
from cpm_fast.config import preset
from cpm_fast.engine import tuning
from cpm_fast.media import decoder_log, video
from cpm_fast.model.decode import belief_to_parts
from cpm_fast.ops import backend
from cpm_fast.system import files, locks, memory


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
    for name in ("pread", "pwrite"):
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
    video._captured(tmp_path / "50%.mp4", raw=False)
    assert opened == [str(tmp_path / "50%.mp4")]
