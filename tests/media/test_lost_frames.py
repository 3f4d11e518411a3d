"""Frames that can't be decoded, and the times of the others."""

import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from cpm_fast.media.matroska import unseen_seconds
from cpm_fast.media.video import Video
from cpm_fast.media.video_out import write_video
from support.matroska import element, matroska
from support.matroska import number as whole
from support.pictures import flat


def write_cage(path) -> tuple[bytearray, int]:
    """Write 60 frames; return the bytes, and the place of the piece with frame 29."""
    with write_video(path, 25, (120, 160)) as out:
        for i in range(60):
            out.write(flat(4 * i, (120, 160)))
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(31):
        at = data.find(b"00dc", at + 1)
    return data, at


def test_one_frame_that_can_not_be_decoded_keeps_its_number(tmp_path):
    data, at = write_cage(tmp_path / "cage.avi")
    (size,) = struct.unpack("<I", data[at + 4 : at + 8])
    data[at + 8 : at + 8 + size] = bytes(size)
    (tmp_path / "cage.avi").write_bytes(data)
    opened = Video(tmp_path / "cage.avi")
    with pytest.warns(UserWarning, match=r"cage\.avi: 1 of its 60 frames can't be decoded; their rows are empty"):
        frames = list(opened.frames())
    assert [frame.index for frame in frames] == list(range(60)) and not opened.cut_short
    assert [frame.index for frame in frames if frame.damaged] == [29]
    assert abs(int(frames[31].image.mean()) - 4 * 31) <= 4
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(60) / 25, atol=2e-3)
    # FFmpeg reads its log level once per process, and this process may have written videos before.
    code = "from cpm_fast.media.video import Video; print(len(list(Video('cage.avi').frames())))"
    alone = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (alone.stdout, alone.stderr) == ("60\n", "")


def damage_pictures(path, numbers) -> None:
    """Empty the JPEG pictures of some frames, and keep the data around these in the file."""
    data = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(rb"\xff\xd8\xff", data)]
    for number in numbers:
        end = data.index(b"\xff\xd9", starts[number])
        data[starts[number] : end] = bytes(end - starts[number])
    path.write_bytes(data)


@pytest.mark.parametrize("numbers", [[0], [1], [0, 1, 2], [7, 8], [19], [3, 9, 10, 19]], ids=str)
@pytest.mark.parametrize("steps", [(40,), (20, 60, 33)], ids=["steady", "variable"])
@pytest.mark.parametrize("kind", ["mkv", "avi"])
def test_frames_that_can_not_be_decoded_keep_their_numbers_wherever_they_are(tmp_path, kind, steps, numbers):
    """The decoder of a Matroska file skips them silently; a whole file of one bad frame is no video."""
    times = np.cumsum([0, *(steps[i % len(steps)] for i in range(19))])
    path = tmp_path / f"a.{kind}"
    if kind == "mkv":
        path.write_bytes(matroska([flat(12 * i) for i in range(20)], times.tolist()))
    elif len(steps) > 1 or numbers[-1] == 19:
        pytest.skip("AVI files have no times, and its reader does not tell a bad last frame from the end")
    else:
        with write_video(path, 25, (48, 64)) as out:
            for i in range(20):
                out.write(flat(12 * i))
    damage_pictures(path, numbers)
    opened = Video(path)
    with pytest.warns(UserWarning, match=rf"{len(numbers)} of its 20 frames can't be decoded"):
        frames = list(opened.frames())
    assert [frame.index for frame in frames] == list(range(20)) and not opened.cut_short
    assert [frame.index for frame in frames if frame.damaged] == numbers
    for frame in frames:
        assert frame.damaged or abs(int(frame.image.mean()) - 12 * frame.index) <= 4
        assert frame.damaged or abs(frame.seconds - times[frame.index] / 1000) <= 2e-3
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)


@pytest.mark.parametrize("steps", [(40,), (20, 60, 33)], ids=["steady", "variable"])
def test_matroska_without_a_frame_rate(tmp_path, recwarn, steps):
    """The container's count of frames is a guess; the times of the frames are not."""
    times = np.cumsum([0, *(steps[i % len(steps)] for i in range(59))])
    (tmp_path / "a.mkv").write_bytes(matroska([flat(4 * i) for i in range(60)], times.tolist()))
    opened = Video(tmp_path / "a.mkv")
    frames = list(opened.frames())
    assert len(frames) == 60 and not opened.cut_short and not recwarn
    assert opened.announced in (None, 60)
    np.testing.assert_allclose([frame.seconds for frame in frames], times / 1000, atol=2e-3)
    # A written video keeps these times.
    with write_video(tmp_path / "b.mkv", 50.0, (48, 64)) as out:
        for frame in frames:
            out.write(frame.image, frame.seconds)
    again = list(Video(tmp_path / "b.mkv").frames())
    assert abs(again[-1].seconds - times[-1] / 1000) <= 0.021
    for frame in frames[::7]:
        near = min(again, key=lambda other: abs(other.seconds - frame.seconds))
        assert abs(int(near.image.mean()) - int(frame.image.mean())) <= 8


