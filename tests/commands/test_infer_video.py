"""cpm-fast infer on a video or a camera that is stopped, killed and resumed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.inference import streaming, video_table
from cpm_fast.media import video
from cpm_fast.media.video_out import playable_suffix, write_video
from cpm_fast.results.result import Results
from support import clips
from support.infer_runs import LABELED, PICTURES, WALK, same, shown, stop_after

pytestmark = pytest.mark.usefixtures("work")


@pytest.mark.parametrize("smooth", [(), ("--smooth",)], ids=["plain", "smooth"])
def test_a_video_goes_on_where_it_was_stopped(work, monkeypatch, capsys, smooth):
    boxes = ("--box", "120", "30", "200", "150", "--box", "100", "30", "200", "150")
    assert main([*WALK, *smooth, *boxes, "-o", "whole"]) == FINE
    assert shown(work / "whole") == {"walk.csv", LABELED}
    with monkeypatch.context() as patch:
        stop_after(patch, streaming.Tracker, "_find", 8)
        assert main([*WALK, *smooth, *boxes, "-o", "out"]) == BAD_RESULT
    assert not (work / "out" / LABELED).exists()
    table = work / "out" / "walk.csv"
    assert len(Results.load(table)) == 8
    # A kill in the middle of a frame's rows, and of a row.
    lines = table.read_bytes().split(b"\n")
    table.write_bytes(b"\n".join([*lines[:14], lines[14][:40]]))
    capsys.readouterr()
    assert main([*WALK, *smooth, *boxes, "-o", "out", "--resume"]) == FINE
    assert "resuming: 6 frames are done" in capsys.readouterr().out
    assert table.read_bytes().splitlines()[:13] == (work / "whole" / "walk.csv").read_bytes().splitlines()[:13]
    same(Results.load(work / "whole" / "walk.csv"), Results.load(table))
    labeled = [list(video.Video(work / name / LABELED).frames()) for name in ("whole", "out")]
    assert len(labeled[0]) == len(labeled[1]) == 20
    for a, b in zip(*labeled, strict=True):
        assert np.abs(a.image.astype(int) - b.image).mean() < 0.5
    assert Results.load(table)[7].frame == 7 and video.Video(work / "out" / LABELED).rate == clips.RATE


def killed_behind(table, lines: int, *arguments: str) -> None:
    """Start a command, and kill it with SIGKILL when its table has this many lines."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "cpm_fast", *arguments], env=alone, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (table.exists() and table.read_bytes().count(b"\n") >= lines):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was done before it was killed"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_what_was_killed_goes_on(work, capsys):
    """A process ends at once, as in a power failure, in a folder and in a video."""
    for i in range(11, 90):
        (work / "in" / f"{i:02}.png").write_bytes((work / "in" / "00.png").read_bytes())
    clips.write_walk(work / "walk.mp4", 6.0)
    for arguments, journal, table in (
        (PICTURES, ".unfinished/0-0.jsonl", "results.json"),
        (WALK, "walk.csv", "walk.csv"),
    ):
        whole, out = work / f"whole-{table}", work / f"out-{table}"
        fine = main([*arguments, "-o", str(whole)])
        killed_behind(out / journal, 5, *arguments, "-o", str(out))
        assert (out / ".unfinished").is_dir() and not (out / "results.json").exists()
        capsys.readouterr()
        assert main([*arguments, "-o", str(out), "--resume"]) == fine
        assert "resuming: " in capsys.readouterr().out
        same(Results.load(whole / table), Results.load(out / table))
        assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_a_table_of_something_else_is_not_gone_on_with(work, monkeypatch, capsys):
    stop_after(monkeypatch, streaming.Tracker, "_find", 3)
    main([*WALK, "-o", "out"])
    (work / "out" / "walk.csv").write_text("image,subject,a_x,a_y\nwalk.mp4,0,1,2\n")
    assert main([*WALK, "-o", "out", "--resume"]) == BAD_USE
    assert "walk.csv: not a table that can be resumed" in capsys.readouterr().err


def test_a_video_that_was_cut_is_a_bad_result(work, capsys):
    with write_video(work / "a.mkv", 25, (48, 64)) as out:
        for i in range(50):
            out.write(np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    data = (work / "a.mkv").read_bytes()
    (work / "a.mkv").write_bytes(data[: len(data) // 2])
    assert main(["infer", "a.mkv", "--model", "net.safetensors", "-o", "out", "--no-pictures"]) == BAD_RESULT
    assert "of the 50 frames it announces; is it cut short?" in capsys.readouterr().err
    assert 10 < len(Results.load("out/a.csv")) < 40


class Camera:
    """A camera that gives frames until Ctrl-C."""

    def __init__(self, source) -> None:
        self.left = 6

    def read(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return True, np.full((48, 64, 3), 30 * self.left, np.uint8)

    def get(self, what) -> float:
        return 0.0

    def release(self) -> None:
        pass


@pytest.mark.parametrize(("frames", "wanted"), [(None, 6), (4, 4)], ids=["until Ctrl-C", "four frames"])
def test_a_camera(work, monkeypatch, frames, wanted):
    read = video.cv2.VideoCapture
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: Camera(0) if source == 0 else read(source))
    arguments = ["infer", "--camera", "0", "--model", "net.safetensors", "-o", "out"]
    assert main([*arguments, *(["--frames", str(frames)] if frames else [])]) == FINE
    assert len(Results.load("out/camera0.csv")) == wanted
    assert len(list(video.Video(work / "out" / f"camera0_pose{playable_suffix()}").frames())) == wanted


def test_a_camera_that_is_not_there(work, capsys):
    assert main(["infer", "--camera", "63", "--model", "net.safetensors", "-o", "out"]) == BAD_RESULT
    assert "camera 63: no such camera" in capsys.readouterr().err and not (work / "out").exists()


def test_a_table_of_an_earlier_run_is_not_taken_for_what_this_run_has_done(work, monkeypatch):
    assert main([*WALK, "-o", "out", "--no-pictures"]) == FINE
    with monkeypatch.context() as patch:
        stop_after(patch, video_table.VideoTable, "start", 0)
        assert main([*WALK, "-o", "out", "--no-pictures", "--smooth"]) == BAD_RESULT
    assert main([*WALK, "-o", "out", "--no-pictures", "--smooth", "--resume"]) == FINE
    assert "_found" in (work / "out" / "walk.csv").read_text().split("\n")[0]
