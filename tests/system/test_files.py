"""Files are complete or absent."""

import os
import stat

import pytest

from cpm_fast.system.files import atomic_write, parse_json


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"first", b"second and longer"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["a.bin"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half of the new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_the_name_is_not_there_before_the_end(tmp_path):
    with atomic_write(tmp_path / "new") as file:
        file.write(b"x")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new").exists()


def test_bytes_are_synced_before_the_rename(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    with atomic_write(tmp_path / "new") as file:
        file.write(b"x")
    assert calls == ["sync", "rename", "sync"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_permissions_and_links_are_kept(tmp_path):
    plain, target, link = tmp_path / "plain", tmp_path / "target", tmp_path / "link"
    plain.write_bytes(b"")
    with atomic_write(tmp_path / "ours"):
        pass
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and stat.S_IMODE(target.stat().st_mode) == 0o640


def test_rejects(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder does not exist"), atomic_write(tmp_path / "no" / "a"):
        pass
    with pytest.raises(IsADirectoryError, match="got a folder"), atomic_write(tmp_path):
        pass


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, b"[" * 200_000, "", "{", b"\xff"], ids=range(6))
def test_json_of_anybody_is_read_or_a_value_error(text):
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "behind a link"])
def test_a_pipe_or_device_is_not_replaced(tmp_path, linked):
    """Renaming over it would take a device away from every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pipe"
    if linked:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "pipe")
    refused = pytest.raises(OSError, match=r"pipe: must be a regular file to write, got a pipe or device")
    with refused, atomic_write(path) as file:
        file.write(b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert set(os.listdir(tmp_path)) == {"pipe", *(["link"] if linked else [])}
