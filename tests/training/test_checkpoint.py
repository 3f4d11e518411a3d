"""Checkpoints: all of a run's state, bit for bit; an error names every other file."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.model.tensor_file import FORMAT, read_tensors
from cpm_fast.recipes import RECIPES
from cpm_fast.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from cpm_fast.training.optimization import make_optimizer
from support.small_network import TINY

PROGRESS = Progress(step=7, best_score=0.1 + 0.2, best_step=5, unlogged=((1.1, 2.3e-7), (0.1, 3.0)))
BOTH = pytest.mark.parametrize("recipe", ["paper", "modern"])


def start(recipe: str, seed: int = 0, network=TINY):
    torch.manual_seed(seed)
    model = CPM(network).to(memory_format=torch.channels_last)
    return model, make_optimizer(model, RECIPES[recipe])


def step(model: CPM, optimizer: torch.optim.Optimizer, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(torch.randn(buffer.shape, generator=random))
    optimizer.step()


@pytest.fixture
def saved(tmp_path):
    model, optimizer = start("modern")
    step(model, optimizer, 1)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, model, optimizer, PROGRESS)
    return path


def assert_same_state(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert json.loads(json.dumps(left["param_groups"])) == json.loads(json.dumps(right["param_groups"]))
    assert left["state"].keys() == right["state"].keys()
    for number, values in left["state"].items():
        assert values.keys() == right["state"][number].keys()
        for key, value in values.items():
            assert torch.equal(value, right["state"][number][key]), f"{number}.{key}"


@BOTH
def test_round_trip_is_exact(tmp_path, recipe):
    model, optimizer = start(recipe)
    step(model, optimizer, 1)
    step(model, optimizer, 2)
    save_checkpoint(tmp_path / "last.safetensors", model, optimizer, PROGRESS)
    other, its_optimizer = start(recipe, seed=99)
    assert load_checkpoint(tmp_path / "last.safetensors", other, its_optimizer) == PROGRESS
    step(model, optimizer, 3)
    step(other, its_optimizer, 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert_same_state(optimizer, its_optimizer)


@BOTH
def test_before_the_first_step_there_is_no_optimizer_state(tmp_path, recipe):
    model, optimizer = start(recipe)
    save_checkpoint(tmp_path / "last.safetensors", model, optimizer, Progress())
    other, its_optimizer = start(recipe, seed=99)
    assert load_checkpoint(tmp_path / "last.safetensors", other, its_optimizer) == Progress()
    assert_same_state(optimizer, its_optimizer)


@pytest.mark.parametrize("left", [0, 1, 7, 8, 100, 0.5, 0.99, -1], ids=lambda left: f"{left} left")
def test_a_file_cut_short_is_named(saved, left):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
    with pytest.raises(ValueError, match=r"last.safetensors: not a .safetensors file that can be read"):
        load_checkpoint(saved, *start("modern"))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"last.safetensors: no such file"):
        load_checkpoint(tmp_path / "last.safetensors", *start("modern"))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path, *start("modern"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"PK\x03\x04 a zip", pickle.dumps({"a": 1})],
    ids=["empty", "zeros", "a zip", "a pickle"],
)
def test_not_a_safetensors_file(tmp_path, content):
    (tmp_path / "last.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"last.safetensors: not a .safetensors file"):
        load_checkpoint(tmp_path / "last.safetensors", *start("modern"))


def test_weights_alone_are_no_checkpoint(tmp_path):
    model, optimizer = start("modern")
    save_model(model, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors: must hold the metadata .*checkpoint"):
        load_checkpoint(tmp_path / "weights.safetensors", model, optimizer)


def test_a_checkpoint_of_another_network(saved):
    with pytest.raises(ValueError, match=r"last.safetensors: the checkpoint is of another network"):
        load_checkpoint(saved, *start("modern", network=replace(TINY, stages=3)))


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPES["paper"],
        replace(RECIPES["paper"], stage1_factor=1.0, bias_factor=1.0),
        replace(RECIPES["modern"], stage1_factor=2.0),
    ],
    ids=["paper", "another optimizer with as many groups", "another count of groups"],
)
def test_a_checkpoint_of_another_recipe(saved, recipe):
    model, _ = start("modern")
    with pytest.raises(ValueError, match=r"last.safetensors: the checkpoint does not fit the run's recipe"):
        load_checkpoint(saved, model, make_optimizer(model, recipe))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("network", None),
        ("network", "[]"),
        ("network", "{"),
        ("optimizer", None),
        ("optimizer", "[]"),
        ("optimizer", '{"groups": []}'),
        ("checkpoint", "{"),
        ("checkpoint", '{"steps": 3}'),
        ("checkpoint", "7"),
    ],
    ids=str,
)
def test_metadata_that_is_not_ours(saved, key, text):
    tensors, metadata = read_tensors(saved, "checkpoint")
    changed = {name: value for name, value in {**metadata, key: text}.items() if value is not None}
    save_file(tensors, saved, changed)
    with pytest.raises(ValueError, match=r"last.safetensors"):
        load_checkpoint(saved, *start("modern"))


def test_a_tensor_that_is_missing_is_named(saved):
    tensors, metadata = read_tensors(saved, "checkpoint")
    del tensors["model.convs.stage1_beliefs.bias"]
    save_file(tensors, saved, metadata)
    with pytest.raises(ValueError, match=r"last.safetensors: .*convs.stage1_beliefs.bias is missing"):
        load_checkpoint(saved, *start("modern"))


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    unpickling = [(pickle, name) for name in ("dump", "dumps", "load", "loads")]
    for owner, name in [*unpickling, (torch, "save"), (torch, "load")]:
        monkeypatch.setattr(owner, name, refuse)
    model, optimizer = start("paper")
    step(model, optimizer, 1)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, model, optimizer, PROGRESS)
    load_checkpoint(path, model, optimizer)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert header["__metadata__"]["format"] == FORMAT
    assert path.stat().st_size == 8 + length + max(
        entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry
    )


def test_a_failed_write_leaves_the_old_checkpoint(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    model, optimizer = start("modern", seed=5)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(saved, model, optimizer, Progress(step=8))
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == ["last.safetensors"]
