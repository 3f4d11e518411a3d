"""The video with the poses drawn in, with a legend beside it if the parts are not a person's."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import BAD_RESULT, FINE, main
from cpm_fast.config import compact
from cpm_fast.inference.video_table import VideoTable
from cpm_fast.media.video_out import codec_for, playable_suffix
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.results.marks import legend, part_colors
from cpm_fast.skeleton import LSP, Skeleton
from support import clips

FRAMES, SIZE = 4, (120, 160)
BEETLE = Skeleton("beetle", ("head", "left wing", "tail"), (("head", "tail"),))
DRAWN = f"walk_pose{playable_suffix()}"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Write networks of a beetle and of a person, and a video."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for skeleton in (BEETLE, LSP):
        network = replace(compact(), input_size=(32, 32), stages=1, skeleton=skeleton)
        save_model(CPM(network), tmp_path / f"{skeleton.name}.safetensors")
    clips.write_walk(tmp_path / "walk.mp4", FRAMES / clips.RATE, size=SIZE)
    return tmp_path


def infer(*arguments: str) -> int:
    return main(["infer", "walk.mp4", *arguments])


def frames(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        fine, image = capture.read()
        if not fine:
            return found
        found.append(image)


def test_a_legend_stands_beside_every_frame_of_what_is_no_person(work, capfd):
    codec_for.cache_clear()
    assert infer("--model", "beetle.safetensors", "-o", "beetle") == FINE
    assert "OpenCV" not in capfd.readouterr().err
    assert infer("--model", "lsp.safetensors", "-o", "person") == FINE
    beetle, person = frames(work / "beetle" / DRAWN), frames(work / "person" / DRAWN)
    assert len(beetle) == len(person) == FRAMES and person[0].shape == (*SIZE, 3)
    wanted = legend(BEETLE, SIZE[0])
    # Codecs drop an odd last column.
    width = SIZE[1] + wanted.shape[1]
    for image in beetle:
        assert image.shape[0] == SIZE[0] and width - 1 <= image.shape[1] <= width
        beside = image[:, SIZE[1] :].astype(int)
        assert np.abs(beside - wanted[:, : beside.shape[1]]).mean() < 12
        # Each part's color; codecs blur them.
        distances = [np.abs(beside - color).max(axis=2).min() for color in part_colors(BEETLE)]
        assert max(distances) < 70, distances


def test_a_resumed_run_draws_the_same(work, monkeypatch):
    arguments = ("--model", "beetle.safetensors", "--details", "--min-score", "-9", "-o")
    assert infer(*arguments, "whole") == FINE
    with monkeypatch.context() as patch:
        real, calls = VideoTable.add, []

        def stopping(self, found):
            calls.append(None)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return real(self, found)

        patch.setattr(VideoTable, "add", stopping)
        assert infer(*arguments, "resumed") == BAD_RESULT
    assert infer(*arguments, "resumed", "--resume") == FINE
    for one, other in zip(frames(work / "whole" / DRAWN), frames(work / "resumed" / DRAWN), strict=True):
        assert (one == other).all()
