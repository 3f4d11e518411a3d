"""The mean of several networks' weights."""

from dataclasses import replace

import pytest
import torch

import cpm_fast
from benchmarks.studies import mean_weights
from cpm_fast.config import preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.tensor_file import write_network

TINY = replace(preset("compact"), input_size=(64, 64), stages=1)


@pytest.fixture
def files(tmp_path):
    """Write two networks of the same layers, and return their files."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        write_network(CPM(TINY).state_dict(), TINY, tmp_path / f"{seed}.safetensors")
    return [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]


def test_every_number_is_the_mean(files, tmp_path):
    out = tmp_path / "new" / "mean.safetensors"
    assert mean_weights.main([*map(str, files), "--out", str(out)]) == 0
    first, second, mean = (cpm_fast.load(path).state_dict() for path in (*files, out))
    assert first.keys() == mean.keys() and any((first[name] != second[name]).any() for name in first)
    for name, value in mean.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2 if value.is_floating_point() else value)


def test_networks_that_differ_are_refused(files, tmp_path):
    other = replace(TINY, stages=2)
    write_network(CPM(other).state_dict(), other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="must be of the network of"):
        mean_weights.main([str(files[0]), str(tmp_path / "other.safetensors"), "--out", str(tmp_path / "mean")])
