"""The census of damaged pictures: its ways of damage, its outcomes and its file."""

import json

import numpy as np
import pytest

from benchmarks.checks import damaged_pictures as census
from cpm_fast.media.image import decode_image


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_damage_of_every_way_and_its_outcomes(kind, tmp_path, capsys):
    """A PNG has sums everywhere, a bitmap none: its pixels are wrong where they are damaged, and only there."""
    out = tmp_path / "found.json"
    assert census.main(["--files", "8", "--kinds", kind, "--out", str(out)]) == 0
    counts = json.loads(out.read_text())["counts"][kind]
    assert list(counts) == list(census.WAYS)
    assert all(sum(count.values()) == 2 for count in counts.values())
    assert counts["cut"] == {census.REFUSED: 2}
    assert counts["bytes"] == ({census.REFUSED: 2} if kind == "png" else {census.HARMLESS: 2})
    assert kind in capsys.readouterr().out


def test_wrong_in_silence_is_counted_as_such():
    data = census.encoded("bmp")
    whole = decode_image(data, "whole")
    changed = bytearray(data)
    changed[-6000:] = bytes(255 - byte for byte in changed[-6000:])
    assert census.outcome(data, whole) == census.HARMLESS
    assert census.outcome(bytes(changed), whole) == census.SILENT
    assert census.outcome(data, np.zeros((3, 3, 3), np.uint8)) == census.SILENT
