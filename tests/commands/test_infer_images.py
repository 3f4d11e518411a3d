"""cpm-fast infer, killed and resumed, or shared by several processes: the same results, no work done twice."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import cv2
import pytest

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.inference import images as inference
from cpm_fast.inference import unfinished
from cpm_fast.ops import backend
from cpm_fast.results.result import Results
from cpm_fast.system.locks import LOCK_FILE, folder_lock
from support.infer_runs import LABELED, PICTURES, WALK, same, shown, stop_after
from support.ports import free_port

pytestmark = pytest.mark.usefixtures("work")


def test_a_folder_goes_on_where_it_was_stopped(work, monkeypatch, capsys):
    assert main([*PICTURES, "-o", "whole"]) == BAD_RESULT
    capsys.readouterr()
    with monkeypatch.context() as patch:
        stop_after(patch, unfinished.Journal, "add", 7)
        assert main([*PICTURES, "-o", "out"]) == BAD_RESULT
    assert "with --resume to continue" in capsys.readouterr().err and not (work / "out" / "results.json").exists()
    # A kill cuts the last line short.
    with (work / "out" / ".unfinished" / "0-0.jsonl").open("ab") as journal:
        journal.write(b'{"name": "in/07.png", "si')
    assert main([*PICTURES, "-o", "out"]) == BAD_USE
    assert "out: holds an unfinished run; resume it with --resume" in capsys.readouterr().err
    assert main([*PICTURES, "-o", "out", "--resume", "--flip"]) == BAD_USE
    assert "other settings: flip False, not True" in capsys.readouterr().err
    assert main([*PICTURES, "-o", "out", "--resume", "--precision", "bf16"]) == BAD_USE
    assert "other settings: precision None, not bf16" in capsys.readouterr().err
    read = []
    real = inference.Source.picture
    monkeypatch.setattr(inference.Source, "picture", lambda self, *how: (read.append(self.name), real(self, *how))[1])
    assert main([*PICTURES, "-o", "out", "--resume"]) == BAD_RESULT
    # Seven lines: six results, and the bad picture, which is tried again.
    assert read == ["in/05-bad.png", *(f"in/{i:02}.png" for i in range(6, 11))]
    told = capsys.readouterr()
    assert "resuming: 6 of 12 pictures are done" in told.out and "failed: in/05-bad.png" in told.err
    same(Results.load("whole/results.json"), Results.load("out/results.json"))
    assert shown(work / "out") == {"failures.txt", "results.json"}
    assert main([*PICTURES, "-o", "out", "--resume"]) == FINE
    assert "nothing to resume" in capsys.readouterr().out


def test_a_damaged_journal_is_named(work, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_after(patch, unfinished.Journal, "add", 3)
        main([*PICTURES, "-o", "out"])
    path = work / "out" / ".unfinished" / "0-0.jsonl"
    whole = path.read_bytes()
    first = json.loads(whole.split(b"\n")[0])["name"]
    path.write_bytes(json.dumps({"name": first}).encode() + whole[whole.index(b"\n") :])
    assert main([*PICTURES, "-o", "out", "--resume"]) == BAD_USE
    assert f".unfinished: its entry for {first} is damaged: KeyError" in capsys.readouterr().err
    path.write_bytes(whole.replace(b"{", b"(", 1))
    assert main([*PICTURES, "-o", "out", "--resume"]) == BAD_USE
    assert "0-0.jsonl line 1: not a line of a journal" in capsys.readouterr().err
    (work / "out" / ".unfinished" / "settings.json").write_text("[")
    assert main([*PICTURES, "-o", "out", "--resume"]) == BAD_USE
    assert "settings.json: not the settings of a run" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "npz", "coco", "openpose"])
def test_the_form_asked_for(work, form):
    assert main([*PICTURES, "-o", "out", "--form", form]) == BAD_RESULT
    if form == "coco":
        assert len(json.loads((work / "out" / "results_coco.json").read_text())) == 11
    elif form == "openpose":
        assert len(list((work / "out" / "openpose").glob("*_keypoints.json"))) == 11
    else:
        assert len(Results.load(f"out/results.{form}")) == 11


def test_all_options_at_once(work, capsys, monkeypatch):
    monkeypatch.setenv("CPM_FAST_CACHE", str(work / "cache"))
    arguments = ("--pyramid", "0.9", "1", "--flip", "--batch", "3", "--device", "cpu", "--precision", "bf16")
    arguments += ("--model", "net.safetensors")
    options = ("--readers", "2", "--tune", "--stages", "--form", "npz", "-o", "out")
    assert main(["infer", "in/00.png", "in/01.png", *arguments, *options]) == FINE
    assert shown(work / "out") == {
        "results.npz",
        *(f"{stem}_{what}.png" for stem in ("00", "01") for what in ("pose", "stages")),
    }
    assert backend.native_missing("cpu") is not None or list((work / "cache").glob("tuning-*.json"))
    told = capsys.readouterr().out
    assert "2 pictures, 2 subjects" in told and "ms per picture: decode" in told and "pictures/s" in told
    assert main(["eval", "--data", "synthetic:6", "--last", "3", "--protocol", "lsp", *arguments, "-o", "eval"]) == FINE
    assert "counted: 3 samples" in capsys.readouterr().out and (work / "eval" / "pck.png").exists()


def launched(work, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    started = shlex.split(f"-m torch.distributed.run --standalone --nproc-per-node {processes} -m cpm_fast")
    command = [sys.executable, *started, *arguments]
    return subprocess.run(
        command,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_two_processes_share_a_folder_and_go_on(work, monkeypatch, capsys):
    """The second run continues the journal of a single process that was stopped."""
    main([*PICTURES, "-o", "whole"])
    stop_after(monkeypatch, unfinished.Journal, "add", 4)
    main([*PICTURES, "-o", "out"])
    found = launched(work, *PICTURES, "-o", "out", "--resume")
    assert "resuming: 4 of 12 pictures are done" in found.stdout, found.stderr
    assert found.stdout.count("11 pictures, 11 subjects") == 1
    same(Results.load("whole/results.json"), Results.load("out/results.json"))
    assert not (work / "out" / ".unfinished").exists()


@pytest.mark.slow
def test_two_processes_evaluate_as_one(work):
    arguments = ("eval", "--data", "synthetic:8", "--batch", "4", "--model", "net.safetensors")
    assert main([*arguments, "-o", "one"]) == FINE
    found = launched(work, *arguments, "-o", "two")
    assert found.returncode == 0 and found.stdout.count("PCK@0.2") == 1, found.stderr
    one, two = (json.loads((work / name / "eval.json").read_text()) for name in ("one", "two"))
    assert one == two


LABELS = "image,left_hip_x,left_hip_y,neck_x,neck_y\nin/00.png,9,9,20,30\n"
# The second process sees this in its own folder: other pictures of the same names, or another table of the same length.
OTHERS = {
    "pictures": (PICTURES, lambda other: (other / "in" / "00.png").write_bytes(b"another"), "the same pictures"),
    "labels": (
        ["eval", "--data", "labels.csv", "--model", "net.safetensors"],
        lambda other: (other / "labels.csv").write_text(LABELS.replace("9", "8")),
        "the same annotations",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "change", "message"), OTHERS.values(), ids=OTHERS)
def test_processes_that_see_other_files_of_the_same_names_are_refused(work, arguments, change, message):
    (work / "labels.csv").write_text(LABELS)
    other = work.parent / f"{work.name}-other"
    shutil.copytree(work, other)
    change(other)
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cpm_fast", *arguments, "-o", str(work / "out")],
            cwd=folder,
            env={**os.environ, **where, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate((work, other))
    ]
    for process in processes:
        errors = process.communicate(timeout=300)[1]
        assert process.returncode == BAD_USE and message in errors, errors


def test_processes_without_torchrun_are_refused(monkeypatch, capsys):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert main([*PICTURES, "-o", "out"]) == BAD_USE
    assert "start with torchrun" in capsys.readouterr().err
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    assert main([*WALK, "-o", "out"]) == BAD_USE
    assert "a video is followed by one process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--camera", "0"], "--camera must come alone"),
        (["walk.mp4", "in"], "inputs must be pictures or videos, not both"),
        (["in", "--smooth"], "--smooth is for videos"),
        (["in", "--frames", "3"], "--frames is for videos"),
        (["walk.mp4", "--stages"], "--stages is for pictures"),
        (["walk.mp4", "--frames", "-3"], "--frames must be at least 1"),
        (["--camera", "0", "--resume"], "--resume is for files"),
        (["none.mp4"], "none.mp4: no such image or folder"),
        (["walk.mp4", "--box", "900", "900", "950", "950"], "must touch the image"),
        (["in", "--readers", "-1"], "readers must be a whole number"),
        (["in", "--readers", "1025"], "readers must be a whole number from 0 to 1024, got 1025"),
        (["walk.mp4", "--frames", "9" * 25], f"--frames must be at least 1 and at most {sys.maxsize}"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_use(work, capsys, arguments, message):
    assert main(["infer", *arguments, "--model", "net.safetensors", "-o", "out"]) == BAD_USE
    assert message in capsys.readouterr().err and not (work / "out").exists()


def test_nothing_of_the_user_is_overwritten(work, capsys):
    for name, command in (
        ("walk.csv", [*WALK, "-o", "."]),
        (LABELED, [*WALK, "-o", "."]),
        ("results.json", [*PICTURES, "-o", "."]),
        ("failures.txt", [*PICTURES, "-o", "."]),
        ("in/00_pose.png", [*PICTURES[:-1], "-o", "in"]),
    ):
        (work / name).write_text("mine")
        assert main(command) == BAD_USE
        assert "exists, and cpm-fast did not write it" in capsys.readouterr().err
        assert (work / name).read_text() == "mine" and not (work / ".unfinished").exists()
        (work / name).unlink()


def test_a_second_run_passes_over_its_own_pictures_and_says_what_it_replaces(work, capsys):
    (work / "in" / "05-bad.png").unlink()
    command = [*PICTURES[:-1], "-o", "in"]
    assert main(command) == FINE
    assert "replaces" not in capsys.readouterr().err
    before = shown(work / "in")
    assert main(command) == FINE
    told = capsys.readouterr()
    assert "11 pictures, 11 subjects" in told.out and "in: replaces 12 files of an earlier run" in told.err
    assert shown(work / "in") == before
    (work / "in" / "results.json").write_text("corrected")
    assert main(command) == BAD_USE
    assert "was changed since" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == FINE


def test_two_processes_do_not_share_an_output_folder(work, capsys):
    (work / "out").mkdir()
    with folder_lock(work / "out"):
        for command in (PICTURES, WALK):
            assert main([*command, "-o", "out"]) == BAD_USE
            assert f"out is in use by this process ({os.getpid()})" in capsys.readouterr().err
        assert os.listdir(work / "out") == [LOCK_FILE]


@pytest.mark.parametrize("alike", [False, True], ids=["newer", "of the same size and time"])
def test_pictures_that_were_replaced_are_done_again(work, monkeypatch, capsys, alike):
    path, other = work / "in" / "01.bmp", cv2.imread(str(work / "in" / "09.png"))
    first = cv2.imread(str(path.with_suffix(".png")))
    path.with_suffix(".png").unlink()
    cv2.imwrite(str(path), first)
    before = path.stat()
    with monkeypatch.context() as patch:
        stop_after(patch, unfinished.Journal, "add", 5)
        main([*PICTURES, "-o", "out"])
    cv2.imwrite(str(path), cv2.resize(other, first.shape[1::-1]))
    if alike:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    assert main([*PICTURES, "-o", "out", "--resume"]) == BAD_RESULT
    shown_lines = capsys.readouterr()
    assert "resuming: 4 of 12" in shown_lines.out and "replaced since are done again" in shown_lines.err
    main([*PICTURES, "-o", "whole"])
    same(Results.load("whole/results.json"), Results.load("out/results.json"))


def test_drawn_pictures_of_one_run_are_drawn_alike(work, monkeypatch, capsys):
    """Those that are drawn stay as they are, so that a resumed run must draw the rest in the same way."""
    drawing = PICTURES[:-1]
    with monkeypatch.context() as patch:
        stop_after(patch, unfinished.Journal, "add", 2)
        assert main([*drawing, "-o", "out", "--min-score", "0.4"]) == BAD_RESULT
    for option, message in (
        (["--min-score", "0.1"], "min_score 0.4, not 0.1"),
        (["--details"], "details None, not True"),
    ):
        capsys.readouterr()
        assert main([*drawing, "-o", "out", "--resume", *option]) == BAD_USE
        assert message in capsys.readouterr().err


def test_leftovers_without_settings_belong_to_nobody(work):
    """A kill while the folder of a finished run is removed leaves files without settings."""
    (work / "out" / ".unfinished").mkdir(parents=True)
    entry = {"name": "in/00.png", "size": [40, 50], "roi_source": "whole image", "subjects": [], "input": None}
    (work / "out" / ".unfinished" / "0-0.jsonl").write_text(json.dumps(entry) + "\n")
    main([*PICTURES, "-o", "out"])
    assert len(Results.load("out/results.json")[0]) == 1


@pytest.mark.parametrize("name", ["a" * 247 + ".jpg", "\u4f60" * 75 + ".jpg", "caf\udce9.jpg", "=1+2.png"], ids=ascii)
def test_names_that_systems_allow(work, name):
    for path in (work / "in").iterdir():
        if path.name not in ("00.png", "01.png"):
            path.unlink()
    (work / "in" / "01.png").rename(work / "in" / name)
    for form in ("json", "csv", "npz"):
        assert main([*PICTURES[:-1], "--stages", "-o", f"out-{form}", "--form", form]) == FINE
        assert len(Results.load(f"out-{form}/results.{form}")) == 2
        assert len(list((work / f"out-{form}").glob("*_stages.png"))) == 2
