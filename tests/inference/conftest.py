"""A small network, a picture, and a folder of pictures."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import compact
from cpm_fast.model.cpm import CPM

CONFIG = dataclasses.replace(compact(), input_size=(64, 64), stages=2)


@pytest.fixture(scope="module")
def model() -> CPM:
    torch.manual_seed(0)
    return CPM(CONFIG).eval()


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, picture):
    for name in ("b.png", "a.png", "c.PNG"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "sub" / "d.png"), picture)
    return tmp_path
