"""Folders of drawn pictures, and a server of their page in its own process."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_fast.labeling.naming import write_skeleton
from cpm_fast.labeling.server import listen, make_app
from cpm_fast.labeling.store import Store
from cpm_fast.skeleton import Skeleton

SKELETON = Skeleton(
    "beetle",
    ("head", "left_wing", "right_wing", "tail"),
    (("head", "left_wing"), ("head", "right_wing"), ("head", "tail")),
    (("left_wing", "right_wing"),),
)


def draw_pictures(folder: Path, count: int, size: tuple[int, int] = (120, 160), suffix: str = ".png") -> list[Path]:
    """Draw pictures with two bright beetles each; size is (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        picture = np.full((*size, 3), 40, np.uint8)
        for x in (0.3, 0.7):
            at = (int(size[1] * x), int(size[0] * random.uniform(0.4, 0.6)))
            cv2.ellipse(picture, at, (size[1] // 12, size[0] // 5), 0, 0, 360, (90, 180, 220), cv2.FILLED, cv2.LINE_AA)
        paths.append(folder / f"run-{number:06d}{suffix}")
        cv2.imwrite(str(paths[-1]), picture)
    return paths


def make_beetles(folder: Path) -> Path:
    """Make a folder of six pictures with a skeleton.toml."""
    draw_pictures(folder, 6)
    write_skeleton(SKELETON, folder / "skeleton.toml")
    return folder


class Inside:
    """The server in a thread of this process, which makes requests quick."""

    def __init__(self, folder: Path) -> None:
        uvicorn = pytest.importorskip("uvicorn", reason="needs the extra label")
        pytest.importorskip("starlette", reason="needs the extra label")
        self.store = Store(folder, SKELETON)
        self.socket = listen(0)
        self.port, self.token = self.socket.getsockname()[1], "right-token"
        app = make_app(self.store, self.token, self.port)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)

    def __enter__(self) -> "Inside":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
        self.store.close()


class Served:
    """`cpm-fast label` on a folder; `address` is the printed one."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        pytest.importorskip("starlette", reason="needs the extra label")
        pytest.importorskip("uvicorn", reason="needs the extra label")
        command = [sys.executable, "-m", "cpm_fast", "label", str(folder), "--port", str(port), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", line)
            if found:
                self.address, self.port, self.token = found[0], int(found[1]), found[2]
                threading.Thread(target=self.lines.extend, args=(self.process.stdout,), daemon=True).start()
                return
        self.process.wait()
        pytest.fail("".join(self.lines))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Send Ctrl-C and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)
