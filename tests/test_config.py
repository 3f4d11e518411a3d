"""Network configurations: refused values, and JSON."""

import json
import math

import pytest

from cpm_fast.config import PRESETS, Conv, NetworkConfig, preset, widened
from cpm_fast.skeleton import COCO, FLIC, LSP


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip_through_json(name):
    config = preset(name)
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(NetworkConfig.from_dict(config.to_dict()))


def test_round_trip_of_unusual_values():
    config = NetworkConfig(
        skeleton=COCO,
        stages=1,
        input_size=(256, 192),
        tail=(Conv(3, 8),),
        concat=("beliefs", "features"),
        center_map=False,
        background=False,
        init_std=None,
        pixel_mean=(1.5, 2, 3),
        color="rgb",
    )
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_fields_take_their_defaults():
    assert NetworkConfig.from_dict({}) == NetworkConfig()
    assert NetworkConfig.from_dict({"stages": 2}).stages == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": 0}, "stages must be a whole number of at least 1 and at most 64, got 0"),
        ({"stages": 2.5}, "stages must be a whole number"),
        ({"stages": True}, "stages must be a whole number"),
        ({"input_size": (368, 368.0)}, "input_size must be"),
        ({"input_size": (368, 362)}, r"input_size must be .*multiples of 8 of at most 8192, got \(368, 362\)"),
        ({"input_size": (0, 368)}, "input_size must be"),
        ({"input_size": (368,)}, "input_size must be"),
        ({"trunk": ((Conv(9, 8),), (Conv(9, 8),))}, "trunk must be three blocks"),
        ({"trunk": ((Conv(9, 8),), (), (Conv(9, 8),))}, "trunk must be three blocks"),
        ({"pool_kernel": 4}, "pool_kernel must be 2 or 3, got 4"),
        ({"pool_padding": 2}, "pool_padding must be 0, or 1 with pool_kernel 3, got 2"),
        ({"pool_padding": True}, "pool_padding must be 0"),
        ({"pool_padding": 1, "pool_kernel": 2}, "pool_padding must be 0"),
        ({"center_pool": 7}, "center_pool must be a whole number from 8 to 15, got 7"),
        ({"center_pool": 16}, "center_pool must be a whole number from 8 to 15, got 16"),
        ({"center_pool": 8.5}, "center_pool must be a whole number"),
        ({"margin": -1}, "margin must be a positive number"),
        ({"margin": 10**400}, "margin must be a positive number"),
        ({"cell_offset": float("nan")}, "cell_offset must be a finite number"),
        ({"shared_trunk": 1}, "shared_trunk must be True or False"),
        ({"center_sigma": 0}, "center_sigma must be a positive number from 0.001 to 8192, got 0"),
        ({"concat": ("features", "beliefs")}, r"concat must be an order of \['beliefs', 'center', 'features'\]"),
        ({"concat": ("features", "center")}, "concat must be an order of"),
        ({"concat": ("features", "beliefs", "center", "center")}, "concat must be an order of"),
        ({"concat": ("features", "beliefs", "center", "image")}, "concat must be an order of"),
        ({"norm": "layer"}, "norm must be 'none' or 'batch', got 'layer'"),
        ({"dropout": 1}, "dropout must be from 0 to below 1, got 1"),
        ({"dropout": -0.1}, "dropout must be from 0 to below 1"),
        ({"init_std": 0}, "init_std must be positive and at most 10, or None, got 0"),
        ({"init_std": 1e300}, "init_std must be positive and at most 10"),
        ({"color": "grey"}, "color must be 'bgr' or 'rgb', got 'grey'"),
        ({"pixel_mean": (128,)}, "pixel_mean must be three finite numbers"),
        ({"pixel_mean": (128, float("nan"), 128)}, "pixel_mean must be three finite numbers"),
        ({"pixel_mean": ("a", "b", "c")}, "pixel_mean must be three finite numbers"),
        ({"pixel_scale": (256, 256)}, "pixel_scale must be three finite numbers"),
        ({"pixel_scale": (256, 0, 256)}, "pixel_scale must be three finite numbers, each of a mag"),
        ({"pixel_scale": (256, 1e-300, 256)}, "pixel_scale must be three finite numbers, each of a mag"),
        ({"pixel_mean": (1e300, 1, 1)}, "pixel_mean must be three finite numbers, each of a mag"),
        ({"padding_value": 256}, "padding_value must be a whole number from 0 to 255, got 256"),
        ({"padding_value": -1}, "padding_value must be a whole number from 0 to 255"),
    ],
)
def test_rejects(values, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**values)


@pytest.mark.parametrize(("kernel", "channels"), [(0, 1), (-3, 1), (4, 1), (17, 1), (3, 0)])
def test_conv_rejects(kernel, channels):
    with pytest.raises(ValueError, match="kernel must be odd and from 1 to 15" if channels else "channels must be"):
        Conv(kernel, channels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stagse": 3}, r"unknown fields \['stagse'\]"),
        ({"trunk": 5}, "not of its form"),
        ({"features": [{"kernel": 3}]}, "not of its form"),
        ({"features": [3]}, "not of its form"),
        ({"features": [{"kernel": "x", "channels": 1}]}, "kernel must be odd"),
        ({"skeleton": None}, "not of its form"),
        ({"skeleton": {"name": "x"}}, "skeleton must have the keys"),
        ({"input_size": 368}, "not of its form"),
        ({"input_size": ["a", "b"]}, "input_size must be"),
        ({"stages": "six"}, "stages must be a whole number"),
        ({"stages": 0}, "stages must be a whole number of at least 1"),
    ],
)
def test_from_dict_rejects(values, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig.from_dict(values)


def test_presets():
    assert preset("cpm6") == NetworkConfig()
    assert (preset("flic").stages, preset("flic").skeleton) == (4, FLIC)
    assert preset("compact", COCO).skeleton == COCO
    assert preset("compact").skeleton == LSP
    with pytest.raises(ValueError, match=r"preset must be one of \['base', 'compact', 'cpm6', .*\], got 'resnet'"):
        preset("resnet")


def test_derived_sizes():
    config = NetworkConfig(input_size=(256, 192))
    assert config.map_size == (32, 24)
    assert (config.parts, config.maps) == (14, 15)
    assert NetworkConfig(background=False).maps == 14


def test_a_wider_network_has_so_many_times_the_channels_in_whole_blocks():
    compact = preset("compact")
    wide = widened(compact, 1.5)
    assert [block[0].channels for block in wide.trunk] == [32, 48, 96] and wide.first[0].channels == 80
    assert [conv.kernel for conv in wide.refine] == [conv.kernel for conv in compact.refine]
    assert widened(compact, 1.0) == compact
    for factor in (0.0, -1.0, math.nan, math.inf, "2"):
        with pytest.raises(ValueError, match="factor must be a positive number of at most 32768, got"):
            widened(compact, factor)