def test_a_frame_that_a_steady_file_lacks_is_told(tmp_path, recwarn):
    """Neither a frame nor a packet is there: only the times and the file's count tell."""
    times = [40 * i for i in range(60) if i != 30]
    (tmp_path / "a.mkv").write_bytes(matroska([flat(4 * i) for i in range(59)], times))
    opened = Video(tmp_path / "a.mkv")
    assert len(list(opened.frames())) == 59 and not opened.cut_short
    assert [str(warning.message).split(": ", 1)[1] for warning in recwarn] == [
        "1 of its 60 frames are lost; the times of the others are right and their numbers are not"
    ]


def test_a_frame_whose_header_is_damaged_is_told(tmp_path):
    """The reader of AVI files passes over a piece with an unknown name, and its times go on as if nothing lacked."""
    data, at = write_cage(tmp_path / "cage.avi")
    data[at : at + 4] = b"xxxx"
    (tmp_path / "cage.avi").write_bytes(data)
    with pytest.warns(UserWarning, match=r"cage\.avi: (gives 59 of the 60|1 of its 60 frames)"):
        frames = list(Video(tmp_path / "cage.avi").frames())
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_matroska_that_is_cut_short(tmp_path):
    data = matroska(
        [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8) for i in range(60)], list(range(0, 2400, 40))
    )
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2])
    opened = Video(tmp_path / "a.mkv")
    with pytest.warns(UserWarning, match=r"a.mkv: ends after .* it announces; is it cut short"):
        list(opened.frames())
    assert opened.cut_short


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("steps", [(40,), (20, 60, 33)], ids=["steady", "variable"])
def test_a_first_frame_that_comes_late_is_no_loss(tmp_path, recwarn, steps, cut):
    """The duration in the header counts from 0, OpenCV's times from the first frame."""
    times = 5000 + np.cumsum([0, *(steps[i % len(steps)] for i in range(19))])
    data = matroska([flat(4 * i) for i in range(20)], times.tolist())
    (tmp_path / "a.mkv").write_bytes(data[: len(data) // 2] if cut else data)
    opened = Video(tmp_path / "a.mkv")
    frames = list(opened.frames())
    assert opened.cut_short is cut and len(recwarn) == cut
    assert len(frames) < 12 if cut else len(frames) == 20
    assert unseen_seconds(tmp_path / "a.mkv") == 5.0


def test_where_a_matroska_file_begins(tmp_path):
    """Sound before the first frame does not count, and a file whose first frame is not found tells nothing."""
    data = matroska([flat(0), flat(9)], [700, 740])
    tracks = element(0xAE, whole(0xD7, 1) + whole(0x83, 1)) + element(0xAE, whole(0xD7, 2) + whole(0x83, 2))
    sound = element(0x1F43B675, whole(0xE7, 100) + element(0xA3, b"\x82\x00\x00\x80sound"))
    frame = element(0xA0, element(0xA1, b"\x81" + struct.pack(">hB", -200, 0) + b"picture"))
    start = data.index(bytes.fromhex("18538067")) + 12
    mixed = data[:start] + element(0x1654AE6B, tracks) + sound + element(0x1F43B675, whole(0xE7, 900) + frame)
    for content, wanted in ((data, 0.7), (mixed, 0.7), (data[:200], None), (b"\x1a\x45\xdf\xa3", None), (b"RIFF", 0)):
        (tmp_path / "a.mkv").write_bytes(content)
        assert unseen_seconds(tmp_path / "a.mkv") == wanted


def test_times_that_go_back_make_no_frames(tmp_path):
    """The packets between two frames are counted from the latest time on: an earlier one was read already."""
    (tmp_path / "a.mkv").write_bytes(matroska([flat(20 * i) for i in range(6)], [0, 40, 120, 80, 160, 200]))
    frames = list(Video(tmp_path / "a.mkv").frames())
    assert [frame.index for frame in frames] == list(range(6)) and not any(frame.damaged for frame in frames)
    assert [abs(int(frame.image.mean()) - 20 * frame.index) <= 4 for frame in frames] == [True] * 6
    assert [frame.seconds for frame in frames] == sorted({frame.seconds for frame in frames})


def test_times_that_go_back_far(tmp_path):
    (tmp_path / "a.mkv").write_bytes(matroska([flat(20 * i) for i in range(7)], [0, 40, 200, 80, 120, 160, 240]))
    frames = list(Video(tmp_path / "a.mkv").frames())
    assert len(frames) == 7 and not any(frame.damaged for frame in frames)
