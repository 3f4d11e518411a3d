"""Small stand-ins for the files that commands of the documentation name: pictures, videos, labels, weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import Conv, mmpose, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.model.layers import network_layers
from cpm_fast.skeleton import MPII
from cpm_fast.weights.importers.caffe_layouts import person_names, vgg_names
from cpm_fast.weights.importers.mmpose import NORM, PREFIX, mmpose_names
from support import caffe_file, clips, small_network
from support.pages import blocks

TINY = replace(small_network.TINY, stages=1)
TINY_VGG = replace(preset("vgg"), input_size=(32, 32), stages=1, first=(Conv(1, 4),))
TINY_PERSON = replace(
    preset("person"),
    stages=2,
    trunk=((Conv(3, 4),) * 2, (Conv(3, 4),) * 2, (Conv(3, 4),) * 4),
    tail=(Conv(3, 4),) * 6,
    first=(Conv(1, 4),),
    refine=(*(Conv(3, 4),) * 5, Conv(1, 4)),
)
PICTURES = {
    "photo.jpg": (560, 400),
    "group.jpg": (500, 480),
    "folder/1.png": (60, 50),
    "folder/2.png": (60, 50),
    "more/3.png": (60, 50),
    "mouse1.png": (220, 230),
    "mouse2.png": (130, 140),
    "mouse3.png": (200, 210),
    "mouse4.png": (120, 140),
    "a.jpg": (560, 400),
    "b.jpg": (60, 50),
}
# Index of each convolution in torchvision's VGG-19, its output and its input channels, as far as the trunk goes.
VGG_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512)
VGG_LAYERS = tuple(zip((0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23), VGG_CHANNELS[1:], VGG_CHANNELS, strict=False))


def write_all(folder: Path) -> None:
    """Write every stand-in into a folder, which must be the working directory."""
    random = np.random.default_rng(0)
    for name, size in PICTURES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), random.integers(0, 256, (*size, 3), dtype=np.uint8))
    clips.write_walk(folder / "walk.mp4", 0.2)
    (folder / "mice.csv").write_text(blocks("docs/own-data.md", "csv")[0] + "\n")
    (folder / "skeleton.toml").write_text(blocks("docs/own-data.md", "toml")[0])
    write_boxes(folder)
    write_finders(folder)
    write_animals(folder)
    write_lsp(folder)
    write_vgg(folder)
    torch.manual_seed(0)
    for name in ("tiny.safetensors", "cpm_vgg.safetensors"):
        save_model(CPM(TINY), folder / name)


def write_finders(folder: Path) -> None:
    """Write finders, ours and the released one, that find nobody."""
    small = ((Conv(3, 4),),) * 3
    tiny = replace(preset("finder"), trunk=small, tail=(), first=(Conv(3, 8),), refine=(Conv(3, 4),), find_score=0.5)
    for name, config in (("finder", tiny), ("person", TINY_PERSON)):
        model = CPM(config)
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        save_model(model, folder / f"{name}.safetensors")


def write_boxes(folder: Path) -> None:
    """Write boxes of the pictures folder/1.png and folder/2.png, by a detector and as a table."""
    found = [
        {"image_id": i, "category_id": 1, "bbox": [5, 5, 30, 40], "score": score} for i, score in ((1, 0.9), (2, 0.8))
    ]
    (folder / "detections.json").write_text(json.dumps([*found, {**found[0], "score": 0.2}]))
    rows = ["image,left,top,right,bottom", *(f"folder/{i}.png,5,5,35,45" for i in (1, 2))]
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def write_animals(folder: Path) -> None:
    """Write a mouse as DeepLabCut does, a fly as DeepPoseKit, a cat as COCO: a bright spot between two others."""
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
    content = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [cat, {**cat, "id": 2}],
        "categories": [{"keypoints": ["a", "b"]}],
    }
    (folder / "cats" / "cats.json").write_text(json.dumps(content))
    cv2.imwrite(str(folder / "cats" / "0.png"), frames[0])
    h5py = pytest.importorskip("h5py", reason='HDF5 needs pip install -e ".[data]"')
    with h5py.File(folder / "fly" / "flies.h5", "w") as file:
        file["images"], file["annotations"] = np.array(frames)[..., None], points
        file["skeleton"] = np.array([[-1, 2], [0, -1], [1, 0]])


def write_lsp(folder: Path) -> None:
    """Write four pictures as LSP stores them, and predictions of them as the authors' release does."""
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
    """Write the convolutions of torchvision's VGG-19 as far as the trunk goes, all zeros."""
    weights = {f"features.{at}.weight": torch.zeros(widths, channels, 3, 3) for at, widths, channels in VGG_LAYERS}
    biases = {f"features.{at}.bias": torch.zeros(widths) for at, widths, _ in VGG_LAYERS}
    torch.save(weights | biases, folder / "vgg19.pth")


def write_imports(folder: Path) -> None:
    """Write networks of one stage in the layouts of Caffe and mmpose, under the names that the page gives them."""
    random = np.random.default_rng(2)

    def values(*shape: int) -> np.ndarray:
        return (0.05 * random.standard_normal(shape)).astype(np.float32)

    for stem, config, names in (
        ("pose_iter_320000", TINY_VGG, vgg_names(TINY_VGG)),
        ("pose_iter_70000", TINY_PERSON, person_names(TINY_PERSON)),
    ):
        blobs = {}
        for layer in network_layers(config):
            if layer.kind == "conv":
                weight = values(layer.channels, layer.in_channels, layer.kernel, layer.kernel)
                blobs[names[layer.name]] = [weight, values(layer.channels)]
        (folder / f"{stem}.caffemodel").write_bytes(caffe_file.net(blobs))
    network = replace(mmpose(MPII), stages=1)
    sources, tensors = mmpose_names(network), {}
    for layer in network_layers(network):
        if layer.kind == "conv":
            source = f"{PREFIX}{sources[layer.name]}"
            weight = values(layer.channels, layer.in_channels, layer.kernel, layer.kernel)
            tensors[f"{source}.conv.weight"] = torch.from_numpy(weight)
            if layer.norm:
                tensors |= {f"{source}.bn.{key}": torch.ones(layer.channels) for key in NORM}
            else:
                tensors[f"{source}.conv.bias"] = torch.zeros(layer.channels)
    torch.save({"state_dict": tensors}, folder / "cpm_mpii_368x368.pth")
