"""The CUDA plan: the choice exists, fits and is the cheapest by the counts; the first layer stays direct."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_fast.kernels.plans import MODES
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import (
    MIN_KERNEL,
    choose_cuda_tile,
    direct_seconds,
    spectra_bytes,
    spectral_seconds,
    spectral_steps,
)
from cpm_fast.ops.spectral_conv import TILES

SHAPES = st.builds(
    ConvShape,
    images=st.integers(0, 40),
    inputs=st.integers(1, 300),
    outputs=st.integers(1, 600),
    kernel=st.sampled_from(range(1, 16, 2)),
    size=st.tuples(st.integers(0, 500), st.integers(0, 500)),
)


@settings(max_examples=60)
@given(
    shape=SHAPES,
    mode=st.sampled_from(MODES),
    training=st.booleans(),
    most=st.one_of(st.none(), st.integers(0, 2**32)),
)
def test_what_is_chosen_exists_fits_and_is_cheapest(shape, mode, training, most):
    tile = choose_cuda_tile(shape, mode, training, most)
    if tile is None:
        return
    assert tile in TILES and tile > shape.kernel >= MIN_KERNEL
    assert most is None or spectra_bytes(shape, tile, mode) <= most
    chosen = spectral_seconds(shape, tile, mode, training)
    assert chosen < direct_seconds(shape, mode)
    for other in TILES:
        if other > shape.kernel and (most is None or spectra_bytes(shape, other, mode) <= most):
            assert chosen <= spectral_seconds(shape, other, mode, training)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("images", [1, 32])
def test_the_first_layer_is_direct_and_the_context_layers_are_spectral(images, mode):
    assert choose_cuda_tile(ConvShape(images, 3, 256, 9, (368, 368)), mode) is None
    assert choose_cuda_tile(ConvShape(images, 512, 512, 1, (46, 46)), mode) is None
    for inputs, outputs, kernel, side in ((128, 128, 9, 184), (128, 128, 9, 92), (128, 128, 11, 46), (48, 128, 11, 46)):
        shape = ConvShape(images, inputs, outputs, kernel, (side, side))
        assert choose_cuda_tile(shape, mode) is not None
        assert choose_cuda_tile(shape, mode, training=True) is not None


def test_more_images_pay_for_larger_tiles():
    few, many = (choose_cuda_tile(ConvShape(images, 128, 128, 11, (46, 46)), "bf16") for images in (1, 32))
    assert few is not None and many is not None and few < many


def test_a_transform_of_the_weight_counts_in_training():
    shape = ConvShape(1, 128, 128, 11, (46, 46))
    assert len(spectral_steps(shape, 32, "bf16", True)) == len(spectral_steps(shape, 32, "bf16", False)) + 1
    assert spectral_seconds(shape, 32, "bf16", True) > spectral_seconds(shape, 32, "bf16", False)


def test_predictions_agree_with_the_launches_as_they_are():
    """Counts of the plan against those of launches with all their padding: no step differs by more than a few times."""
    pytest.importorskip("triton")
    from benchmarks.studies import spectral_table

    for shape in spectral_table.shapes("cpm6"):
        conv = spectral_table.conv_shape(shape, 32)
        for mode in MODES:
            tile = choose_cuda_tile(conv, mode)
            if tile is None:
                continue
            found = dict(spectral_table.launches(shape, 32, tile, mode, 90))
            for step in spectral_steps(conv, tile, mode, True):
                kind = spectral_table.arithmetic_of(step.name, mode)
                memory, products = spectral_table.counted(found[step.name], kind)
                assert memory == pytest.approx(step.memory, rel=0.1), (shape.name, mode, step.name)
                assert 0.4 <= products / step.products <= 2.5, (shape.name, mode, step.name)
