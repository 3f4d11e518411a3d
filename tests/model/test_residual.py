"""Residual blocks: their result, the names of their layers, files, and growing."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from cpm_fast.config import Conv, NetworkConfig, preset, widened
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model, save_model
from cpm_fast.model.layers import belief_field, mac_count, network_layers, parameter_count, receptive_field
from cpm_fast.skeleton import Skeleton
from cpm_fast.training.forward import Forward
from cpm_fast.training.phases import Phase
from cpm_fast.training.start import start_from
from cpm_fast.weights import weights_file

FLY = Skeleton("fly", ("head", "left_wing", "right_wing"), pairs=(("left_wing", "right_wing"),))
PLAIN = NetworkConfig(
    skeleton=FLY,
    stages=2,
    input_size=(32, 48),
    trunk=((Conv(3, 4), Conv(3, 4)), (Conv(3, 5),), (Conv(3, 6),)),
    features=(Conv(1, 4),),
    first=(Conv(3, 8), Conv(1, 8)),
    refine=(Conv(5, 6), Conv(3, 6), Conv(5, 6), Conv(1, 5)),
    init_std=None,
    shared_trunk=True,
    norm="batch",
    pool_kernel=2,
    dropout=0.0,
)
RESIDUAL = replace(
    PLAIN,
    trunk=((Conv(3, 4), Conv(3, 4, add=1)), (Conv(3, 5),), (Conv(3, 6),)),
    first=(Conv(3, 8), Conv(1, 8, add=1)),
    refine=(Conv(5, 6), Conv(3, 6), Conv(5, 6, add=2), Conv(1, 5)),
)


def drawn(config: NetworkConfig, seed: int = 0) -> CPM:
    """Return a network whose normalization has an effect, in evaluation mode."""
    torch.manual_seed(seed)
    model = CPM(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if ".norm." in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def test_a_sum_stands_behind_the_convolution_that_closes_the_block():
    layers = {layer.name: layer for layer in network_layers(RESIDUAL)}
    closing = layers["stage2_conv3"]
    assert (closing.relu, closing.norm) == (False, True)
    made = layers["stage2_conv3_sum"]
    assert (made.kind, made.inputs, made.relu) == ("add", ("stage2_conv3", "stage2_conv1"), True)
    assert (made.channels, made.size, made.stage, made.parameters, made.macs) == (6, (4, 6), 2, 0, 0)
    assert layers["stage2_conv4"].inputs == ("stage2_conv3_sum",)
    assert layers["trunk1_block1_pool"].inputs == ("trunk1_block1_conv2_sum",)
    for count in (parameter_count, mac_count, belief_field):
        assert count(RESIDUAL) == count(PLAIN)
    assert [receptive_field(RESIDUAL, stage) for stage in (1, 2)] == [receptive_field(PLAIN, stage) for stage in (1, 2)]


def test_the_sum_and_its_gradient_by_hand():
    config = replace(RESIDUAL, norm="none")
    torch.manual_seed(1)
    model = CPM(config).double()
    crops = torch.randn(2, 3, 32, 48, dtype=torch.float64)

    def conv(name: str, x: torch.Tensor, relu: bool = True) -> torch.Tensor:
        weight, bias = model.conv(name).weight, model.conv(name).bias
        y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        return F.relu(y) if relu else y

    a = conv("trunk1_block1_conv1", crops)
    x = F.max_pool2d(F.relu(conv("trunk1_block1_conv2", a, False) + a), 2)
    for block in (2, 3):
        x = F.max_pool2d(conv(f"trunk1_block{block}_conv1", x), 2)
    a = conv("stage1_conv1", conv("stage1_features1", x))
    beliefs = conv("stage1_beliefs", F.relu(conv("stage1_conv2", a, False) + a), False)
    center = F.avg_pool2d(model.inputs(crops, None)["center_map"], 9, 8, ceil_mode=True)
    a = conv("stage2_conv1", torch.cat([conv("stage2_features1", x), beliefs, center], 1))
    y = F.relu(conv("stage2_conv3", conv("stage2_conv2", a), False) + a)
    wanted = conv("stage2_beliefs", conv("stage2_conv4", y), False)
    parameters = list(model.parameters())
    by_hand = torch.autograd.grad((beliefs.square().sum() + wanted.square().sum()), parameters)
    found = model(crops)
    torch.testing.assert_close(found, [beliefs, wanted], rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(sum(maps.square().sum() for maps in found), parameters)
    torch.testing.assert_close(gradients, by_hand, rtol=1e-9, atol=1e-12)


def test_a_block_begins_as_the_identity():
    torch.manual_seed(2)
    model = CPM(RESIDUAL).train()
    maps = model.inputs(torch.randn(4, 3, 32, 48), None)
    model.run(model.layers, maps)
    assert torch.equal(maps["stage2_conv3_sum"], maps["stage2_conv1"]) and maps["stage2_conv1"].any()
    maps["stage2_beliefs"].square().sum().backward()
    assert model.conv("stage2_conv3").norm.weight.grad.abs().min() > 0, "and learns to be more"


def test_dropout_stands_behind_the_sum():
    model = drawn(replace(RESIDUAL, dropout=0.5))
    layer = next(layer for layer in model.layers if layer.name == "stage1_dropout2")
    assert layer.inputs == ("stage1_conv2_sum",)
    crops = torch.randn(2, 3, 32, 48)
    assert torch.equal(model(crops)[0], model(crops)[0])
    model.train()
    assert not torch.equal(model(crops)[0], model(crops)[0])


def test_recomputed_activations_have_the_same_gradient():
    crops, center = torch.randn(2, 3, 32, 48), torch.zeros(2, 1, 32, 48)
    gradients = []
    for recompute in (False, True):
        model = drawn(RESIDUAL)
        forward = Forward(model, Phase(0, 1, 2, (1, 2)), recompute).train()
        sum(maps.square().sum() for maps in forward(crops, center)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"refine": (Conv(3, 8, add=1),)}, "refine: add must be at most 0 in convolution 1, got 1"),
        ({"trunk": ((Conv(3, 8),), (Conv(3, 8), Conv(3, 8, add=2)), (Conv(3, 8),))}, "trunk: add must be at most 1"),
        ({"tail": (Conv(3, 8), Conv(3, 9, add=1))}, "convolution 2 must have the 8 channels of what it adds, got 9"),
    ],
)
def test_rejects_sums_of_what_is_not_there(values, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**values)


@pytest.mark.parametrize("add", [-1, 1.0, True, "1", None])
def test_rejects_other_numbers(add):
    with pytest.raises(ValueError, match="add must be a whole number of convolutions, 0 or more, got"):
        Conv(3, 8, add)


def test_round_trip_through_a_file(tmp_path):
    model = drawn(RESIDUAL)
    save_model(model, tmp_path / "net.safetensors")
    again = load_model(tmp_path / "net.safetensors")
    assert again.config == RESIDUAL
    crops = torch.randn(1, 3, 32, 48)
    assert all(torch.equal(a, b) for a, b in zip(model(crops), again(crops), strict=True))


@pytest.mark.parametrize("name", ["compact-lsp", "wide-lsp", "compact-drawn"])
def test_files_without_sums_are_read_and_written_as_before(name):
    path = weights_file(name)
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()["network"])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = load_model(path)
    written = json.loads(json.dumps(model.config.to_dict()))
    assert {**written, **described} == written and '"add"' not in json.dumps(written)
    assert all(torch.equal(tensor, stored[name].to(tensor.dtype)) for name, tensor in model.state_dict().items())


def test_a_wider_one_begins_with_the_same_beliefs(tmp_path):
    small = drawn(RESIDUAL)
    save_model(small, tmp_path / "small.safetensors")
    wide = drawn(replace(widened(RESIDUAL, 2.0), stages=3), seed=1)
    assert not start_from(wide, tmp_path / "small.safetensors").unused
    crops = torch.rand(2, 3, 32, 48)
    for found, wanted in zip(wide(crops), small(crops), strict=False):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("wider", [False, True])
def test_a_deeper_one_begins_with_the_same_beliefs_and_learns_in_its_blocks(tmp_path, norm, wider):
    small = drawn(replace(RESIDUAL, norm=norm))
    save_model(small, tmp_path / "small.safetensors")
    block = (Conv(3, 4), Conv(3, 6, add=2))
    deeper = replace(
        small.config,
        stages=3,
        trunk=(*RESIDUAL.trunk[:2], (Conv(3, 6), Conv(3, 6, add=1))),
        refine=(*RESIDUAL.refine[:3], *block, *block, RESIDUAL.refine[3]),
    )
    deep = drawn(widened(deeper, 2.0) if wider else deeper, seed=1)
    loaded = start_from(deep, tmp_path / "small.safetensors")
    fates = {name: fate for name, _, fate in loaded.layers}
    assert not loaded.unused
    assert fates["stage2_conv8"] == ("grown from stage2_conv4 [5, 6, 1, 1]" if wider else "as stage2_conv4")
    blocks = {name for name, fate in fates.items() if fate == "new: a residual block that adds nothing at first"}
    assert blocks == {"trunk1_block3_conv2"} | {f"stage{t}_conv{n}" for t in (2, 3) for n in (4, 5, 6, 7)}
    crops = torch.rand(2, 3, 32, 48)
    for found, wanted in zip(deep(crops), small(crops), strict=False):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
    deep.train()(crops)[-1].square().sum().backward()
    closing = deep.conv("stage2_conv7")
    assert (closing.weight if norm == "none" else closing.norm.weight).grad.any()


def test_base_grows_from_wide_lsp():
    base, wide = CPM(preset("base")).eval(), load_model(weights_file("wide-lsp")).eval()
    loaded = start_from(base, weights_file("wide-lsp"))
    assert not loaded.unused and {fate.split(" from ")[0] for _, _, fate in loaded.layers} == {"loaded", "grown"}
    crops = torch.rand(1, 3, 64, 64) - 0.5
    for found, wanted in zip(base(crops), wide(crops), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_weights_of_other_sums_start_anew(tmp_path):
    save_model(drawn(PLAIN), tmp_path / "plain.safetensors")
    loaded = start_from(CPM(RESIDUAL), tmp_path / "plain.safetensors")
    new = {name: fate for name, _, fate in loaded.layers if fate != "loaded"}
    assert new == dict.fromkeys(
        ("trunk1_block1_conv2", "stage1_conv2", "stage2_conv3"), "new: adds another map than in the file"
    )
