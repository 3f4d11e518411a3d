"""Run cpm-fast without the calls that another system lacks: python other_system.py win32|darwin ARGUMENTS.

The libraries are imported before: they choose their own forms for a system when they are imported. As on both systems,
other processes are spawned.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import types
from multiprocessing import popen_spawn_posix, resource_tracker, shared_memory  # noqa: F401
from pathlib import Path
from typing import NoReturn

WINDOWS_OS = """
    fork forkpty register_at_fork nice getuid geteuid getgid getegid setsid getsid killpg getpgid setpgid
    sched_getaffinity pread pwrite preadv pwritev mkfifo mknod chown fchown lchown statvfs fstatvfs uname getloadavg
    posix_fadvise posix_fallocate wait3 wait4 WNOHANG O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC
"""
WINDOWS_SIGNALS = """
    SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGXCPU SIGPIPE SIGSTOP SIGCONT pthread_kill sigwait sigwaitinfo sigtimedwait alarm
    setitimer
"""
WINDOWS_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")
MACOS_OS = "sched_getaffinity posix_fadvise posix_fallocate O_TMPFILE"
MACOS_SIGNALS = "sigwaitinfo sigtimedwait"
LIBRARIES = ("cv2", "h5py", "matplotlib.pyplot", "numpy", "PIL.Image", "safetensors.torch", "torch", "tqdm", "triton")
LIBRARIES += ("torch._dynamo", "torch.utils.data", "torch.utils.data._utils.worker")


def refused(*_arguments: object, **_named: object) -> NoReturn:
    raise OSError(1314, "a required privilege is not held by the client")


def locking(handle: int, mode: int, count: int) -> None:
    assert (mode, count) == (2, 1)


def main() -> int:
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    tempfile.gettempdir()
    multiprocessing.set_start_method("spawn")
    resource_tracker.ensure_running()
    system, *arguments = sys.argv[1:]
    if system == "win32":
        leave_out(WINDOWS_OS, WINDOWS_SIGNALS)
        for name in WINDOWS_MODULES:
            sys.modules[name] = None  # type: ignore[assignment]
        os.symlink = refused  # type: ignore[assignment]
        Path.symlink_to = refused  # type: ignore[method-assign]
        sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)  # type: ignore[assignment]
    else:
        leave_out(MACOS_OS, MACOS_SIGNALS)
    sys.platform = system
    from cpm_fast.cli import main as run

    return run(arguments)


def leave_out(*names: str) -> None:
    for owner, listed in zip((os, signal), names, strict=True):
        for name in listed.split():
            if hasattr(owner, name):
                delattr(owner, name)


if __name__ == "__main__":
    raise SystemExit(main())
