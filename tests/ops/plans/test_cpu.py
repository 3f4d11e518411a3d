"""Choosing an algorithm: the choice exists, fits, and is the cheapest by the counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.ops import backend
from cpm_fast.ops.plans.cpu import MIN_KERNEL, WINOGRAD, ConvShape, CpuPlan, _tiles, choose_tile
from cpm_fast.ops.spectral_conv import TILES, transform_weight
from cpm_fast.ops.winograd_conv import winograd_weight

SHAPES = st.builds(
    ConvShape,
    images=st.integers(0, 40),
    inputs=st.integers(1, 300),
    outputs=st.integers(1, 600),
    kernel=st.sampled_from(range(1, 16, 2)),
    size=st.tuples(st.integers(0, 500), st.integers(0, 500)),
)


@given(shape=SHAPES, most=st.one_of(st.none(), st.integers(0, 2**32)))
def test_what_is_chosen_exists_fits_and_is_cheapest(shape, most):
    tile = choose_tile(shape, most)
    if tile is None:
        return
    assert tile in TILES and tile > shape.kernel >= MIN_KERNEL
    assert most is None or shape.spectra_bytes(tile) <= most
    assert shape.spectral_milliseconds(tile) < shape.direct_milliseconds
    for other in TILES:
        if other > shape.kernel and (most is None or shape.spectra_bytes(other) <= most):
            assert shape.spectral_milliseconds(tile) <= shape.spectral_milliseconds(other)


@given(side=st.integers(1, 500), kernel=st.sampled_from(range(3, 16, 2)), tile=st.sampled_from(TILES))
def test_tiles_cover_a_side_and_none_is_idle(side, kernel, tile):
    """A tile makes tile - kernel + 1 outputs, and a single tile half a kernel more."""
    if tile <= kernel:
        return
    count, made = _tiles(side, kernel, tile), tile - kernel + 1
    assert (count == 1 and side <= tile - kernel // 2) or (count - 1) * made < side <= count * made


@given(shape=SHAPES, most=st.integers(0, 2**32))
def test_less_memory_is_never_faster(shape, most):
    free, bound = choose_tile(shape), choose_tile(shape, most)
    if bound is not None:
        assert free is not None
        assert shape.spectral_milliseconds(free) <= shape.spectral_milliseconds(bound)


@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
@pytest.mark.parametrize("tile", TILES)
def test_spectra_have_the_bytes_that_are_counted(tile):
    shape = ConvShape(1, 3, 17, 5, (40, 40))
    assert transform_weight(torch.zeros(17, 3, 5, 5), tile).nbytes == shape.spectra_bytes(tile)


def test_the_context_layers_of_the_network_are_spectral_and_the_others_direct():
    for images in (1, 8):
        assert choose_tile(ConvShape(images, 128, 128, 9, (184, 184))) in (48, 54)
        assert choose_tile(ConvShape(images, 128, 128, 11, (46, 46))) is not None
        assert choose_tile(ConvShape(images, 512, 512, 1, (46, 46))) is None
        assert choose_tile(ConvShape(images, 3, 16, 3, (192, 192))) is None
    assert choose_tile(ConvShape(0, 128, 128, 11, (46, 46))) is None
    assert choose_tile(ConvShape(1, 128, 128, 11, (46, 46)), 0) is None


@given(shape=SHAPES, most=st.one_of(st.none(), st.integers(0, 2**32)), bf16=st.booleans())
@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
def test_minimal_filtering_is_chosen_where_it_fits_and_is_cheapest(shape, most, bf16):
    plan = CpuPlan(torch.bfloat16 if bf16 else torch.float32)
    tile = plan.tile(shape, most)
    if tile == WINOGRAD:
        assert shape.kernel == 3
    if shape.kernel == 3 and shape.images * shape.size[0] * shape.size[1]:
        fits = most is None or plan.spectra_bytes(shape, WINOGRAD) <= most
        assert plan.milliseconds(shape, tile) <= plan.milliseconds(shape, WINOGRAD) or not fits
    assert tile is None or most is None or plan.spectra_bytes(shape, tile) <= most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inputs", [3, 16])
def test_weights_of_minimal_filtering_have_the_bytes_that_are_counted(inputs, dtype):
    shape = ConvShape(1, inputs, 17, 3, (40, 40))
    assert winograd_weight(torch.zeros(17, inputs, 3, 3), dtype).nbytes == CpuPlan(dtype).spectra_bytes(shape, WINOGRAD)


@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
def test_layers_of_3x3_with_many_channels_are_filtered_and_first_layers_direct():
    plan = CpuPlan()
    for images in (1, 8):
        assert plan.tile(ConvShape(images, 144, 144, 3, (32, 32))) == WINOGRAD
        assert plan.tile(ConvShape(images, 32, 48, 3, (128, 128))) == WINOGRAD
        assert plan.tile(ConvShape(images, 3, 32, 3, (256, 256))) is None
