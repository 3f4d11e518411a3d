"""Videos: every frame once and in order, with its time; and the messages about files that are none."""

import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_fast.media import video
from cpm_fast.media.video import Video
from cpm_fast.media.video_files import is_video_file
from cpm_fast.media.video_out import CODECS, playable_suffix, write_video
from support.pictures import flat


@pytest.fixture(params=sorted(CODECS))
def path(tmp_path, request):
    path = tmp_path / f"a{request.param}"
    with write_video(path, 12.5, (48, 64)) as out:
        for i in range(10):
            out.write(flat(20 * i))
    return path


def test_what_is_written_is_read(path):
    opened = Video(path)
    assert (opened.rate, opened.size, opened.is_camera) == (12.5, (48, 64), False)
    frames = list(opened.frames())
    opened.close()
    assert [frame.index for frame in frames] == list(range(10)) and not opened.cut_short
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(10) / 12.5, atol=2e-3)
    for i, frame in enumerate(frames):
        assert abs(int(frame.image.mean()) - 20 * i) <= 4


def test_frames_from_the_middle_on_are_the_same(path):
    late = [frame for frame in Video(path).frames(7)]
    whole = list(Video(path).frames())[7:]
    assert [(frame.index, frame.seconds) for frame in late] == [(frame.index, frame.seconds) for frame in whole]
    assert all((a.image == b.image).all() for a, b in zip(late, whole, strict=True))


def test_a_video_that_is_not_finished_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), write_video(tmp_path / "a.mp4", 25, (48, 64)) as out:
        out.write(flat(3))
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.mp4", b"before")]


def test_what_can_not_be_written(tmp_path):
    with (
        pytest.raises(ValueError, match=r"one of the suffixes .mp4, .*got '.gif'"),
        write_video(tmp_path / "a.gif", 25, (48, 64)),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"frames must be \(48, 64\).*got \(64, 48\)"),
        write_video(tmp_path / "a.mp4", 25, (48, 64)) as out,
    ):
        out.write(flat(0, (64, 48)))


def test_what_is_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.mp4: no such video file"):
        Video(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with write_video(tmp_path / "frameless.avi", 25, (48, 64)):
        pass
    for name in ("text.mp4", "empty.mp4", "frameless.avi"):
        with pytest.raises(ValueError, match=f"{name}: not a video that can be decoded, cut short, or without frames"):
            Video(tmp_path / name)


def test_half_a_video(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a.mp4", "a.mkv"):
        with write_video(tmp_path / name, 25, (48, 64)) as out:
            for _ in range(50):
                out.write(random.integers(0, 255, (48, 64, 3), dtype=np.uint8))
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cut short"):
        Video(tmp_path / "a.mp4")
    # A Matroska file can be read without an index, and has its length in the header.
    opened = Video(tmp_path / "a.mkv")
    with pytest.warns(UserWarning, match=r"a.mkv: ends after \d+ of the 50 frames it announces"):
        frames = list(opened.frames())
    assert 10 < len(frames) < 40 and opened.cut_short


def test_a_camera_that_is_not_there():
    with pytest.raises(RuntimeError, match="camera 63: no such camera"):
        Video(63)


class Camera:
    """A mock of cv2.VideoCapture: a camera that reports neither rate nor times."""

    def __init__(self, source) -> None:
        self.left = 5

    def read(self):
        self.left -= 1
        return (True, flat(self.left)) if self.left >= 0 else (False, None)

    def get(self, what) -> float:
        return 5.0 if what == cv2.CAP_PROP_FRAME_COUNT else 0.0

    def release(self) -> None:
        pass


def test_a_camera(monkeypatch):
    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    opened = Video(0)
    assert opened.is_camera and opened.rate == 25 and opened.announced is None and opened.name == "camera 0"
    assert [frame.seconds for frame in opened.frames()] == [i / 25 for i in range(5)]


@pytest.mark.parametrize(
    "name", ["2024-05-01T12:30:00.mp4", "100%d.mp4", "\u4f60 b.mp4", "caf\udce9.mp4", "http:a.mp4"]
)
def test_any_name_can_be_opened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with write_video(tmp_path / "a.mp4", 25, (48, 64)) as out:
        for i in range(5):
            out.write(flat(i))
    os.rename("a.mp4", name)
    for path in (name, f"./{name}", os.path.abspath(name)):
        assert len(list(Video(path).frames())) == 5


def test_videos_are_known_whatever_they_are_called(tmp_path):
    for suffix, codec in (("ts", "MPG2"), ("flv", "FLV1"), ("3gp", "mp4v"), ("asf", "WMV2")):
        path = tmp_path / f"c.{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (160, 120))
        for i in range(20):
            writer.write(flat(i, (120, 160)))
        writer.release()
        other = path.rename(tmp_path / f"{suffix}.recording")
        assert is_video_file(path) and is_video_file(other), suffix
    pictures = [Image.fromarray(flat(12 * i)) for i in range(20)]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "still.gif")
    pictures[0].save(tmp_path / "odd", format="PNG")
    (tmp_path / "text.txt").write_text("no video")
    # OpenCV reads these as pictures of floating-point samples, and FFmpeg as films of one frame.
    for name in ("light.hdr", "light.pfm"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).random((40, 50, 3), dtype=np.float32))
    assert is_video_file(tmp_path / "moving.gif") and len(list(Video(tmp_path / "moving.gif").frames())) == 20
    assert not any(
        is_video_file(tmp_path / name) for name in ("still.gif", "odd", "text.txt", "none", "light.hdr", "light.pfm")
    )


LIMITED = """
import resource, sys, numpy as np
from pathlib import Path
from cpm_fast.media.video_out import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for suffix in (".avi", ".mp4", ".mkv", ".webm"):
    try:
        with write_video(Path("a" + suffix), 25, (240, 320)) as out:
            for i in range(60):
                out.write(np.random.default_rng(i).integers(0, 255, (240, 320, 3), dtype=np.uint8))
    except OSError as error:
        print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files here")
def test_a_video_that_can_not_be_written_to_its_end(tmp_path):
    """The writer does not report that the disk is full."""
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.findall(r"refused: a(\.\w+): ", done.stdout) == [".avi", ".mp4", ".mkv", ".webm"], done.stderr
    assert os.listdir(tmp_path) == []


def test_what_browsers_play():
    assert playable_suffix() in (".mp4", ".webm")
