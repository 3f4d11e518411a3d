"""No line of OpenCV, FFmpeg or a picture library reaches the terminal, for any damage."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cpm_fast.media.decoder_log import heard
from support import clips

READ = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from cpm_fast.media.decoder_log import heard
from cpm_fast.media.image import read_image
from cpm_fast.media.video import Video
from cpm_fast.media.video_files import is_video_file
found = [0, 0]
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        if is_video_file(path):
            video = Video(path)
            sum(1 for _ in video.frames())
            video.close()
        else:
            read_image(path)
        found[0] += 1
    except (ValueError, OSError):
        found[1] += 1
print(*found)
"""


def picture() -> np.ndarray:
    y, x = np.mgrid[:90, :120]
    return np.stack([x * 2, y * 2, x + y], axis=2).astype(np.uint8)


def damaged(data: bytes) -> dict[str, bytes]:
    """Return the bytes with zeros, noise and a gap at several places, and cut short."""
    noise = np.random.default_rng(0).integers(0, 256, len(data), np.uint8).tobytes()
    found = {}
    for share in (0.1, 0.3, 0.5, 0.9):
        at, length = int(share * len(data)), max(4, len(data) // 40)
        found[f"zeros{share}"] = data[:at] + bytes(length) + data[at + length :]
        found[f"noise{share}"] = data[:at] + noise[at : at + length] + data[at + length :]
        found[f"gap{share}"] = data[:at] + data[at + length :]
        found[f"cut{share}"] = data[:at]
    return found


def read_quietly(folder, count: int) -> tuple[int, int]:
    """Read all in their own process; return how many could be read, and how many could not."""
    done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    fine, bad = map(int, done.stdout.split())
    assert fine + bad == count
    return fine, bad


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".jp2", ".gif", ".avif"])
def test_damaged_pictures(suffix, tmp_path):
    try:
        data = cv2.imencode(suffix, picture())[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")
    files = damaged(data)
    for name, content in files.items():
        (tmp_path / f"{name}{suffix}").write_bytes(content)
    _, bad = read_quietly(tmp_path, len(files))
    assert bad >= 1, "a damage must do harm"


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".webm"])
def test_damaged_videos(suffix, tmp_path):
    codec = {".avi": "MJPG", ".webm": "VP80"}.get(suffix, "mp4v")
    writer = cv2.VideoWriter(str(tmp_path / f"whole{suffix}"), cv2.VideoWriter.fourcc(*codec), 25, (160, 120))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {suffix}")
    for image, _ in clips.walk(0.5, size=(120, 160)):
        writer.write(image)
    writer.release()
    files = damaged((tmp_path / f"whole{suffix}").read_bytes())
    for name, content in files.items():
        (tmp_path / f"{name}{suffix}").write_bytes(content)
    fine, _ = read_quietly(tmp_path, len(files) + 1)
    assert fine >= 1


@pytest.mark.parametrize("kind", ["in memory", "on the disk"])
def test_lines_of_others_pass_while_pictures_are_decoded(capfd, monkeypatch, kind):
    if kind == "on the disk":
        monkeypatch.delattr(os, "memfd_create", raising=False)

    def decode() -> int:
        os.write(2, b"somebody else's line\nlibpng warning: iCCP: known incorrect sRGB profile\n")
        return 3

    assert heard(decode) == (3, [])
    assert capfd.readouterr().err == "somebody else's line\n"


@pytest.mark.parametrize("shown", [b"ab\nV", b"\r\n\n\r", b"LIST", b"", b"..\n."])
def test_bytes_that_a_decoder_shows_are_no_line_of_somebody_else(shown, capfd):
    def decode() -> None:
        for kind in (b"element", b"list type"):
            os.write(2, b"Unexpected " + kind + b". Expected: LIST. Got: " + shown + b".\n")
        os.write(2, b"Unexpected end of file while searching for LIST list\nV.\n")

    heard(decode)
    assert capfd.readouterr().err == "V.\n"


def test_all_lines_of_a_failed_check_are_a_decoder_s(capfd):
    def decode() -> None:
        os.write(2, b"OpenCV(5.0.0) a.cpp:1: error: (-2) in function 'f'\n> Too long:\n>     'a < b'\n> where\nmine\n")
        os.write(2, b"> quoted by somebody else\n")

    heard(decode)
    assert capfd.readouterr().err == "mine\n> quoted by somebody else\n"
