"""A folder with stand-ins for the files that the pages name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cpm_fast import weights
from cpm_fast.commands import train as command
from cpm_fast.config import PRESETS, Conv
from cpm_fast.media import video
from support.stand_ins import TINY, TINY_PERSON, TINY_VGG, write_all


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Work in a folder of stand-ins: the default weights are tiny, and a camera plays a video."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_all(tmp_path)
    tiny = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(weights, "DEFAULT", str(tiny))
    monkeypatch.setattr(command, "weights_file", lambda name: Path(name) if Path(name).is_file() else tiny)
    read, clip = video.cv2.VideoCapture, str(tmp_path / "walk.mp4")
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: read(clip if source == 0 else source))
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def small_presets(monkeypatch):
    """Make the networks that commands train small."""
    monkeypatch.setitem(PRESETS, "compact", TINY)
    monkeypatch.setitem(PRESETS, "vgg", TINY_VGG)
    monkeypatch.setitem(PRESETS, "person", TINY_PERSON)
    small = ((Conv(3, 4),),) * 3
    tiny_finder = replace(PRESETS["finder"], trunk=small, tail=(), first=(Conv(3, 8),), refine=(Conv(3, 4),))
    monkeypatch.setitem(PRESETS, "finder", tiny_finder)
