"""The network as a module: geometry, order, initialization and gradients as released."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.model.cpm import CPM, ContextConv, gaussian_center_map
from cpm_fast.model.layers import Layer, parameter_count, receptive_field
from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import transforms
from cpm_fast.skeleton import Skeleton

FLY = Skeleton("fly", ("head", "left_wing", "right_wing"), pairs=(("left_wing", "right_wing"),))


def small(**values) -> NetworkConfig:
    """Return the released form of network with few channels and small windows."""
    fields = {
        "skeleton": FLY,
        "stages": 3,
        "input_size": (64, 48),
        "trunk": ((Conv(3, 4),), (Conv(3, 5),), (Conv(3, 6),)),
        "features": (Conv(3, 4),),
        "first": (Conv(3, 8), Conv(1, 7)),
        "refine": (Conv(5, 6), Conv(1, 5)),
        "init_std": None,
        "center_sigma": 8.0,
    }
    return NetworkConfig(**(fields | values))


def random_crops(count: int = 2, size: tuple[int, int] = (64, 48), seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def make(config: NetworkConfig, seed: int = 0) -> CPM:
    torch.manual_seed(seed)
    return CPM(config).eval()


def run(model: CPM, kind: str, x: torch.Tensor) -> torch.Tensor:
    """Run one layer of the model alone, as its forward pass does."""
    layer = next(layer for layer in model.layers if layer.kind == kind)
    maps = dict.fromkeys(layer.inputs, x)
    model.run([layer], maps)
    return maps[layer.name]


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (8, 8), (72, 136)], ids=str)
def test_one_map_per_part_stage_and_background(size):
    beliefs = make(small())(random_crops(2, size))
    assert [list(maps.shape) for maps in beliefs] == [[2, 4, size[0] // 8, size[1] // 8]] * 3
    assert make(small(background=False))(random_crops(1))[0].shape[1] == 3


def test_presets_run_and_count():
    sizes = {"compact": (192, 192), "cpm6": (8, 8), "flic": (8, 16), "vgg": (16, 8), "mmpose": (8, 8)}
    for name, size in sizes.items():
        model = CPM.preset(name).eval()
        assert sum(parameter.numel() for parameter in model.parameters()) == parameter_count(model.config)
        with torch.no_grad():
            beliefs = model(torch.zeros(1, 3, *size))
        assert len(beliefs) == model.config.stages
        assert list(beliefs[-1].shape) == [1, model.config.maps, size[0] // 8, size[1] // 8]


def test_released_pool_windows_are_clipped_at_the_end():
    """Caffe's k3 s2 windows, rounded up: on 8 cells 0-2, 2-4, 4-6, 6-7; on 7 cells 0-2, 2-4, 4-6."""
    model = make(small())
    eight = torch.tensor([1.0, 0, 3, 0, -1, -2, -5, -4]).view(1, 1, 1, 8).expand(1, 4, 8, 8)
    assert run(model, "pool", eight)[0, 0].tolist() == [[3, 3, -1, -4]] * 4
    assert run(model, "pool", eight.mT)[0, 0].tolist() == [[v] * 4 for v in (3, 3, -1, -4)]
    seven = torch.tensor([1.0, 0, 3, 0, -1, -2, -5]).view(1, 1, 1, 7).expand(1, 4, 7, 7)
    assert run(model, "pool", seven)[0, 0].tolist() == [[3, 3, -1]] * 3


def test_padded_pool_windows_begin_a_cell_before():
    """mmpose's k3 s2 p1 windows: on 8 cells 0-1, 1-3, 3-5, 5-7."""
    row = torch.tensor([-3.0, -1, -2, 0, -1, -2, -5, -4]).view(1, 1, 1, 8).expand(1, 4, 8, 8)
    assert run(make(small(pool_padding=1)), "pool", row)[0, 0].tolist() == [[-1, 0, 0, -2]] * 4


