"""A network's digest decides which unfinished work may be resumed."""

from dataclasses import replace

import pytest
import torch

from cpm_fast.inference.unfinished import fingerprint
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
