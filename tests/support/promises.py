"""Promises of the documentation: the files and output of each command on its pages.

A command that is missing here fails tests/docs/test_commands.py. `*` in a written path stands for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """Files that a command creates or changes, and patterns that its output matches."""

    writes: tuple[str, ...] = ()
    prints: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)


def located(out: str, *pictures: str, file: str = "results.json", stages: bool = False) -> Promise:
    """Return the promise of key points in one file, and a picture with the pose of each picture."""
    kinds = ("pose", "stages") if stages else ("pose",)
    drawn = tuple(f"{out}/{name}_{kind}.png" for name in pictures for kind in kinds)
    count = rf"{len(pictures)} pictures, \d+ subjects"
    # A file in a subfolder is printed by the subfolder's name.
    return Promise((f"{out}/{file}", *drawn), (count, rf"wrote {re.escape(out)}/{re.escape(file.split('/')[0])}"))


def tracked(out: str, name: str) -> Promise:
    """Return the promise of a table and a video of poses."""
    return Promise((f"{out}/{name}.csv", f"{out}/{name}_pose.*"), (r"5 frames", rf"wrote {out}/{name}\.csv"))


def trained(run: str, held_out: int, *more: str) -> Promise:
    """Return the promise of a run folder."""
    names = ("batch0.png", "best.safetensors", "config.json", "curves.png", "final.safetensors", "metrics.jsonl", *more)
    return Promise(
        tuple(f"{run}/{name}" for name in names),
        (rf"{held_out} held out", r"PCK@0\.2", rf"wrote {run}/final\.safetensors"),
    )


def checked(out: str, *names: str) -> Promise:
    """Return the promise of a report on labels, and pictures of examples."""
    prints = tuple(rf"(?m)^{re.sub('-[0-9]+$', '', name)}: \d+ samples" for name in names)
    return Promise((f"{out}/check.json", *(f"{out}/{name}-examples.png" for name in names)), prints)


def scored(samples: int, out: str | None = None, *, predictions: bool = True) -> Promise:
    """Return the promise of a table of scores, and of a report if there is a folder."""
    names = ("eval.json", "pck.png", "report.html", *(("predictions.csv",) if predictions else ()))
    files = tuple(f"{out}/{name}" for name in names) if out else ()
    return Promise(files, (r"stage 1", rf"counted: {samples} samples"))


INSTALLED = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e "
MICE = "cpm-fast train --data mice.csv --hold-out 2 --epochs 1"
BOX = "--box 120 40 310 520"
ANIMAL_FROM_ABOVE = "--rotate 180 --epochs 100 --validate-every 20"
VGG = "--init vgg19.pth --recipe paper-vgg --epochs 1 --data synthetic:8 --hold-out 4"

RUN: dict[str, Promise] = {
    # Pictures
    "cpm-fast infer photo.jpg -o out/": located("out", "photo"),
    f"cpm-fast infer photo.jpg {BOX} -o out/": located("out", "photo"),
    f"cpm-fast infer photo.jpg {BOX} --stages -o out/": located("out", "photo", stages=True),
    f"cpm-fast infer photo.jpg {BOX} --stages -o out/boxed": located("out/boxed", "photo", stages=True),
    f"cpm-fast infer photo.jpg {BOX} --pyramid 0.8 1.0 1.2 --flip -o out/pyramid": located("out/pyramid", "photo"),
    f"cpm-fast infer photo.jpg {BOX} --pyramid 0.8 1.0 1.2 --stages -o out/look":
        located("out/look", "photo", stages=True),
    "cpm-fast infer group.jpg --box 10 40 150 420 --box 160 60 300 430 -o out/group":
        Promise(("out/group/results.json", "out/group/group_pose.png"), (r"1 pictures, 2 subjects",)),
    "cpm-fast train --find --data mice.csv --hold-out 2 --epochs 1 -o runs/finder": Promise(
        ("runs/finder/best.safetensors", "runs/finder/final.safetensors"),
        (r"2 held out", r"recall [\d.]+ %, [\d.]+ false per picture", r"wrote runs/finder/final\.safetensors"),
    ),
    "python examples/small_animal.py --pictures 60 --frames 100 -o animal": Promise(
        ("animal/labels.csv", "animal/skeleton.toml", "animal/animal.mp4", "animal/pictures/011.jpg"),
        (r"wrote animal/labels\.csv, animal/animal\.mp4",)
    ),
    f"cpm-fast train --find --data animal/labels.csv --hold-out 10 --init compact-lsp {ANIMAL_FROM_ABOVE} "
    "-o runs/animal-finder": Promise(
        ("runs/animal-finder/best.safetensors",), (r"2 to train on, 10 held out", r"recall [\d.]+ %")
    ),
    f"cpm-fast train --data animal/labels.csv --hold-out 10 {ANIMAL_FROM_ABOVE} -o runs/animal":
        trained("runs/animal", 10),
    "cpm-fast infer animal/animal.mp4 --model runs/animal/final.safetensors "
    "--finder runs/animal-finder/best.safetensors -o out/animal": tracked("out/animal", "animal"),
    "cpm-fast infer group.jpg --finder runs/finder/best.safetensors -o out/by-finder": Promise(
        ("out/by-finder/results.json",), (r"1 pictures, \d+ subjects",)
    ),
    "cpm-fast infer group.jpg --model cpm_vgg.safetensors --finder person.safetensors -o out/released": Promise(
        ("out/released/results.json",), (r"1 pictures, 0 subjects",)
    ),
    "cpm-fast infer folder --boxes detections.json --min-find-score 0.5 -o out/boxes": Promise(
        ("out/boxes/results.json", "out/boxes/1_pose.png"), (r"2 pictures, 2 subjects", "wrote out/boxes/results.json")
    ),
    "cpm-fast eval --data lsp/ --last 2 --find --finder finder.safetensors -o out/finding": Promise(
        ("out/finding/find.json",), (r"recall +0\.0 +0\.0", "true regions", "wrote out/finding/find.json")
    ),
    "cpm-fast infer folder --boxes boxes.csv -o out/boxes-csv": Promise(
        ("out/boxes-csv/results.json",), (r"2 pictures, 2 subjects", "wrote out/boxes-csv/results.json")
    ),
    "cpm-fast infer group.jpg -o out/found": Promise(("out/found/results.json",), (r"1 pictures, \d+ subjects",)),
    "cpm-fast infer group.jpg --find search -o out/searched": Promise(
        ("out/searched/results.json",), (r"1 pictures, \d+ subjects",)
    ),
    "cpm-fast infer group.jpg --find whole -o out/whole": located("out/whole", "group"),
    "cpm-fast infer folder/ --form csv -o out/folder": located("out/folder", "1", "2", file="results.csv"),
    "cpm-fast infer folder/ --form csv -o out/table": located("out/table", "1", "2", file="results.csv"),
    "cpm-fast infer folder/ -o out/json": located("out/json", "1", "2"),
    "cpm-fast infer folder/ --form csv -o out/csv": located("out/csv", "1", "2", file="results.csv"),
    "cpm-fast infer folder/ --form npz -o out/npz": located("out/npz", "1", "2", file="results.npz"),
    "cpm-fast infer folder/ --form coco -o out/coco": located("out/coco", "1", "2", file="results_coco.json"),
    "cpm-fast infer folder/ --form openpose -o out/openpose":
        located("out/openpose", "1", "2", file="openpose/1_keypoints.json"),
    "cpm-fast infer folder/ --no-pictures -o out/": Promise(("out/results.json",), (r"2 pictures, \d+ subjects",)),
    "cpm-fast infer folder/ --no-pictures -o out/ --resume": Promise((), (r"out/results\.json",)),
    "cpm-fast infer photo.jpg --model cpm_vgg.safetensors": located("runs/infer", "photo"),
    "cpm-fast infer more/ --model runs/mice/final.safetensors --form csv -o out/":
        located("out", "3", file="results.csv"),
    "cpm-fast infer more/ --model runs/mice/final.safetensors --form csv -o out/mice":
        located("out/mice", "3", file="results.csv"),
    "cpm-fast infer more/ --model runs/mouse/final.safetensors --form csv -o out/":
        located("out", "3", file="results.csv"),
    # Videos
    "cpm-fast infer walk.mp4 -o out/": tracked("out", "walk"),
    "cpm-fast infer walk.mp4 --finder finder.safetensors -o out/several": tracked("out/several", "walk"),
    "cpm-fast infer walk.mp4 -o out/video": tracked("out/video", "walk"),
    "cpm-fast infer walk.mp4 --smooth -o out/video": tracked("out/video", "walk"),
    "cpm-fast infer walk.mp4 --box 120 30 200 150 --smooth -o out/smooth": tracked("out/smooth", "walk"),
    "cpm-fast infer walk.mp4 --smooth -o out/smooth --resume":
        Promise((), (r"nothing to resume: out/smooth/walk\.csv",)),
    "cpm-fast infer walk.mp4 --model runs/mouse/final.safetensors -o out/": tracked("out", "walk"),
    "cpm-fast infer --camera 0 --frames 100 -o out/camera": tracked("out/camera", "camera0"),
    # Labels and training
    "cpm-fast data check mice.csv -o runs/check": checked("runs/check", "mice"),
    "cpm-fast data check mouse/ -o runs/check": checked("runs/check", "mouse"),
    "cpm-fast data check fly/flies.h5 -o runs/check": checked("runs/check", "flies"),
    "cpm-fast data check mouse/ fly/flies.h5 cats/cats.json -o runs/check":
        checked("runs/check", "mouse-1", "flies-2", "cats-3"),
    f"{MICE} -o runs/mice": trained("runs/mice", 2),
    f"{MICE} --init compact-lsp --average 0.999 --color 0.2 --occlude 0.3 -o runs/better":
        trained("runs/better", 2, "start.txt"),
    f"{MICE} --init runs/mice/final.safetensors --width 1.5 --stages 4 -o runs/wider":
        trained("runs/wider", 2, "start.txt"),
    "cpm-fast train --resume runs/mice": Promise(("runs/mice/final.safetensors",), (r"wrote runs/mice/final",)),
    "cpm-fast train --data cats/cats.json --hold-out 1 --epochs 1 -o runs/cats": trained("runs/cats", 1),
    "cpm-fast train --data synthetic:64 --hold-out 16 --epochs 1 -o runs/drawn": trained("runs/drawn", 16),
    "cpm-fast train --data synthetic:10400 --hold-out 400 --epochs 1 --scale 0.9 1.1 --rotate 5 -o runs/hurry":
        trained("runs/hurry", 4),
    "cpm-fast train --data mouse/ --hold-out 18 -o runs/mouse":
        trained("runs/mouse", 18, "start.txt"),
    "cpm-fast train --data fly/flies.h5 --hold-out 20 --scale 0.9 1.1 --rotate 180 -o runs/fly":
        trained("runs/fly", 20, "start.txt"),
    f"cpm-fast train --preset vgg {VGG} -o runs/vgg": trained("runs/vgg", 4, "start.txt"),
    # Labeling
    "cpm-fast project new walkers --skeleton lsp --videos ../walk.mp4":
        Promise(("walkers/project.toml", "walkers/frames/skeleton.toml"), (r"cpm-fast frames --project walkers",)),
    "cpm-fast frames --project walkers --count 20":
        Promise(("walkers/frames/frames.csv",), (r"\d+ new frames",)),
    "cpm-fast project show walkers": Promise((), (r"project   walkers", r"next      cpm-fast label")),
    "cpm-fast data convert mouse/ -o mouse-labels":
        Promise(("mouse-labels/labels.csv",), (r"24 pictures, 24 subjects", r"cpm-fast label mouse-labels")),
    "cpm-fast data convert mouse-labels --to deeplabcut --scorer me -o mouse-again":
        Promise(("mouse-again/labeled-data/labeled-data/CollectedData_me.csv",), (r"wrote mouse-again",)),
    "cpm-fast data convert mouse-labels --to coco -o mouse.json": Promise(("mouse.json",), (r"wrote mouse\.json",)),
    # Scores
    "cpm-fast eval --data mice.csv --last 2 --model runs/mice/final.safetensors": scored(2),
    "cpm-fast eval --data mice.csv --last 2 --model runs/mice/final.safetensors -o runs/mice/eval":
        scored(2, "runs/mice/eval"),
    "cpm-fast eval --data synthetic:40": scored(40),
    "cpm-fast eval --data synthetic:40 --reference neck:head_top --threshold 0.5": scored(40),
    "cpm-fast eval --data synthetic:40 --reference pixel --threshold 5": scored(40),
    "cpm-fast eval --data lsp/ --last 2 --model compact-lsp -o out/eval": scored(2, "out/eval"),
    "cpm-fast eval --data lsp/ --predictions LSP_prediction.mat -o out/theirs":
        scored(4, "out/theirs", predictions=False),
    "cpm-fast eval --data lsp/ --last 2 --predictions out/eval/predictions.csv": scored(2),
    "python examples/held_out.py --data mouse/ --hold-out 18 --model runs/mouse/final.safetensors "
    "-o runs/mouse/held-out":
        Promise(("runs/mouse/held-out/held-out.json", "runs/mouse/held-out/held-out.png"),
                (r"6 samples to learn from, 18 held out", r"nearest neighbor", r"network, stage 1")),
    "python examples/held_out.py --data fly/flies.h5 --hold-out 20 --model runs/fly/final.safetensors "
    "-o runs/fly/held-out":
        Promise(("runs/fly/held-out/held-out.json", "runs/fly/held-out/held-out.png"),
                (r"4 samples to learn from, 20 held out", r"nearest neighbor", r"network, stage 1")),
    # Weights
    "cpm-fast import pose_iter_320000.caffemodel -o cpm_vgg.safetensors":
        Promise(("cpm_vgg.safetensors",), (r"conv1_1", r"wrote cpm_vgg\.safetensors")),
    "cpm-fast import pose_iter_70000.caffemodel -o person.safetensors":
        Promise(("person.safetensors",), (r"conv6_1_CPM", r"centers of subjects", r"wrote person\.safetensors")),
    "cpm-fast import cpm_mpii_368x368.pth -o cpm_mmpose.safetensors":
        Promise(("cpm_mmpose.safetensors",), (r"16 parts", r"wrote cpm_mmpose\.safetensors")),
    "cpm-fast export compact-lsp -o pose.onnx": Promise(("pose.onnx",), (r"equals PyTorch", r"wrote pose\.onnx")),
    "cpm-fast export compact-lsp -o pose.onnx --decode": Promise(("pose.onnx",), (r"key points within",)),
    "cpm-fast export compact-lsp -o pose.pt2 --decode": Promise(("pose.pt2",), (r"key points within",)),
    "cpm-fast doctor": Promise((), (r"torch +ok",), codes=(0, 1)),
}  # fmt: skip

# Commands that take hours, several machines, large data or a GPU: the options are parsed, nothing runs.
PARSED = (
    r"python benchmarks/.*",
    r"torchrun .*",
    r"cpm-fast train .*--data lspet --hold-out 500 .*",
    r"cpm-fast eval --data (mpii|annotations|lsp-all)/.*",
    r"cpm-fast train --preset cpm6 --recipe paper .*",
    # tests/labeling/test_tutorial.py labels like a person, and runs these in between.
    r"cpm-fast (label|train|suggest) --project .*",
)
# .ci/run or .ci/nightly runs these word for word.
CONTINUOUS = (
    rf"{re.escape(INSTALLED)}.*",
    r"pip install .*",
    r"(pytest|ruff|mypy|cmake|mkdocs|bash).*",
)
# The same command with fewer steps.
SMALLER = {
    "--epochs 100": "--epochs 2",
    "--hold-out 18 -o": "--hold-out 18 --epochs 2 -o",
    "--pictures 60 --frames 100": "--pictures 12 --frames 5",
    "synthetic:10400 --hold-out 400": "synthetic:8 --hold-out 4",
}
