"""All inputs of cpm-fast infer: nested folders, stdin, several videos, addresses, COCO files."""

import functools
import http.server
import io
import json
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.config import compact
from cpm_fast.media.video_out import playable_suffix
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.results.result import Results
from cpm_fast.system.output_folder import MANIFEST
from support import clips

FRAMES = 5
DRAWN = f"_pose{playable_suffix()}"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Write a network, two videos of one name, and pictures in nested folders; use one thread."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(CPM(replace(compact(), input_size=(64, 64), stages=2)), tmp_path / "net.safetensors")
    for folder in ("a", "b", "in/day1/deep", "in/.hidden"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in "ab":
        clips.write_walk(tmp_path / folder / "cam.mp4", FRAMES / clips.RATE, size=(120, 160))
    for name in ("in/1.png", "in/day1/1.png", "in/day1/deep/2.png", "in/.hidden/3.png"):
        cv2.imwrite(name, np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def infer(*arguments: str) -> int:
    return main(["infer", *arguments, "--model", "net.safetensors", "--batch", "2"])


def written(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != MANIFEST}


def test_folders_within_folders(work, capsys):
    assert infer("in", "--no-pictures", "-o", "out") == FINE
    assert [result.name for result in Results.load("out/results.json")] == ["in/1.png"]
    assert infer("in", "-r", "-o", "all") == FINE
    names = ["in/1.png", "in/day1/1.png", "in/day1/deep/2.png"]
    assert [result.name for result in Results.load("all/results.json")] == names
    assert written(work / "all") == {"results.json", "1_pose.png", "1-2_pose.png", "2_pose.png"}


def test_a_folder_s_other_files_are_named(work, capsys):
    for name in ("x.dng", "film.mov", "notes.txt"):
        (work / "in" / name).write_bytes(b"nothing")
    (work / "in" / "1.png.bak").write_bytes((work / "in" / "1.png").read_bytes())
    (work / "in" / "2.pcx").write_bytes((work / "in" / "1.png").read_bytes())
    assert infer("in", "--no-pictures", "-o", "out") == FINE
    assert [result.name for result in Results.load("out/results.json")] == ["in/1.png", "in/2.pcx"]
    told = capsys.readouterr().err
    assert "in: 3 files are skipped, which are videos, unreadable kinds of pictures, or pictures with unknown" in told
    assert "suffixes: 1.png.bak, film.mov, x.dng" in told


def test_a_picture_comes_by_stdin(work, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((work / "in" / "1.png").read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert infer("-", "-o", "out") == FINE and written(work / "out") == {"results.json", "stdin_pose.png"}
    assert infer("in/1.png", "--no-pictures", "-o", "file") == FINE
    by_stdin, by_file = Results.load("out/results.json")[0], Results.load("file/results.json")[0]
    assert by_stdin.name == "stdin" and (by_stdin.keypoints == by_file.keypoints).all()


def test_several_videos_and_folders_of_them(work, capsys):
    assert infer("a/cam.mp4", "b/cam.mp4", "-o", "out") == FINE
    assert written(work / "out") == {"cam.csv", f"cam{DRAWN}", "cam-2.csv", f"cam-2{DRAWN}"}
    assert [len(Results.load(f"out/{name}.csv")) for name in ("cam", "cam-2")] == [FRAMES, FRAMES]
    assert Results.load("out/cam-2.csv")[0].name == "b/cam.mp4"
    (work / "a" / "bad.mp4").write_bytes(b"no video")
    assert infer("a", "--no-pictures", "-o", "folder") == BAD_RESULT
    assert "failed: a/bad.mp4: a/bad.mp4: not a video" in capsys.readouterr().err
    assert written(work / "folder") == {"cam.csv"}
    assert infer("a/cam.mp4", "in/1.png", "-o", "mixed") == BAD_USE
    assert "inputs must be pictures or videos, not both, got in/1.png and a/cam.mp4" in capsys.readouterr().err


def test_several_videos_go_on_where_they_were_stopped(work, monkeypatch, capsys):
    from cpm_fast.inference.video_table import VideoTable

    videos = ("a/cam.mp4", "b/cam.mp4", "--no-pictures", "-o", "out")
    with monkeypatch.context() as patch:
        real, calls = VideoTable.add, []

        def stopping(self, found):
            calls.append(None)
            if len(calls) > FRAMES + 2:
                raise KeyboardInterrupt
            return real(self, found)

        patch.setattr(VideoTable, "add", stopping)
        assert infer(*videos) == BAD_RESULT
    assert infer(*videos) == BAD_USE
    assert "holds an unfinished run" in capsys.readouterr().err
    assert infer(*videos, "--resume") == FINE
    told = capsys.readouterr().out
    assert "nothing to resume: out/cam.csv is complete" in told and "resuming: 2 frames are done" in told
    assert len(Results.load("out/cam-2.csv")) == FRAMES and written(work / "out") == {"cam.csv", "cam-2.csv"}


@pytest.mark.parametrize("form", ["json", "npz"])
def test_results_of_a_video_as_a_file(work, form):
    assert infer("a/cam.mp4", "--no-pictures", "--form", form, "-o", "out") == FINE
    table, other = Results.load("out/cam.csv"), Results.load(f"out/cam.{form}")
    assert [result.frame for result in other] == list(range(FRAMES)) and other[0].size == (120, 160)
    for a, b in zip(table, other, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        assert (a.seconds, a.rois, b.name) == (b.seconds, b.rois, "a/cam.mp4")


def test_results_of_a_video_for_other_programs(work):
    assert infer("a/cam.mp4", "--no-pictures", "--form", "openpose", "-o", "out") == FINE
    assert written(work / "out" / "cam_openpose") == {f"cam_{i:012}_keypoints.json" for i in range(FRAMES)}
    assert infer("a/cam.mp4", "--no-pictures", "--form", "coco", "-o", "out") == FINE
    entries = json.loads((work / "out" / "cam_coco.json").read_text())
    assert [(entry["image_id"], entry["file_name"]) for entry in entries] == [
        (i, f"cam.mp4 frame {i}") for i in range(FRAMES)
    ]


def test_a_video_of_a_server(work, capsys):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(work / "a"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/cam.mp4"
        try:
            code = infer(address, "--no-pictures", "-o", "out")
        finally:
            server.shutdown()
    assert code == FINE and written(work / "out") == {"cam.csv"}
    assert len(Results.load("out/cam.csv")) == FRAMES and Results.load("out/cam.csv")[0].name == address


def test_an_address_that_is_nobody_s_and_its_password(work, capsys):
    assert infer("rtsp://me:secret@127.0.0.1:9/live", "-o", "out") == BAD_RESULT
    told = capsys.readouterr().err
    assert "rtsp://127.0.0.1:9/live: can't be opened" in told and "secret" not in told
    assert infer("rtsp://127.0.0.1:9/live", "--resume", "-o", "out") == BAD_USE


def test_a_coco_file_names_the_pictures_and_its_ids_come_back(work, capsys):
    category = {"id": 4, "name": "cat", "keypoints": ["nose"], "skeleton": []}
    images = [{"id": 70, "file_name": "day1/1.png"}, {"id": 90, "file_name": "1.png"}]
    (work / "in" / "cats.json").write_text(json.dumps({"images": images, "annotations": [], "categories": [category]}))
    assert infer("in/cats.json", "--no-pictures", "--form", "coco", "-o", "out") == FINE
    entries = json.loads((work / "out" / "results_coco.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(70, 4), (90, 4)]
    # The same in Python, for pictures with other names.
    assert infer("in", "-r", "--no-pictures", "-o", "other") == FINE
    results = Results.load("other/results.json")
    results[:2].save("coco.json", form="coco", coco_file="in/cats.json")
    assert [entry["image_id"] for entry in json.loads((work / "coco.json").read_text())] == [90, 70]
    with pytest.raises(ValueError, match=r"deep/2.png: must be one of the 2 images of in/cats.json, got \[\]"):
        results.save("coco.json", form="coco", coco_file="in/cats.json")
    with pytest.raises(ValueError, match="coco_file is for the form 'coco'"):
        results.save("r.json", coco_file="in/cats.json")
    (work / "in" / "none.json").write_text("[1]")
    assert infer("in/none.json", "-o", "out") == BAD_USE
    assert "in/none.json: must hold lists images" in capsys.readouterr().err


def test_options_that_are_not_for_what_is_given(work, capsys):
    for arguments, told in (
        (("a/cam.mp4", "--stages"), "--stages is for pictures"),
        (("in/1.png", "--smooth"), "--smooth is for videos"),
        (("a/cam.mp4", "b/cam.mp4", "--box", "1", "2", "30", "40"), "--box must come with one picture or video"),
        (("in/1.png", "--min-score", "nan"), "--min-score must be a finite number"),
        (("in/1.png", "--max-pixels", "0"), "max_pixels must be a positive whole number"),
    ):
        assert infer(*arguments, "-o", "out") == BAD_USE and told in capsys.readouterr().err
    assert infer("in/1.png", "--max-pixels", "1999", "-o", "out") == BAD_USE
    assert "has 50 x 40 pixels, more than 1999; make it smaller, or allow it with" in capsys.readouterr().err
    assert infer("in/1.png", "--max-pixels", "2000", "--no-pictures", "-o", "out") == FINE


def test_patterns_that_no_shell_has_expanded(work, capsys):
    assert infer("in/*.png", "--no-pictures", "-o", "out") == FINE
    assert [result.name for result in Results.load("out/results.json")] == ["in/1.png"]
    assert infer("in/*.jpg", "-o", "none") == BAD_USE and "in/*.jpg: no file matches" in capsys.readouterr().err
    cv2.imwrite("in/[1].png", cv2.imread("in/1.png"))
    assert infer("in/[1].png", "--no-pictures", "-o", "brackets") == FINE
    assert [result.name for result in Results.load("brackets/results.json")] == ["in/[1].png"]


def test_what_is_hidden_in_a_folder_is_passed_over(work):
    (work / "in" / "._1.png").write_bytes(b"\0\5\x16\7 of macOS")
    assert infer("in", "--no-pictures", "-o", "out") == FINE
    assert [result.name for result in Results.load("out/results.json")] == ["in/1.png"]


def test_a_folder_is_no_file_of_weights(work, capsys):
    assert main(["infer", "in/1.png", "--model", ".", "-o", "out"]) == BAD_USE
    assert ".: neither a file nor one of the bundled weights" in (told := capsys.readouterr().err)
    assert told.endswith("; the folder holds net.safetensors\n")


def test_a_link_that_leads_nowhere_is_reported_and_the_rest_is_done(work, capsys):
    (work / "in" / "2.png").symlink_to("gone.png")
    assert infer("in", "--no-pictures", "-o", "out") == BAD_RESULT
    assert "failed: in/2.png: " in capsys.readouterr().err
    assert [result.name for result in Results.load("out/results.json")] == ["in/1.png"]


def test_other_mistakes_are_told_with_a_remedy(work, capsys):
    (work / "file").write_text("")
    (work / "net.pth").write_bytes(b"")
    for arguments, told in (
        (("in/1.png", "-o", "file"), "file: must be a folder to write to, got a file"),
        (("0", "-o", "out"), "0: no such image or folder; a camera is --camera 0"),
        (("in/1.png", "--box", "0.1", "0.1", "0.9", "1", "-o", "out"), "must be in pixels, got fractions"),
        (("in/1.png", "--model", "net.pth", "-o", "out"), "net.pth: must be a .safetensors file; cpm-fast import"),
    ):
        assert main(["infer", "--model", "net.safetensors", *arguments]) == BAD_USE
        assert told in capsys.readouterr().err


def test_another_video_of_the_same_name_has_files_of_its_own(work, capsys):
    assert infer("a/cam.mp4", "--no-pictures", "-o", "out") == FINE
    table = (work / "out" / "cam.csv").read_bytes()
    for _ in range(2):
        assert infer("b/cam.mp4", "--no-pictures", "-o", "out") == FINE
        assert "wrote out/cam-2.csv" in capsys.readouterr().out
        assert written(work / "out") == {"cam.csv", "cam-2.csv"}
    assert (work / "out" / "cam.csv").read_bytes() == table
    assert Results.load("out/cam-2.csv")[0].name == "b/cam.mp4"
    assert infer("b/cam.mp4", "a/cam.mp4", "-o", "out") == FINE
    assert written(work / "out") == {"cam.csv", "cam-2.csv", f"cam{DRAWN}", f"cam-2{DRAWN}"}
    assert (work / "out" / "cam.csv").read_bytes() == table
