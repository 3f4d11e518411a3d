"""Every command of the pages in docs/ does what it says, on small stand-ins for what it names."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast import weights
from cpm_fast.cli import FINE, main, make_parser
from cpm_fast.commands import train as command
from cpm_fast.config import PRESETS, Conv, preset
from cpm_fast.media import video
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.roi import Roi
from cpm_fast.weights.exporters.exporting import export_model
from support import clips

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
TINY = replace(
    preset("compact"), input_size=(64, 64), stages=1, trunk=((Conv(3, 4),),) * 3, tail=(), features=(Conv(1, 4),),
    first=(Conv(3, 4),), refine=(Conv(3, 4),),
)  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


def commands(page: str) -> list[list[str]]:
    lines = (line for block in blocks(page, "sh") for line in block.splitlines() if line.strip())
    return [shlex.split(line.replace("--epochs 100", "--epochs 2")) for line in lines]


def write_animals(folder: Path) -> None:
    """A mouse in DeepLabCut's layout, a fly in DeepPoseKit's, a cat in COCO's: a bright spot between two others."""
    random = np.random.default_rng(1)
    frames, labels = [], ["scorer" + 6 * ",me", "bodyparts,a,a,b,b,c,c", "coords" + 3 * ",x,y"]
    points = random.uniform(8, 40, (24, 1, 2)) + np.array([[-6, 0], [0, 0], [6, 0]])
    for name in ("mouse/labeled-data", "fly", "cats"):
        (folder / name).mkdir(parents=True)
    for number, frame in enumerate(points):
        picture = np.zeros((48, 48), np.uint8)
        cv2.circle(picture, tuple(int(value) for value in frame[1]), 4, 255, cv2.FILLED)
        frames.append(picture)
        cv2.imwrite(str(folder / "mouse" / "labeled-data" / f"{number}.png"), picture)
        labels.append(f"labeled-data/{number}.png," + ",".join(f"{value:.2f}" for value in frame.ravel()))
    (folder / "mouse" / "CollectedData.csv").write_text("\n".join(labels) + "\n")
    cat = {"id": 1, "image_id": 1, "keypoints": [*points[0, 0], 2, *points[0, 1], 1], "bbox": [0, 0, 40, 40]}
    content = {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [cat, {**cat, "id": 2}],
               "categories": [{"keypoints": ["a", "b"]}]}  # fmt: skip
    (folder / "cats" / "cats.json").write_text(json.dumps(content))
    cv2.imwrite(str(folder / "cats" / "0.png"), frames[0])
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    with h5py.File(folder / "fly" / "flies.h5", "w") as file:
        file["images"], file["annotations"] = np.array(frames)[..., None], points
        file["skeleton"] = np.array([[-1, 2], [0, -1], [1, 0]])


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """What the pages name, small: pictures, a video, a camera, a table of mice, and a tiny network."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    for name, size in (("photo.jpg", (560, 400)), ("group.jpg", (500, 480)), ("folder/1.png", (60, 50)),
                       ("folder/2.png", (60, 50)), ("more/3.png", (60, 50)), ("mouse1.png", (220, 230)),
                       ("mouse2.png", (130, 140)), ("a.jpg", (560, 400)), ("b.jpg", (60, 50))):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(name, random.integers(0, 256, (*size, 3), dtype=np.uint8))
    clips.write_walk(tmp_path / "walk.mp4", 0.2)
    rows = blocks("own-data.md", "csv")[0].splitlines()
    (tmp_path / "mice.csv").write_text("\n".join([rows[0], *rows[1:] * 5]) + "\n")
    (tmp_path / "skeleton.toml").write_text(blocks("own-data.md", "toml")[0])
    write_animals(tmp_path)
    save_model(CPM(TINY), tmp_path / "tiny.safetensors")
    monkeypatch.setattr(weights, "DEFAULT", str(tmp_path / "tiny.safetensors"))
    tiny = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(command, "weights_file", lambda name: Path(name) if Path(name).is_file() else tiny)
    monkeypatch.setitem(PRESETS, "compact", TINY)
    small = replace(preset("vgg"), input_size=(32, 32), stages=1, tail=preset("vgg").tail[:3], first=(Conv(1, 4),))
    monkeypatch.setitem(PRESETS, "vgg", small)
    read = video.cv2.VideoCapture
    clip = str(tmp_path / "walk.mp4")
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: read(clip if source == 0 else source))
    yield tmp_path
    torch.set_num_threads(threads)


# Verbs that are only parsed here: what they need is written and tried by tests of their own.
PARSED = ("doctor", "import")


def write_lsp(folder: Path) -> None:
    """Four pictures as LSP stores them, and predictions of them as the authors' release does."""
    savemat = pytest.importorskip("scipy.io", reason='reading .mat needs pip install -e ".[data]"').savemat
    random = np.random.default_rng(0)
    (folder / "lsp" / "images").mkdir(parents=True)
    for number in range(1, 5):
        picture = random.integers(0, 256, (120, 90, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "lsp" / "images" / f"im{number:04d}.jpg"), picture)
    joints = np.concatenate([random.uniform(20, 80, (2, 14, 4)), np.zeros((1, 14, 4))])
    savemat(folder / "lsp" / "joints.mat", {"joints": joints})
    savemat(folder / "LSP_prediction.mat", {"prediction_all": joints[:2].transpose(1, 0, 2)})


