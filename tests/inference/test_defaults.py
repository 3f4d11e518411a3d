"""The process's default device and type, and modes of other threads' first calls, change no result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import cpm_fast
from cpm_fast.model import crops as crops_module
from cpm_fast.ops.spectral import plain_sums
from cpm_fast.ops.spectral_conv import spectral_conv, transform_weight


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


DEFAULTS = {
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("default", DEFAULTS.values(), ids=DEFAULTS)
def test_defaults_of_the_process_change_no_result(default) -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    x, weight = torch.randn(1, 16, 32, 32), torch.randn(24, 16, 7, 7)
    x[0, 3, 16, 16] = 1e6  # so that it runs as plain sums
    bias = torch.zeros(24)

    def found() -> list[np.ndarray]:
        crops_module._pixel_values.cache_clear()
        plain_sums._inverse.cache_clear()
        model = cpm_fast.load("compact-drawn", device="cpu")
        parts = cpm_fast.infer(image, model=model, find=False)[0].keypoints
        maps = spectral_conv(x, transform_weight(weight, 22), bias, False, 7)
        return [parts, maps.numpy(), *(parameter.detach().numpy() for parameter in model.parameters())]

    wanted = found()
    with default():
        under = found()
    for each, other, last in zip(wanted, under, found(), strict=True):
        assert each.dtype == other.dtype and np.array_equal(each, other) and np.array_equal(each, last)


def test_a_first_call_in_a_tracing_mode_leaves_nothing_behind() -> None:
    image = np.zeros((64, 48, 3), np.uint8)
    wanted = cpm_fast.infer(image, model="compact-drawn", find=False)[0].keypoints
    crops_module._pixel_values.cache_clear()
    with FakeTensorMode(), pytest.raises((RuntimeError, TypeError)):
        cpm_fast.infer(image, model="compact-drawn", find=False)
    assert np.array_equal(cpm_fast.infer(image, model="compact-drawn", find=False)[0].keypoints, wanted)