def test_two_by_two_pool_windows():
    row = torch.tensor([1.0, 0, 3, 0, -1, -2, -5, -4]).view(1, 1, 1, 8).expand(1, 4, 8, 8)
    assert run(make(small(pool_kernel=2)), "pool", row)[0, 0].tolist() == [[1, 3, -1, -4]] * 4


def test_center_pool_divides_clipped_windows_by_their_own_area():
    """k9 s8: cell g covers pixels 8g .. 8g + 8, the last one 8 pixels only."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    pooled = run(make(small()), "center_pool", ramp)[0, 0]
    assert pooled.tolist() == [[4.0, 11.5], [4.0, 11.5]]


@pytest.mark.parametrize(("peak", "expected"), [(183.0, (0.9654, 0.9483)), (184.0, (0.9505, 0.9505))])
def test_released_center_map_values(peak, expected):
    """With sigma 21 px: the cell of the peak on the diagonal, and its neighbor towards the end."""
    center_map = gaussian_center_map(torch.tensor([[peak, peak]]), (368, 368), 21.0)
    pooled = run(make(small()), "center_pool", center_map)[0, 0]
    assert pooled.shape == (46, 46)
    assert pooled[22, 22].item() == pytest.approx(expected[0], abs=5e-5)
    assert pooled[22, 23].item() == pytest.approx(expected[1], abs=5e-5)
    assert pooled[23, 22].item() == pytest.approx(expected[1], abs=5e-5)


def test_gaussian_center_map_by_hand():
    center_map = gaussian_center_map(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), (4, 6), 2.0)
    assert center_map.shape == (2, 1, 4, 6)
    assert center_map[0, 0, 1, 3] == 1
    assert center_map[0, 0, 1, 5].item() == pytest.approx(torch.exp(torch.tensor(-0.5)).item())
    assert center_map[1, 0, 3, 0].item() == pytest.approx(torch.exp(torch.tensor(-9 / 8)).item())


def test_default_center_is_the_middle_of_the_box():
    model = make(small())
    crops = random_crops()
    given = gaussian_center_map(torch.tensor([[23.5, 31.5]]), (64, 48), 8.0).expand(2, -1, -1, -1)
    for left, right in zip(model(crops), model(crops, given), strict=True):
        assert torch.equal(left, right)
    moved = model(crops, given.roll(16, dims=3))
    assert torch.equal(moved[0], model(crops)[0])  # stage 1 does not read the center map
    assert not torch.allclose(moved[1], model(crops)[1])


@pytest.mark.parametrize(
    "order", [("features", "beliefs", "center"), ("beliefs", "features", "center"), ("center", "beliefs", "features")]
)
def test_concat_order_through_the_real_forward(order):
    """A stage whose first layer picks one channel of the concatenation shows the content of that channel."""
    config = small(stages=2, concat=order, refine=(Conv(1, 9),), norm="none")
    model = make(config).double()
    crops = random_crops().double()
    with torch.no_grad():
        pick = model.convs["stage2_conv1"]
        pick.weight.copy_(torch.eye(9)[:, :, None, None])  # 4 features, 4 beliefs, 1 center
        seen = {}
        pick.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0]))
        features = []
        model.convs["stage2_features1"].register_forward_hook(lambda module, inputs, output: features.append(output))
        beliefs = model(crops)
        center_map = gaussian_center_map(torch.tensor([[23.5, 31.5]]), (64, 48), 8.0).double()
        center = F.avg_pool2d(center_map, 9, 8, ceil_mode=True).expand(2, 1, 8, 6)
    sources = {"features": features[0], "beliefs": beliefs[0], "center": center}
    assert torch.equal(seen["x"], torch.cat([sources[name] for name in order], dim=1))


def test_initialization_as_released():
    torch.manual_seed(0)
    model = CPM(small(init_std=0.01, trunk=((Conv(9, 32),),) * 3, refine=(Conv(11, 32), Conv(1, 32))))
    for name, conv in model.convs.items():
        assert torch.count_nonzero(conv.bias) == 0
        if conv.weight.numel() > 5000:
            assert conv.weight.std().item() == pytest.approx(0.01, rel=0.05), name
            assert abs(conv.weight.mean().item()) < 5e-4
    scaled = CPM(small(trunk=((Conv(9, 32),),) * 3))
    weight = scaled.convs["trunk1_block2_conv1"].weight
    assert weight.std().item() == pytest.approx((2 / (32 * 81)) ** 0.5, rel=0.05)


def test_dropout_in_training_and_in_stage_one_alone():
    crops = random_crops()
    model = make(small())
    assert torch.equal(model(crops)[0], model(crops)[0])
    model.train()
    torch.manual_seed(1)
    first, second = model(crops), model(crops)
    assert not torch.equal(first[0], second[0])
    model = make(small(dropout=0.0)).train()
    for left, right in zip(model(crops), model(crops), strict=True):
        assert torch.equal(left, right)
    assert {layer.stage for layer in make(small()).layers if layer.kind == "dropout"} == {1}
    dropped = make(small(dropout=0.5)).train()
    kept = run(dropped, "dropout", torch.ones(1, 8, 100, 100))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("relu", [True, False])
def test_batch_norm_is_folded_out_of_training(relu):
    torch.manual_seed(0)
    conv = ContextConv(Layer("x", "conv", ("image",), 5, 3, 6, (9, 7), relu=relu, norm=True), None).double()
    with torch.no_grad():
        for values in (conv.norm.weight, conv.norm.bias, conv.norm.running_mean, conv.bias):
            values.normal_()
        conv.norm.running_var.uniform_(0.2, 3)
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    norm = conv.norm
    for training in (False, True):
        conv.train(training)
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        plain = F.conv2d(x, conv.weight, conv.bias, padding=2)
        expected = F.batch_norm(plain, mean, variance, norm.weight, norm.bias, training, norm.momentum, norm.eps)
        torch.testing.assert_close(conv(x), F.relu(expected) if relu else expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(norm.running_mean, mean)  # updated in training, unchanged outside of it


@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
def test_a_layer_in_the_frequency_domain_trains_in_float32_under_autocast():
    layer = Layer("conv", "conv", ("x",), 7, 48, 48, (32, 32), relu=True, norm=True, stage=1)
    conv = ContextConv(layer, None).train()
    x = torch.randn(4, 48, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert transforms(x.float(), conv.weight) is False
    with torch.autocast("cpu", torch.bfloat16):
        with backend.use_backend("reference"):
            assert not transforms(x, conv.weight)
        assert transforms(x, conv.weight)
        found = conv(x)
    # The op itself rounds its weight and result.
    assert found.dtype == torch.float32 and torch.equal(found, conv(x.float()))
    found.sum().backward()
    assert conv.weight.grad is not None and conv.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("pool_kernel", [2, 3])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_receptive_field_is_the_support_of_the_gradient(pool_kernel, stage):
    config = small(
        trunk=((Conv(3, 2),), (Conv(5, 2),), (Conv(3, 2),)),
        features=(Conv(3, 1),),
        first=(Conv(3, 1),),
        refine=(Conv(5, 1),),
        pool_kernel=pool_kernel,
        dropout=0.0,
    )
    expected = receptive_field(config, stage)
    side = 8 * (expected // 8 + 6)
    model = make(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.1, 0.2)
    # Weights are positive, so a ramp stays a ramp: a rising one sends the gradient of every maximum to the last pixel
    # of its window, a falling one to the first.
    rising = torch.arange(side, dtype=torch.float64) + torch.arange(side, dtype=torch.float64)[:, None]
    crops = torch.stack([rising, 2 * side - rising])[:, None].repeat(1, 3, 1, 1).requires_grad_()
    cell = side // 16
    model(crops)[stage - 1][:, 0, cell, cell].sum().backward()
    support = (crops.grad != 0).any(0).any(0)
    for axis in (0, 1):
        seen = support.any(axis).nonzero()
        assert (seen.max() - seen.min() + 1).item() == expected


def test_memory_format_of_the_input_changes_nothing():
    model = make(small(norm="batch"))
    crops = random_crops(3)
    strided = torch.randn(3, 6, 64, 96)[:, ::2, :, ::2]
    for left, right in ((crops, crops.contiguous(memory_format=torch.channels_last)), (strided, strided.clone())):
        for a, b in zip(model(left), model(right), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_result_is_independent_of_the_batch():
    model = make(small(norm="batch"))
    crops = random_crops(3)
    together = model(crops)
    for index in range(3):
        for a, b in zip(together, model(crops[index : index + 1]), strict=True):
            torch.testing.assert_close(a[index : index + 1], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 48), (40, 56)], ids=str)
def test_mirrored_compact_network_mirrors_its_maps(size):
    """Compact's pools and center map have no preferred side; the released k3 windows have."""

    def difference(config: NetworkConfig) -> float:
        config = dataclasses.replace(config, skeleton=FLY, input_size=size)
        model, mirrored = make(config).double(), make(config).double()
        with torch.no_grad():
            for conv in mirrored.convs.values():
                conv.weight.copy_(conv.weight.flip(3))
            crops = random_crops(1, size).double()
            pairs = zip(model(crops), mirrored(crops.flip(3)), strict=True)
            return max(((a - b.flip(3)).norm() / a.norm()).item() for a, b in pairs)

    assert difference(preset("compact")) < 1e-12
    assert difference(small(dropout=0.0)) > 1e-2


