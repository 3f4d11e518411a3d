"""The example with torchvision's detector, with a mock that returns results in torchvision's form."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "torchvision_detector.py"


def detector(images):
    """Return a person, a dog (label 18) and a person of a low score, in the picture's own pixels."""
    (image,) = images
    assert image.shape == (3, 40, 60) and image.dtype == torch.float32 and image[0].max() == 1 and image[2].max() == 0
    return [
        {
            "boxes": torch.tensor([[5.0, 5, 30, 35], [1, 1, 9, 9], [30, 5, 50, 35]]),
            "labels": torch.tensor([1, 18, 1]),
            "scores": torch.tensor([0.9, 0.95, 0.3]),
        }
    ]


def test_it_returns_people_with_scores():
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 255
    people = runpy.run_path(str(EXAMPLE))["as_find"](detector)(red)
    assert np.allclose(people, [[5, 5, 30, 35, 0.9], [30, 5, 50, 35, 0.3]])


def test_it_runs(tmp_path, monkeypatch, capsys):
    models, detection = ModuleType("torchvision.models"), ModuleType("torchvision.models.detection")
    models.detection = detection

    class Weights:
        DEFAULT = object()

    class Network(torch.nn.Module):
        def forward(self, images):
            return detector(images)

    detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights = Weights
    detection.fasterrcnn_mobilenet_v3_large_fpn = lambda weights: Network()
    for name, module in (("torchvision", ModuleType("torchvision")), ("torchvision.models", models)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", detection)
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "a.png"), red)
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(EXAMPLE))["main"](["a.png"]) == 0
    assert "1 people; wrote people.png" in capsys.readouterr().out and (tmp_path / "people.png").is_file()
