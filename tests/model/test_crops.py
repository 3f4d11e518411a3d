"""Crops and the network's input; the decoder finds targets drawn on a crop's cells."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.config import compact
from cpm_fast.model.crops import crop, network_input, scale_crops
from cpm_fast.model.decode import belief_to_parts, scale_frames, unmirror
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP

SMALL = dataclasses.replace(compact(), input_size=(64, 64))
WIDE = dataclasses.replace(compact(), input_size=(48, 80))


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn_maps(parts_crop: np.ndarray, config, sigma: float = 7.0, offset: float | None = None) -> np.ndarray:
    """Return [P+1, h, w] Gaussians around parts_crop [P, 2] crop pixels, background last: the target of the paper."""
    offset = config.cell_offset if offset is None else offset
    h, w = config.map_size
    x, y = 8 * np.arange(w) + offset, 8 * np.arange(h) + offset
    squared = (x[None, None, :] - parts_crop[:, :1, None]) ** 2 + (y[None, :, None] - parts_crop[:, 1:, None]) ** 2
    maps = np.exp(-squared / (2 * sigma**2))
    return np.concatenate([maps, 1 - maps.max(axis=0, keepdims=True)])


def test_crop_puts_the_region_into_the_box():
    image = np.zeros((100, 120, 3), np.uint8)
    image[40:60, 50:80] = (10, 120, 240)
    roi = Roi((64.5, 49.5), 32.0)
    box = crop(image, roi, SMALL)
    assert box.shape == (64, 64, 3) and box.dtype == np.uint8
    left_top, right_bottom = np.rint(roi.to_box(np.array([[50.0, 40.0], [79.0, 59.0]]), (64, 64))).astype(int)
    inside = box[left_top[1] + 5 : right_bottom[1] - 4, left_top[0] + 5 : right_bottom[0] - 4]
    assert (inside == (10, 120, 240)).all()
    assert (crop(image, Roi((1000.0, 1000.0), 32.0), SMALL) == SMALL.padding_value).all()


@given(
    st.tuples(st.floats(-50, 500), st.floats(-50, 500)),
    st.floats(1, 4000),
    st.tuples(st.floats(-500, 900), st.floats(-500, 900)),
)
def test_box_to_crop_and_back(center, side, point):
    roi = Roi(center, side)
    for size in ((368, 368), (48, 80)):
        back = roi.to_image(roi.to_box(np.array(point), size), size)
        assert np.abs(back - point).max() < 1e-3


def test_scale_crops_are_the_factors_then_their_mirrors():
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    roi = Roi((30.0, 50.0), 60.0)
    crops = scale_crops(image, roi, WIDE, (0.8, 1.25), flip=True)
    assert crops.shape == (4, 48, 80, 3)
    assert (crops[1] == crop(image, Roi((30.0, 50.0), 48.0), WIDE)).all()
    assert (crops[2:] == crops[:2, :, ::-1]).all()


def test_network_input_is_normalized_in_the_networks_order():
    crops = np.arange(2 * 8 * 8 * 3, dtype=np.uint64).astype(np.uint8).reshape(2, 8, 8, 3)
    config = dataclasses.replace(SMALL, pixel_mean=(1.0, 2.0, 3.0), pixel_scale=(10.0, 20.0, 40.0))
    bgr = network_input(crops, config)
    assert bgr.shape == (2, 3, 8, 8) and bgr.dtype == torch.float32
    np.testing.assert_allclose(bgr[:, 1], (crops[..., 1] - 2.0) / 20.0, atol=1e-6)
    np.testing.assert_allclose(bgr[:, 2], (crops[..., 2] - 3.0) / 40.0, atol=1e-6)
    rgb = network_input(torch.from_numpy(crops), dataclasses.replace(config, color="rgb"))
    np.testing.assert_allclose(rgb[:, 0], (crops[..., 2] - 1.0) / 10.0, atol=1e-6)
    np.testing.assert_allclose(network_input(np.full((1, 8, 8, 3), 255, np.uint8), SMALL), 127 / 256)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("mean", [(128.0, 128.0, 128.0), (103.53, 116.28, 123.675)], ids=["one", "three"])
@pytest.mark.parametrize("scale", [(57.0, 57.0, 57.0), (57.375, 57.12, 58.395)], ids=["one scale", "three scales"])
def test_network_input_is_that_of_the_formula_to_the_last_bit(color, mean, scale):
    crops = np.arange(256 * 3, dtype=np.int64).astype(np.uint8).reshape(2, 16, 8, 3)
    config = dataclasses.replace(SMALL, color=color, pixel_mean=mean, pixel_scale=scale)
    for taken in (crops, crops[:, ::-1], crops[:0]):
        pixels = torch.from_numpy(taken.copy() if color == "bgr" else taken[..., ::-1].copy())
        wanted = ((pixels.float() - torch.tensor(mean)) / torch.tensor(config.pixel_scale)).permute(0, 3, 1, 2)
        found = network_input(taken, config)
        assert torch.equal(found, wanted) and found.stride() == wanted.stride()


def test_network_input_rejects():
    with pytest.raises(TypeError, match="crops must be uint8, got torch.float32"):
        network_input(np.zeros((1, 8, 8, 3), np.float32), SMALL)
    with pytest.raises(ValueError, match=r"crops must be \[N, H, W, 3\], got \[8, 8, 3\]"):
        network_input(np.zeros((8, 8, 3), np.uint8), SMALL)


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize("pyramid", [(1.0,), (0.7, 1.0, 1.3)], ids=["one scale", "pyramid"])
@pytest.mark.parametrize("offset", [3.5, 0.0, 2.25])
@pytest.mark.parametrize("background", [True, False], ids=["background", "no background"])
def test_drawn_targets_come_back_within_half_a_cell(config, flip, pyramid, offset, background):
    config = dataclasses.replace(config, cell_offset=offset, background=background)
    rng = np.random.default_rng(5)
    height, width = config.input_size
    parts_box = rng.uniform(0.3, 0.7, (3, 14, 2)) * (width - 1, height - 1)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    crops = [middle + factor * (parts_box - middle) for factor in pyramid]  # [S] of [N, P, 2]
    if flip:
        crops += [np.array([width - 1, 0]) + [-1, 1] * parts[:, LSP.mirror] for parts in crops]
    maps = np.array([[drawn_maps(parts[n], config) for parts in crops] for n in range(3)])
    found, scores = belief_to_parts(torch.tensor(maps[:, :, : config.maps]), pyramid, config, True, flip)
    assert found.shape == (3, 14, 2) and scores.shape == (3, 14)
    # Half a cell is 4 px; sub-cell peaks of a cubic surface over cells of sigma 7 / 8 are within a quarter.
    assert np.abs(found - parts_box).max() < 2.0
    assert scores.min() > 0.65


def test_unmirror_is_its_own_inverse():
    maps = torch.rand(2, 3, 15, 4, 5)
    assert torch.equal(unmirror(unmirror(maps, LSP), LSP), maps)
    turned = unmirror(maps, LSP)
    assert torch.equal(turned[..., LSP.index("left_wrist"), :, :], maps[..., LSP.index("right_wrist"), :, :].flip(-1))
    assert torch.equal(turned[..., 14, :, :], maps[..., 14, :, :].flip(-1))


def test_frames_and_rejects():
    frames = scale_frames((1.0, 1.3), dataclasses.replace(SMALL, cell_offset=2.0), flip=True)
    assert frames.shape == (4, 4) and frames.dtype == torch.float64
    assert frames[0].tolist() == pytest.approx([0.125, 0.125, -0.25, -0.25])
    assert frames[2].tolist() == pytest.approx([0.125, 0.125, -0.625, -0.25])
    with pytest.raises(ValueError, match=r"maps must be \[N, 2, 15, h, w\]"):
        belief_to_parts(torch.zeros(1, 1, 15, 8, 8), (1.0,), SMALL, flip=True)
    parts, scores = belief_to_parts(torch.zeros(0, 1, 15, 8, 8), (1.0,), SMALL)
    assert parts.shape == (0, 14, 2) and scores.shape == (0, 14)
