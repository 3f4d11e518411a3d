"""The digest of a network and the stamp of an input decide which unfinished work may be resumed."""

import os
from dataclasses import replace

import pytest
import torch

from cpm_fast.inference.unfinished import SAMPLE, fingerprint, input_stamp
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import LSP
from support.small_network import TINY

OTHERS = {
    "margin": replace(TINY, margin=TINY.margin + 0.25),
    "order of colors": replace(TINY, color="rgb" if TINY.color == "bgr" else "bgr"),
    "cell offset": replace(TINY, cell_offset=TINY.cell_offset + 1),
    "names of parts": replace(TINY, skeleton=replace(LSP, names=(*LSP.names[:-1], "hat"), pairs=(), limbs=())),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_the_same_weights_in_another_network_are_another_one(other):
    model, changed = CPM(TINY), CPM(other)
    changed.load_state_dict(model.state_dict())
    assert fingerprint(changed) != fingerprint(model)


def test_the_same_weights_and_config_are_the_same():
    model, again = CPM(TINY), CPM(TINY)
    again.load_state_dict(model.state_dict())
    assert fingerprint(again) == fingerprint(model)
    with torch.no_grad():
        next(again.parameters()).add_(1e-3)
    assert fingerprint(again) != fingerprint(model)


def test_names_of_tensors_are_part_of_it():
    model, renamed = CPM(TINY), CPM(TINY)
    renamed.load_state_dict(model.state_dict())
    model.register_buffer("left", torch.ones(1))
    renamed.register_buffer("right", torch.ones(1))
    assert fingerprint(renamed) != fingerprint(model)


@pytest.mark.parametrize("size", [40, SAMPLE + 2, 5 * SAMPLE])
@pytest.mark.parametrize("changed", [0, 1 / 2, 1], ids=["first byte", "middle byte", "last byte"])
def test_a_picture_of_the_same_size_and_time_has_another_stamp(tmp_path, size, changed):
    path = tmp_path / "picture.bmp"

    def write(content: bytes) -> None:
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))

    content = bytearray(os.urandom(size))
    write(content)
    before = input_stamp(path)
    write(content)
    assert input_stamp(path) == before
    content[round(changed * (size - 1))] ^= 1
    write(content)
    assert input_stamp(path)[:3] == before[:3] and input_stamp(path) != before


def test_a_pipe_is_not_waited_for_and_an_unreadable_file_has_a_stamp(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    assert input_stamp(tmp_path / "pipe")[1] == 0
    (tmp_path / "video.mp4").write_bytes(b"frames")

    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("builtins.open", denied)
    assert input_stamp(tmp_path / "video.mp4")[1] == 6
