"""Foreign weight files: those read, those refused, and that no code in them runs."""

import io
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cpm_fast.weights.importers.state_dict import read_state_dict

# PyTorch warns of pickles in other protocols than its own before it reads or refuses them.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


def same(found) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before torch 1.6"])
@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        OrderedDict(WEIGHTS),
        {"meta": {"epoch": 3, "time": "then"}, "state_dict": WEIGHTS, "optimizer": {"lr": 0.1}},
        {"model": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}},
        {**WEIGHTS, "note": "not a tensor", 7: torch.zeros(1)},
    ],
    ids=["plain", "ordered", "checkpoint", "parallel", "with others"],
)
def test_state_dicts(tmp_path, content, zipped):
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(tmp_path / "weights.pth"))


def test_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    assert same(read_state_dict(tmp_path / "weights.safetensors"))


class History:
    """A mock of a class of the package that wrote a checkpoint."""


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file was run')",)


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before torch 1.6"])
@pytest.mark.parametrize("extra", [History(), Trap()], ids=["a class", "a trap"])
def test_objects_beside_the_weights_are_refused_with_a_way_out(tmp_path, extra, zipped):
    path = tmp_path / "epoch_210.pth"
    torch.save({"state_dict": WEIGHTS, "meta": extra}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"epoch_210.pth") as refusal:
        read_state_dict(path)
    assert ("exec" if isinstance(extra, Trap) else "History") in str(refusal.value)
    assert "python -c" in str(refusal.value) and "epoch_210-weights.pth" in str(refusal.value)


def test_the_way_out_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "meta": History()}, "epoch_210.pth")
    with pytest.raises(ValueError) as refusal:
        read_state_dict("epoch_210.pth")
    exec(str(refusal.value).split('python -c "')[1].rstrip('"'))
    assert same(read_state_dict("epoch_210-weights.pth"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a state_dict, got list"),
        (torch.zeros(3), "must hold a state_dict, got Tensor"),
        ({"state_dict": {}}, "must hold a state_dict, got no tensor by name"),
        ({"epoch": 3}, "must hold a state_dict, got no tensor by name"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "w must be a plain tensor"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "w must be a plain tensor"),
        ({"w": torch.zeros(2, device="meta")}, "w must be a plain tensor"),
    ],
    ids=["a list", "a tensor", "nothing inside", "no tensor", "sparse", "complex", "meta"],
)
def test_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth: {message}"):
        read_state_dict(tmp_path / "other.pth")


def test_an_archive_made_to_fill_memory(tmp_path):
    torch.save(WEIGHTS, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
        bomb.writestr("archive/data/9", bytes(10**7))
    with pytest.raises(ValueError, match=r"bomb.pth: .*its archive is compressed"):
        read_state_dict(tmp_path / "bomb.pth")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.pth: no such file"):
        read_state_dict(tmp_path / "none.pth")


def saved(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": WEIGHTS, "meta": {"epoch": 3}}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


VALID = {suffix: data for suffix, data in (("zip.pth", saved(True)), ("legacy.pth", saved(False)))}


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_end_in_an_error_that_names_them(tmp_path_factory, data):
    """Random bytes, truncations and flipped bits: read or refused, never a crash."""
    name = data.draw(st.sampled_from([*VALID, "random.pth", "random.safetensors"]))
    content = bytearray(VALID.get(name) or data.draw(st.binary(max_size=200)))
    if name in VALID:
        content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        for bit in data.draw(st.lists(st.integers(0, max(8 * len(content) - 1, 0)), max_size=3)):
            if content:
                content[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    try:
        found = read_state_dict(path)
    except ValueError as error:
        assert name in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_run_nothing(tmp_path, protocol):
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(ValueError, match=r"trap.pth: ") as refusal:
        read_state_dict(tmp_path / "trap.pth")
    assert "can still be loaded" not in str(refusal.value), "PyTorch's advice to read it unsafely"
