"""Frames from videos: different ones, named by video and number, and none twice."""

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.labeling.frames import choose_new, kmeans_slots, read_manifest, take_frames, uniform_slots
from cpm_fast.media.video_out import write_video
from cpm_fast.system.locks import FolderInUse, folder_lock


def write_clip(path, places, size=(96, 128)):
    """Write a video of a bright spot at (x, y) in each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_video(path, 25.0, size) as video:
        for x, y in places:
            picture = np.full((*size, 3), 30, np.uint8)
            cv2.circle(picture, (int(x), int(y)), 14, (60, 200, 250), cv2.FILLED)
            video.write(picture)
    return path


@pytest.fixture
def clip(tmp_path):
    """Write sixty frames: forty alike, then ten and ten at other places."""
    return write_clip(tmp_path / "walk.avi", [(20, 20)] * 40 + [(64, 50)] * 10 + [(110, 80)] * 10)


def test_kmeans_finds_each_kind_of_frame_once(clip, tmp_path):
    frames = take_frames(clip, tmp_path / "out", 10)
    assert len(frames) == 3 and [sum(f.frame >= start for start in (40, 50)) for f in frames] == [0, 1, 2]
    for frame in frames:
        assert frame.image == f"walk-{frame.frame:06d}.png" and frame.by == "kmeans"
        assert frame.seconds == pytest.approx(frame.frame / 25, abs=0.05)
        x = [20, 64, 110][sum(frame.frame >= start for start in (40, 50))]
        picture = cv2.imread(str(tmp_path / "out" / frame.image))
        assert picture.shape == (96, 128, 3) and picture[:, x].max() > 200
    assert read_manifest(tmp_path / "out") == frames


def test_a_second_call_takes_other_frames(tmp_path):
    clip = write_clip(tmp_path / "walk.avi", [(10 + 2 * i, 20 + i) for i in range(50)])
    first = take_frames(clip, tmp_path / "out", 4)
    second = take_frames(clip, tmp_path / "out", 4)
    assert len(first) == 4 and second and not {f.frame for f in first} & {f.frame for f in second}
    assert read_manifest(tmp_path / "out") == [*first, *second]
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert len(written) == len(first) + len(second)


def test_one_process_at_a_time_takes_frames_into_a_folder(clip, tmp_path):
    (tmp_path / "out").mkdir()
    with folder_lock(tmp_path / "out"), pytest.raises(FolderInUse, match="out is in use by"):
        take_frames(clip, tmp_path / "out", 2)
    assert list((tmp_path / "out").iterdir()) == []
    frames = take_frames(clip, tmp_path / "out", 2)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"frames.csv", *(each.image for each in frames)}


def test_uniform_spreads_over_the_video(tmp_path):
    clip = write_clip(tmp_path / "walk.avi", [(10 + 2 * i, 20 + i) for i in range(50)])
    frames = take_frames(clip, tmp_path / "out", 5, by="uniform")
    assert [round(frame.frame / 10 - 0.5) for frame in frames] == [0, 1, 2, 3, 4]


def test_uncertainty_takes_what_the_network_is_unsure_of(tmp_path, monkeypatch):
    from cpm_fast.labeling import frames as module

    clip = write_clip(tmp_path / "walk.avi", [(10 + 2 * i, 20 + i) for i in range(50)])

    class Found:
        def __init__(self, image):
            # The further right the spot, the lower the peak.
            self.scores = np.array([[1 - image[:, :, 2].argmax() % image.shape[1] / 200]])

        def __len__(self):
            return 1

    def infer(images, **_):
        assert all(image.name.startswith(f"{clip} frame ") for image in images)
        return [Found(image.read()) for image in images]

    monkeypatch.setattr(module, "infer", infer)
    frames = take_frames(clip, tmp_path / "out", 3, by="uncertainty", model=object())  # type: ignore[arg-type]
    assert len(frames) == 3 and min(frame.frame for frame in frames) > 25


def test_two_videos_of_one_name_are_told_apart(tmp_path):
    places = [(10 + 2 * i, 20) for i in range(20)]
    one, two = write_clip(tmp_path / "a" / "walk.avi", places), write_clip(tmp_path / "b" / "walk.avi", places)
    for clip in (one, two, one):
        take_frames(clip, tmp_path / "out", 2)
    stems = {(frame.video, frame.image.rpartition("-")[0]) for frame in read_manifest(tmp_path / "out")}
    assert stems == {("../a/walk.avi", "walk"), ("../b/walk.avi", "walk-v2")}


@pytest.mark.parametrize("seed", [-1, 2**31, 10**25, 0.5, True])
def test_a_seed_out_of_range_is_refused(seed, tmp_path):
    with pytest.raises(ValueError, match="seed must be a whole number from 0 to 2147483647, got"):
        take_frames(tmp_path / "none.mp4", tmp_path / "frames", 3, seed=seed)
    assert not (tmp_path / "frames").exists()


def test_slots_hold_everything_once():
    pictures = np.random.default_rng(0).integers(0, 256, (40, 24, 32), dtype=np.uint8)
    for slots in (kmeans_slots(pictures, 7, 0), uniform_slots(40, 7)):
        assert sorted(place for slot in slots for place in slot) == list(range(40)) and len(slots) == 7
    assert kmeans_slots(pictures, 7, 0) == kmeans_slots(pictures, 7, 0)


def test_duplicates_are_passed_over():
    pictures = np.stack([np.full((24, 32), level, np.uint8) for level in (10, 10, 11, 50)])
    assert choose_new(pictures, [[0], [1], [2], [3]], pictures[:0]) == [0, 3]
    assert choose_new(pictures, [[0, 3], [1]], pictures[:1]) == [3]


def test_command_names_what_it_wrote_and_what_failed(clip, tmp_path, capsys):
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    out = str(tmp_path / "out")
    assert main(["frames", str(clip), "-o", out, "--count", "2"]) == FINE
    assert "2 new frames" in capsys.readouterr().out
    assert main(["frames", str(broken), "-o", out]) == BAD_USE
    assert main(["frames", str(clip), str(broken), "-o", out]) == 1
    assert "broken.avi" in capsys.readouterr().err
    assert main(["frames", "-o", out]) == BAD_USE
    assert main(["frames", str(clip), "-o", out, "--count", "0"]) == BAD_USE
    assert main(["frames", str(clip), "-o", out, "--by", "uncertainty"]) == BAD_USE
    assert main(["frames", str(clip), "-o", out, "--model", "compact-drawn"]) == BAD_USE


def test_a_damaged_manifest_is_named(clip, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frames.csv").write_text("image,video\nx,y\n")
    with pytest.raises(ValueError, match=r"frames\.csv: not a table of frames"):
        take_frames(clip, tmp_path / "out", 2)