def test_gradients_reach_every_parameter():
    for config in (small(), small(norm="batch", shared_trunk=True)):
        model = make(config).train()
        sum(maps.square().sum() for maps in model(random_crops())).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            # Batch normalization removes a bias before it.
            if not (config.norm == "batch" and name.endswith("bias") and "beliefs" not in name and "norm" not in name):
                assert parameter.grad.abs().sum() > 0, name


def test_later_losses_reach_stage_one():
    """Beliefs pass their gradient to the previous stage, as in the release."""
    model = make(small())
    model(random_crops())[-1].sum().backward()
    assert model.convs["stage1_beliefs"].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("crops", "center_map", "error", "message"),
    [
        (torch.zeros(3, 64, 48), None, ValueError, r"crops must be \[N, 3, H, W\].*got \[3, 64, 48\]"),
        (torch.zeros(1, 4, 64, 48), None, ValueError, r"crops must be .*got \[1, 4, 64, 48\]"),
        (torch.zeros(1, 3, 64, 44), None, ValueError, "multiples of 8"),
        (torch.zeros(1, 3, 64, 48, dtype=torch.uint8), None, TypeError, "floating point, got torch.uint8"),
        (torch.zeros(2, 3, 64, 48), torch.zeros(1, 1, 64, 48), ValueError, r"center_map must be \[2, 1, 64, 48\]"),
        (torch.zeros(2, 3, 64, 48), torch.zeros(2, 1, 8, 6), ValueError, r"center_map must be .*got \[2, 1, 8, 6\]"),
        (torch.zeros(1, 3, 0, 48), None, ValueError, "crops must be"),
        (np.zeros((1, 3, 64, 48), np.float32), None, TypeError, "crops must be a tensor of one shape, got ndarray"),
        (torch.nested.nested_tensor([torch.zeros(3, 64, 48)]), None, TypeError, "crops must be a tensor of one shape"),
        (
            torch.zeros(1, 3, 64, 48).to_sparse(),
            None,
            TypeError,
            "crops must be a dense tensor, got layout torch.sparse",
        ),
        (torch.zeros(1, 3, 64, 48), [[0.0]], TypeError, "center_map must be a tensor of one shape, got list"),
        (torch.zeros(1, 3, 64, 48), torch.zeros(1, 1, 64, 48).long(), TypeError, "center_map must be floating point"),
    ],
)
def test_rejects(crops, center_map, error, message):
    with pytest.raises(error, match=message):
        make(small())(crops, center_map)
