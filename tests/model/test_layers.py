"""The layer list against the released network's counts."""

import dataclasses
from itertools import pairwise

import pytest

from cpm_fast.config import PRESETS, Conv, NetworkConfig, preset
from cpm_fast.model.groups import layer_groups
from cpm_fast.model.layers import belief_field, mac_count, network_layers, parameter_count, receptive_field
from cpm_fast.ops.plans.cpu import ConvShape, CpuPlan
from cpm_fast.skeleton import FLIC, LSP


def test_released_parameter_counts():
    assert parameter_count(preset("cpm6")) == 31_219_866
    assert parameter_count(preset("flic")) == 21_323_816
    assert parameter_count(preset("vgg")) == 29_852_058
    assert parameter_count(preset("person")) == 25_714_372
    # mmpose's convolutions have no bias where batch normalization follows.
    config = preset("mmpose")
    biases = sum(layer.channels for layer in network_layers(config) if layer.norm)
    assert parameter_count(config) - biases == 31_225_568


def test_released_mac_counts():
    assert mac_count(preset("cpm6")) / 1e9 == pytest.approx(175.438, abs=5e-4)
    assert mac_count(preset("flic")) / 1e9 == pytest.approx(154.500, abs=5e-4)
    assert mac_count(preset("vgg")) / 1e9 == pytest.approx(88.420, abs=5e-4)
    assert mac_count(preset("person")) / 1e9 == pytest.approx(145.102, abs=5e-4)


@pytest.mark.parametrize(
    ("skeleton", "stage_one", "later"), [(LSP, 4_386_095, 4_829_615), (FLIC, 4_383_530, 4_751_530)], ids=["lsp", "flic"]
)
def test_released_counts_stage_by_stage(skeleton, stage_one, later):
    counts = [parameter_count(NetworkConfig(skeleton=skeleton, stages=stages)) for stages in (1, 2, 3, 4, 5, 6)]
    assert counts[0] == stage_one
    assert counts[1] == stage_one + 2_685_696 + later  # the second trunk comes with stage 2
    assert [high - low for low, high in pairwise(counts[1:])] == [later] * 4


def test_released_receptive_fields():
    config = preset("cpm6")
    assert [receptive_field(config, stage) for stage in range(1, 7)] == [167, 407, 647, 887, 1127, 1367]
    assert belief_field(config) == 31
    config = preset("vgg")
    assert [receptive_field(config, stage) for stage in (1, 2)] == [164, 404] and belief_field(config) == 31


def test_paper_receptive_fields_hold_for_two_by_two_pools():
    config = NetworkConfig(pool_kernel=2)
    assert [receptive_field(config, stage) for stage in (1, 2)] == [160, 400]


@pytest.mark.parametrize("stage", [0, 7, -1])
def test_receptive_field_rejects(stage):
    with pytest.raises(ValueError, match=f"stage must be from 1 to 6, got {stage}"):
        receptive_field(preset("cpm6"), stage)


def test_released_layers():
    layers = {layer.name: layer for layer in network_layers(preset("cpm6"))}
    assert layers["trunk1_block1_conv1"].size == (368, 368)
    assert layers["trunk2_block3_pool"].size == (46, 46)
    assert layers["center"].size == (46, 46)
    concat = layers["stage2_concat"]
    assert concat.inputs == ("stage2_features1", "stage1_beliefs", "center")
    assert concat.channels == 48
    # The later stages' features come from one trunk, each stage's by its own convolution.
    assert {layers[f"stage{stage}_features1"].inputs[0] for stage in range(2, 7)} == {"trunk2_block3_pool"}
    assert [layer.name for layer in layers.values() if layer.kind == "dropout"] == [
        "stage1_dropout1",
        "stage1_dropout2",
    ]
    linear = [layer.name for layer in layers.values() if layer.kind == "conv" and not layer.relu]
    assert linear == [f"stage{stage}_beliefs" for stage in range(1, 7)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_reads_what_stands_before_it(name):
    config = preset(name)
    known = {"image": 3, "center_map": 1}
    for layer in network_layers(config):
        assert layer.name not in known
        read = [known[source] for source in layer.inputs]
        assert layer.in_channels == (read[0] if layer.kind == "add" else sum(read))
        known[layer.name] = layer.channels
    assert known[f"stage{config.stages}_beliefs"] == config.maps


def test_compact_is_small_and_mirror_symmetric():
    config = preset("compact")
    assert parameter_count(config) <= 3_000_000
    # Cell g averages the 8 pixels 8g .. 8g + 7, whose middle is 8g + 3.5, in every window.
    assert (config.pool_kernel, config.center_pool, config.cell_offset) == (2, 8, 3.5)
    assert receptive_field(config, 1) % 2 == 0


@pytest.mark.parametrize(
    ("name", "megabytes", "predicted"), [("small", 1.5, 3.9), ("base", 6.0, 11.0), ("large", 20.0, 33.0)]
)
def test_sizes_keep_their_promises(name, megabytes, predicted):
    config = preset(name)
    assert 2e-6 * parameter_count(config) <= megabytes
    # Milliseconds by the cost model, which counts convolutions; compact at 256 px takes 3.8, wide-lsp 8.2.
    convs = [group for group in layer_groups(network_layers(config)) if group.kind == "conv"]
    shapes = [ConvShape(1, g.first.in_channels, g.channels, g.first.kernel, g.first.size) for g in convs]
    assert sum(CpuPlan().milliseconds(shape, CpuPlan().tile(shape)) for shape in shapes) <= predicted
    assert (config.pool_kernel, config.center_pool, config.cell_offset) == (2, 8, 3.5)


def test_options_are_read():
    config = NetworkConfig(stages=2, center_map=False, background=False, dropout=0, shared_trunk=True)
    layers = {layer.name: layer for layer in network_layers(config)}
    assert "center" not in layers
    assert not any(layer.kind == "dropout" or layer.name.startswith("trunk2") for layer in layers.values())
    assert layers["stage2_concat"].channels == 32 + 14
    reversed_order = dataclasses.replace(preset("cpm6"), concat=("beliefs", "features", "center"))
    concat = next(layer for layer in network_layers(reversed_order) if layer.kind == "concat")
    assert concat.inputs == ("stage1_beliefs", "stage2_features1", "center")
    normalized = NetworkConfig(stages=1, norm="batch", tail=(Conv(3, 7),))
    plain = dataclasses.replace(normalized, norm="none")
    # Two numbers per channel of every convolution except the belief layer.
    assert parameter_count(normalized) - parameter_count(plain) == 2 * (3 * 128 + 7 + 32 + 512 + 512)
