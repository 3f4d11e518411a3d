"""Weights by name and path, and their devices."""

import os

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast import weights
from cpm_fast.model.cpm import CPM
from support.small_network import TINY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Set up a package with one bundled network, "tiny"."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    folder.mkdir()
    CPM(TINY).save(folder / "tiny.safetensors")
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_by_path(folder, kind):
    model = cpm_fast.load(kind(folder / "tiny.safetensors"), device="cpu")
    assert model.config == TINY and not model.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_by_name(folder, monkeypatch):
    assert weights.bundled() == ["tiny"]
    monkeypatch.chdir(folder.parent)
    by_name, by_path = cpm_fast.load("tiny"), cpm_fast.load(folder / "tiny.safetensors")
    for name, tensor in by_path.state_dict().items():
        assert torch.equal(tensor, by_name.state_dict()[name])


def test_a_named_network_is_read_once_a_process(folder, monkeypatch):
    read = []
    real = weights.load_model
    monkeypatch.setattr(weights, "load_model", lambda path: (read.append(path), real(path))[1])
    image = np.zeros((40, 40, 3), np.uint8)
    with torch.inference_mode():
        first = cpm_fast.infer(image, model="tiny", device="cpu")[0]
    for name in ("tiny", folder / "tiny.safetensors"):
        again = cpm_fast.infer(image, model=name, device="cpu")[0]
        np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert len(read) == 1 and weights.shared_network("tiny", device="cpu") is weights.shared_network(
        "tiny", device="cpu"
    )
    assert cpm_fast.load("tiny", device="cpu") is not cpm_fast.load("tiny", device="cpu")
    torch.manual_seed(1)
    CPM(TINY).save(folder / "tiny.safetensors")
    other = cpm_fast.infer(image, model="tiny", device="cpu")[0]
    assert len(read) == 4 and (other.scores != first.scores).any()


def test_a_file_with_another_s_size_and_time_is_read(folder):
    """As after `cp -p` or unpacking an archive whose files all have one time."""
    path = folder / "tiny.safetensors"
    first = weights.shared_network(path, device="cpu")
    before = path.stat()
    CPM(TINY).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert weights.shared_network(path, device="cpu") is not first


@pytest.mark.parametrize("name", ["compact-large", "no/such/file.safetensors", "", ".", "../weights/tiny"])
def test_neither_a_file_nor_a_name(folder, name):
    with pytest.raises(FileNotFoundError, match=r"neither a file nor one of the bundled weights \['tiny'\]"):
        cpm_fast.load(name)


def test_a_file_that_is_no_network(folder):
    (folder / "notes.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match=r"notes.safetensors: not a .safetensors file"):
        cpm_fast.load(folder / "notes.safetensors")


@pytest.mark.parametrize("name", weights.bundled() or [pytest.param("", marks=pytest.mark.skip("no bundled weights"))])
def test_what_is_bundled_loads_is_small_and_has_a_card(name):
    path = weights.FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 8 * 2**20 and path.with_suffix(".md").is_file()
    model = cpm_fast.load(name, device="cpu")
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "xpu", "meta"])
def test_a_device_that_is_none(device):
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, .* got"):
        weights.find_device(device)


def test_cuda_must_be_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert weights.find_device("auto").type == weights.find_device("cpu").type == "cpu"
    with pytest.raises(RuntimeError, match="cuda"):
        weights.find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert weights.find_device("auto").type == weights.find_device("cuda:1").type == "cuda"
