"""The example with Ray Data: a row per picture, also when a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import ray_folder
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.inference import infer

EXAMPLES = Path(ray_folder.__file__).parent
MODEL = "compact-drawn"
PICTURES, DRAWN = 1000, 20
DAMAGED = (3, 500, 999)
PATIENCE_SECONDS = 1200

# One of two workers dies by SIGKILL in its third batch, once.
KILLED = """
import json, os, signal, sys
import ray, ray_folder

class Killed(ray_folder.Poses):
    batches = 0

    def __call__(self, batch):
        self.batches += 1
        if self.batches == 3:
            try:
                os.close(os.open(os.environ["MARK"], os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return super().__call__(batch)

ray.init(num_cpus=3, include_dashboard=False)
rows = ray_folder.locate(sys.argv[1], "compact-drawn", workers=2, poses=Killed).take_all()
json.dump(rows, open(os.environ["ROWS"], "w"))
"""


def encoded(index: int) -> bytes:
    return cv2.imencode(".jpg", DrawnFigures(index + 1)[index].image)[1].tobytes()


def test_a_batch_has_a_row_per_picture():
    data = [encoded(0), b"no picture", encoded(1)]
    # Ray passes arrays of objects.
    batch = {"path": np.array(["a.jpg", "b.jpg", "c.jpg"], object), "bytes": np.array(data, object)}
    rows = ray_folder.Poses(MODEL)(batch)
    assert rows["path"] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [bool(pose) for pose in rows["poses"]] == [True, False, True]
    assert "decode" in rows["error"][1] and rows["error"][::2] == ["", ""]
    (expected,) = infer(data[2], model=MODEL, device="cpu")
    found = json.loads(rows["poses"][2])
    assert found["name"] == "c.jpg" and list(found["subjects"][0]["parts"]) == list(expected.skeleton.names)
    # Single and batched results agree up to rounding.
    parts = np.array([[part[:2] for part in subject["parts"].values()] for subject in found["subjects"]])
    assert parts.shape == expected.keypoints.shape and np.abs(parts - expected.keypoints).max() < 0.01


@pytest.mark.nightly
def test_nothing_is_lost_when_a_worker_is_killed(tmp_path):
    pytest.importorskip("ray.data", reason='the example needs pip install -e ".[ray]"')
    folder, mark, rows = tmp_path / "pictures", tmp_path / "killed", tmp_path / "rows.json"
    folder.mkdir()
    pictures = [encoded(i) for i in range(DRAWN)]
    for i in range(PICTURES):
        (folder / f"{i:04d}.jpg").write_bytes(b"no picture" if i in DAMAGED else pictures[i % DRAWN])
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "MARK": str(mark), "ROWS": str(rows)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert mark.exists(), "no worker was killed"
    found = json.loads(rows.read_text())
    assert sorted(Path(row["path"]).name for row in found) == [f"{i:04d}.jpg" for i in range(PICTURES)]
    assert {int(Path(row["path"]).stem) for row in found if row["error"]} == set(DAMAGED)
    assert all(bool(row["poses"]) != bool(row["error"]) for row in found)
