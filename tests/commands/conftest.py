"""A folder in which commands can run inference."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import compact
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from support import clips


@pytest.fixture
def work(tmp_path, monkeypatch, one_thread):
    """Make a folder with a network, 12 pictures of which one is bad, and a video of 20 frames; use one thread."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(CPM(replace(compact(), input_size=(64, 64), stages=2)), tmp_path / "net.safetensors")
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for i in range(11):
        cv2.imwrite(str(tmp_path / "in" / f"{i:02}.png"), random.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    (tmp_path / "in" / "05-bad.png").write_bytes(b"no picture")
    clips.write_walk(tmp_path / "walk.mp4", 0.8)
    return tmp_path