def write_vgg(folder: Path) -> None:
    """The convolutions of torchvision's VGG-19 as far as the trunk goes, of no value."""
    shapes = {at: (widths, channels, 3, 3) for at, widths, channels in (
        (0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128), (12, 256, 256), (14, 256, 256),
        (16, 256, 256), (19, 512, 256), (21, 512, 512), (23, 512, 512))}  # fmt: skip
    weights_of = {f"features.{at}.weight": torch.zeros(shape) for at, shape in shapes.items()}
    torch.save(weights_of | {f"features.{at}.bias": torch.zeros(shape[0]) for at, shape in shapes.items()},
               folder / "vgg19.pth")  # fmt: skip


def write_what_only(page: str) -> None:
    """Stand-ins that one page needs, and a skip where a package is missing."""
    if page == "evaluation.md":
        write_lsp(Path())
    if page == "weights.md":
        write_vgg(Path())
        for name in ("onnxscript", "onnxruntime"):
            pytest.importorskip(name, reason='ONNX needs pip install -e ".[export]"')


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of(page, stand_ins, capsys):
    write_what_only(page)
    save_model(CPM(TINY), "cpm_vgg.safetensors")
    for line in commands(page):
        if line[0] == "torchrun":
            module = line.index("-m")
            assert line[module : module + 2] == ["-m", "cpm_fast"]
            make_parser().parse_args(line[module + 2 :])
        elif line[0] == "python":
            runpy.run_path(str(DOCS.parent / line[1]))["main"](line[2:])
        elif line[1] in PARSED:
            make_parser().parse_args(line[1:])
        else:
            assert line[0] == "cpm-fast" and main(line[1:]) == FINE, (line, capsys.readouterr().err)


@pytest.mark.slow
def test_the_commands_for_several_processes(stand_ins):
    """Those on one machine, run as they stand with a tiny network."""
    local = [line for line in commands("running-at-scale.md") if "--standalone" in line]
    assert len(local) == 2
    for line in local:
        launch = [sys.executable, "-m", "torch.distributed.run", *line[1:], "--model", "tiny.safetensors"]
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        found = subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False, env=alone)
        assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of(page, stand_ins):
    write_what_only(page)
    if page == "weights.md":
        export_model(CPM(TINY), "pose.onnx")
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {"cpm_fast": cpm_fast, "Roi": Roi, "crops": np.zeros((1, 3, 64, 64), "f4")})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / target).exists(), target


def test_error_texts_are_those_of_the_package():
    """Each fixed piece of a quoted message stands in the source."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS.parent / "cpm_fast").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = re.findall(r"\*\*(.+?)\*\*", (DOCS / "troubleshooting.md").read_text(encoding="utf-8").replace("\n", " "))
    assert len(quoted) > 15
    for text in quoted:
        for piece in text.split("..."):
            piece = re.sub(r"'cuda'", "{device!r}", piece.strip())
            assert piece in source, piece
