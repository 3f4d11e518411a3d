"""A network on disk: loading returns the saved network, and an error names every other file."""

import json
import re
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import fill, load_model, save_model
from cpm_fast.model.tensor_file import FORMAT, read_tensors
from cpm_fast.skeleton import Skeleton
from cpm_fast.training.checkpoint import Progress, save_checkpoint
from support.small_network import TINY_LAYERS

CAT = Skeleton(
    "cat",
    ("nose", "left_paw", "right_paw", "tip of tail"),
    limbs=(("nose", "tip of tail"),),
    pairs=(("left_paw", "right_paw"),),
)
FEW = {**TINY_LAYERS, "skeleton": CAT, "input_size": (64, 48), "stages": 2}
TINY = replace(preset("compact"), **FEW, tail=(Conv(1, 4),))
RELEASED = replace(preset("cpm6"), **FEW)
HALF_TOLERANCE = 2.0**-11  # rounding to float16, relative


def network(config: NetworkConfig = TINY, seed: int = 0) -> CPM:
    torch.manual_seed(seed)
    model = CPM(config)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2.0)
    return model


@pytest.fixture
def saved(tmp_path):
    save_model(network(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("config", [TINY, RELEASED], ids=["compact", "released"])
@pytest.mark.parametrize("save", [save_model, CPM.save], ids=["function", "method"])
def test_round_trip_is_exact(tmp_path, config, save):
    model = network(config).to(memory_format=torch.channels_last)
    save(model, tmp_path / "net.safetensors")
    found = load_model(tmp_path / "net.safetensors")
    assert found.config == config and found.skeleton == CAT
    assert not found.training and all(parameter.requires_grad for parameter in found.parameters())
    for name, tensor in model.state_dict().items():
        loaded = found.state_dict()[name]
        assert loaded.dtype == tensor.dtype and torch.equal(loaded, tensor), name
    crops = torch.randn(2, 3, 64, 48)
    for a, b in zip(model.eval()(crops), found(crops), strict=True):
        assert torch.equal(a, b)


def test_the_skeleton_survives(saved):
    found = load_model(saved).skeleton
    assert (found.name, found.names, found.limbs, found.pairs) == (CAT.name, CAT.names, CAT.limbs, CAT.pairs)
    assert found.mirror == (0, 2, 1, 3)


def test_half_precision_loads_as_fp32(tmp_path):
    model = network()
    save_model(model, tmp_path / "half.safetensors", torch.float16)
    stored = load_file(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    found = load_model(tmp_path / "half.safetensors")
    for name, tensor in model.state_dict().items():
        loaded = found.state_dict()[name]
        assert loaded.dtype == tensor.dtype, name
        torch.testing.assert_close(loaded.double(), tensor.double(), rtol=HALF_TOLERANCE, atol=1e-7)
    again = tmp_path / "again.safetensors"
    save_model(found, again, torch.float16)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in load_file(again).items())


@settings(max_examples=15)
@given(
    st.builds(
        replace,
        st.sampled_from([TINY, RELEASED]),
        stages=st.integers(1, 4),
        input_size=st.sampled_from([(8, 8), (64, 96), (368, 368)]),
        center_map=st.booleans(),
        background=st.booleans(),
        margin=st.floats(1, 2),
        dropout=st.floats(0, 0.9),
        pixel_mean=st.tuples(*[st.floats(0, 255)] * 3),
        color=st.sampled_from(["bgr", "rgb"]),
    )
)
def test_any_config_survives(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("any") / "net.safetensors"
    save_model(network(config), path)
    assert load_model(path).config == config


@pytest.mark.parametrize("name", ["net.pt", "net", "net.safetensors.bak"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"path must end in .safetensors"):
        save_model(network(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_cut_short(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"net.safetensors: not a .safetensors file that can be read"):
        load_model(saved)


@pytest.mark.parametrize("at", [0, 3, 7, 8, 9])
def test_a_header_that_is_damaged(saved, at):
    data = bytearray(saved.read_bytes())
    data[at] ^= 0xFF
    saved.write_bytes(data)
    with pytest.raises(ValueError, match=r"net.safetensors"):
        load_model(saved)


def test_the_checkpoint_of_a_training_is_told(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(tmp_path / "last.safetensors", model, optimizer, Progress())
    told = f"last.safetensors: is the checkpoint of a training, which `cpm-fast train --resume {tmp_path}` resumes;"
    with pytest.raises(ValueError, match=re.escape(told)):
        load_model(tmp_path / "last.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.safetensors: no such file"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": FORMAT}, {"network": "{}"}], ids=str)
def test_safetensors_of_others(tmp_path, metadata):
    save_file({"weight": torch.zeros(3)}, tmp_path / "theirs.safetensors", metadata)
    with pytest.raises(ValueError, match=r"theirs.safetensors: must hold the metadata format = cpm_fast/1 and network"):
        load_model(tmp_path / "theirs.safetensors")


def test_the_metadata_holds_config_skeleton_version_and_source(tmp_path):
    save_model(network(), tmp_path / "net.safetensors", about={"source": "theirs.caffemodel"})
    _, metadata = read_tensors(tmp_path / "net.safetensors", "network")
    values = json.loads(metadata["network"])
    assert metadata["format"] == "cpm_fast/1" and json.loads(metadata["about"]) == {"source": "theirs.caffemodel"}
    about_finders = {"kind", "finder", "judge", "find_score", "find_levels", "find_sizes", "side_map"}
    assert values.keys() == {field.name for field in fields(NetworkConfig)} - about_finders
    assert values["skeleton"] == CAT.to_dict()


def test_a_form_of_the_future_says_so(saved):
    tensors, metadata = read_tensors(saved, "network")
    save_file(tensors, saved, {**metadata, "format": "cpm_fast/2"})
    with pytest.raises(ValueError, match=r"net.safetensors: is of the form cpm_fast/2, and .* reads cpm_fast/1"):
        load_model(saved)


def change_config(path, **changed) -> None:
    tensors, metadata = read_tensors(path, "network")
    values = {**json.loads(metadata["network"]), **changed}
    save_file(tensors, path, {**metadata, "network": json.dumps(values)})


BROKEN_CONFIGS = {
    "unknown field": ({"wings": 2}, r"unknown fields \['wings'\]"),
    "a word for a number": ({"stages": "two"}, "can't be understood"),
    "no stage": ({"stages": 0}, "stages must be .*at least 1"),
    "odd size": ({"input_size": [60, 64]}, "input_size must be"),
    "one side": ({"input_size": 64}, "can't be understood"),
    "half a layer": ({"trunk": [[{"kernel": 3}]]}, "can't be understood"),
    "infinite": ({"features": [{"kernel": float("inf"), "channels": 4}]}, "can't be understood"),
    "even kernel": ({"features": [{"kernel": 4, "channels": 4}]}, "kernel must be odd"),
    "no names": ({"skeleton": {"name": "x"}}, "skeleton must have the keys"),
    "a word for a skeleton": ({"skeleton": "cat"}, "can't be understood|skeleton must"),
    "unknown norm": ({"norm": "layer"}, "norm must be"),
}


@pytest.mark.parametrize(("changed", "message"), BROKEN_CONFIGS.values(), ids=BROKEN_CONFIGS)
def test_a_config_that_is_none(saved, changed, message):
    change_config(saved, **changed)
    with pytest.raises(ValueError, match=f"net.safetensors: its network .*({message})"):
        load_model(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"cpm6"'])
def test_a_config_that_is_no_table(saved, text):
    tensors, metadata = read_tensors(saved, "network")
    save_file(tensors, saved, {**metadata, "network": text})
    with pytest.raises(ValueError, match=r"net.safetensors: its network can't be understood"):
        load_model(saved)


OTHER_NETWORKS = {
    "a stage more": ({"stages": 3}, "convs.stage3_features1.weight is missing"),
    "a stage less": ({"stages": 1}, "convs.stage2_.* is unknown"),
    "more channels": ({"first": [{"kernel": 3, "channels": 8}]}, r"stage1_conv1.bias must be \[8\], got \[4\]"),
    "no normalization": ({"norm": "none"}, "norm.bias is unknown"),
    "wide": ({"features": [{"kernel": 1, "channels": 32768}]}, r"must be \[4, 32768, 3, 3\]"),
    "memory of 100 GB": ({"features": [{"kernel": 1, "channels": 10**9}]}, "at most 32768, got 1000000000"),
    "endless stages": ({"stages": 10**12}, "at most 64, got 1000000000000"),
    "more than can be counted": (
        {"features": [{"kernel": 15, "channels": 10**18}]},
        "at most 32768, got 1000000000000000000",
    ),
}


@pytest.mark.parametrize(("changed", "message"), OTHER_NETWORKS.values(), ids=OTHER_NETWORKS)
def test_weights_of_another_network_name_their_tensors(saved, changed, message):
    change_config(saved, **changed)
    with pytest.raises(ValueError, match=rf"net.safetensors: .*{message}"):
        load_model(saved)


def test_fill_leaves_a_network_alone_when_something_does_not_fit():
    model, other = network(), network(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = dict(other.state_dict())
    del tensors["convs.stage2_beliefs.bias"]
    with pytest.raises(ValueError, match=r"elsewhere: .*1 tensors .*'convs.stage2_beliefs.bias is missing'"):
        fill(model, tensors, "elsewhere")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
