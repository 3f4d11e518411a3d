"""Names that are not UTF-8, as old cameras and zip files make them: commands work, or refuse before they write."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.config import compact
from cpm_fast.labeling import server
from cpm_fast.labeling.frames import read_manifest
from cpm_fast.media.video_out import write_video
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model, save_model
from cpm_fast.results.result import Results

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
STRANGE = os.fsdecode(b"\xff")
TINY = replace(compact(), input_size=(32, 32), stages=1)
RUN = '{"network": {}, "training": {"epochs": 1}, "data": [], "hold_out": []}'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a network, a video and labeled pictures, all of strange names, in a folder of a strange name."""
    folder = tmp_path_factory.mktemp("names") / f"folder{STRANGE}"
    for name in ("pictures", f"run{STRANGE}"):
        (folder / name).mkdir(parents=True)
    torch.manual_seed(0)
    save_model(CPM(TINY), folder / f"network{STRANGE}.safetensors")
    for seed, name in enumerate(("a", STRANGE)):
        picture = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        (folder / "pictures" / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    with write_video(folder / f"clip{STRANGE}.avi", 25, (48, 64)) as clip:
        for seed in range(8):
            clip.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    points = ",".join(f"{3 + 2 * part},{4 + part}" for part in range(len(CPM(TINY).skeleton)))
    columns = ",".join(f"{part}_x,{part}_y" for part in CPM(TINY).skeleton.names)
    (folder / "pictures" / f"labels{STRANGE}.csv").write_text(f"image,{columns}\na.png,{points}\n")
    (folder / f"run{STRANGE}" / "config.json").write_text(RUN)
    (folder / f"run{STRANGE}" / "metrics.jsonl").write_text("")
    return folder


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """Enter a copy of the folder."""
    shutil.copytree(made, tmp_path / STRANGE)
    monkeypatch.chdir(tmp_path / STRANGE)
    return tmp_path / STRANGE


NETWORK, CLIP, LABELS = f"network{STRANGE}.safetensors", f"clip{STRANGE}.avi", f"pictures/labels{STRANGE}.csv"
OUT = f"out{STRANGE}"
COMMANDS = {
    "infer": (["infer", "pictures", "--model", NETWORK, "-o", OUT], "results.json"),
    "infer one": (["infer", f"pictures/{STRANGE}.png", "--model", NETWORK, "--form", "csv", "-o", OUT], "results.csv"),
    "infer quietly": (["infer", "pictures", "--model", NETWORK, "--no-pictures", "-o", OUT, "-q"], "results.json"),
    "infer a video": (["infer", CLIP, "--model", NETWORK, "--frames", "2", "-o", OUT], "clip_ff.csv"),
    "frames": (["frames", CLIP, "--count", "2", "-o", OUT], "frames.csv"),
    "frames by doubt": (
        ["frames", CLIP, "--count", "1", "--by", "uncertainty", "--model", NETWORK, "-o", OUT],
        "frames.csv",
    ),
    "suggest": (["suggest", "pictures", "--model", NETWORK, "--count", "1", "-o", OUT], "suggestions.csv"),
    "data check": (["data", "check", LABELS, "-o", OUT], "check.json"),
    "data convert": (["data", "convert", LABELS, "-o", OUT], "labels.csv"),
    "eval": (["eval", "--model", NETWORK, "--data", LABELS, "-o", OUT], "report.html"),
    "compare": (["compare", f"run{STRANGE}", f"run{STRANGE}", "-o", OUT], "compare.png"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_work(name, work, capsys):
    """Each ends well, and the names of its files are text."""
    command, result = COMMANDS[name]
    assert main(command) == FINE, capsys.readouterr().err
    assert (work / OUT / result).is_file()
    assert [path for path in (work / OUT).rglob("*") if STRANGE in path.name] == []
    assert sys.stdout.errors == "strict"
    told = capsys.readouterr()
    assert "Traceback" not in told.err and (OUT.encode("ascii", "backslashreplace").decode() in told.out) == (
        "-q" not in command
    )


def test_both_pictures_are_in_the_results(work):
    assert main(["infer", "pictures", "--model", NETWORK, "--no-pictures", "-o", "out"]) == FINE
    assert [Path(result.name).name for result in Results.load("out/results.json")] == ["a.png", r"\xff.png"]


def test_failures_are_named(work):
    (work / "pictures" / f"bad{STRANGE}.png").write_bytes(b"bad")
    (work / "pictures" / f"lost{STRANGE}.png").symlink_to("nowhere")
    assert main(["infer", "pictures", "--model", NETWORK, "--no-pictures", "-o", "out"]) == BAD_RESULT
    failures = Path("out/failures.txt").read_text(encoding="utf-8")
    assert r"bad\xff.png" in failures and r"lost\xff.png" in failures


def test_a_second_call_takes_other_frames(work):
    for count in (2, 4):
        assert main(["frames", CLIP, "--count", "2", "-o", "out"]) == FINE
        found = read_manifest(Path("out"))
        assert len({frame.frame for frame in found}) == count and {frame.video for frame in found} == {"../clip_ff.avi"}


def test_suggest_and_label_leave_such_pictures_out(work, monkeypatch, capsys):
    pages = []
    monkeypatch.setattr(server, "serve", lambda store, *_: pages.append(store.overview()))
    assert main(["label", ".", "--model", NETWORK]) == FINE
    assert "1 pictures have names that are not UTF-8; rename them" in capsys.readouterr().err
    assert pages[0]["folder"] == "_ff" and pages[0]["pictures"] == ["pictures/a.png"]


def test_a_project_names_its_videos_in_text(work, capsys):
    assert main(["project", "new", OUT, "--skeleton", "lsp", "--videos", CLIP]) == BAD_USE
    assert r"videos must have names in UTF-8, got clip\xff.avi" in capsys.readouterr().err and not Path(OUT).exists()
    assert main(["project", "new", OUT, "--skeleton", "lsp"]) == FINE
    assert main(["project", "show", OUT]) == FINE
    assert "out_ff" in capsys.readouterr().out


def test_networks_are_read_by_any_name(work):
    assert load_model(NETWORK).config == TINY
    with pytest.raises(ValueError, match="not a .safetensors file that can be read"):
        Path(f"bad{STRANGE}.safetensors").write_bytes(b"bad")
        load_model(f"bad{STRANGE}.safetensors")
