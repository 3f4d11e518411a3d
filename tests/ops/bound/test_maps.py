"""Copies of maps, sums of residual blocks and averages of the center map, bound to buffers."""

from __future__ import annotations

import pytest
import torch

from cpm_fast.model.layers import Layer
from cpm_fast.model.walk import center_pool
from cpm_fast.ops.bound.maps import bound_center_pool, bound_clone, bound_copy, bound_fill, bound_sum

SIZE = (2, 5, 7, 6)


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("part", [False, True], ids=["whole maps", "channels of maps"])
def test_matches_reference(relu, part):
    x, earlier, out = (channels_last(2, 9, 7, 6)[:, 2:7] if part else channels_last(*SIZE) for _ in range(3))
    call = bound_sum(x, earlier, relu, out)
    for _ in range(2):  # the content of the maps at the call counts
        x.normal_()
        earlier.normal_()
        x[0, 0, 0, 0] = float("nan")
        call()
        wanted = x + earlier
        wanted = torch.relu(wanted) if relu else wanted
        torch.testing.assert_close(out, wanted, rtol=0, atol=0, equal_nan=True)


def test_rejects():
    x, earlier, out = channels_last(*SIZE), channels_last(*SIZE), channels_last(*SIZE)
    with pytest.raises(ValueError, match="must be of one shape"):
        bound_sum(x, earlier[:, :4], True, out)
    with pytest.raises(ValueError, match="out must lie apart from earlier"):
        bound_sum(x, earlier, True, earlier)
    with pytest.raises(TypeError, match="x must be torch.float32"):
        bound_sum(x.double(), earlier, True, out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bound_copy_reads_the_current_values(dtype):
    source, whole = torch.randn(SIZE, dtype=dtype), channels_last(2, 9, 7, 6)
    target, others = whole[:, 2:7], whole[:, [0, 1, 7, 8]]
    copy = bound_copy(source, target)
    for _ in range(2):
        source.normal_()
        copy()
        assert torch.equal(target, source.float()) and torch.equal(whole[:, [0, 1, 7, 8]], others)


def test_a_bound_copy_spreads_an_expanded_map():
    source, target = torch.randn(1, 1, 7, 6), channels_last(*SIZE)
    bound_copy(source.expand(SIZE), target)()
    assert torch.equal(target, source.expand(SIZE))


def test_a_bound_copy_of_memory_that_is_gone_is_refused():
    source, target = channels_last(*SIZE), channels_last(*SIZE)
    copy = bound_copy(source, target)
    source.untyped_storage().resize_(8)
    with pytest.raises(RuntimeError, match="source must have its memory"):
        copy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bound_fill_takes_any_layout_and_type(dtype):
    whole = channels_last(2, 9, 7, 6)
    fill = bound_fill(whole[:, 2:7])
    for source in (torch.randn(SIZE), channels_last(*SIZE), channels_last(2, 9, 7, 6)[:, 1:6]):
        kept = whole.clone()
        fill(source.to(dtype))
        assert torch.equal(whole[:, 2:7], source)
        assert torch.equal(whole[:, :2], kept[:, :2]) and torch.equal(whole[:, 7:], kept[:, 7:])


def test_a_bound_fill_of_memory_that_is_gone_is_refused():
    target = channels_last(*SIZE)
    fill = bound_fill(target)
    target.untyped_storage().resize_(8)
    with pytest.raises(RuntimeError, match="target must have its memory"):
        fill(channels_last(*SIZE))


@pytest.mark.parametrize("size", [SIZE, (2, 5, 80, 60)], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bound_clone_is_a_new_tensor_of_the_current_values(dtype, size):
    source = channels_last(2, 9, *size[2:]).to(dtype)[:, 2:7]
    clone = bound_clone(source)
    earlier = clone()
    kept = earlier.clone()
    source.normal_()
    later = clone()
    assert torch.equal(later, source) and later.dtype == dtype
    assert later.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(earlier, kept)


def test_a_bound_clone_is_where_its_source_is():
    source = channels_last(*SIZE)
    with torch.device("meta"):
        assert torch.equal(bound_clone(source)(), source)


def test_a_bound_clone_of_memory_that_is_gone_is_refused():
    source = channels_last(*SIZE)
    clone = bound_clone(source)
    source.untyped_storage().resize_(8)
    with pytest.raises(RuntimeError, match="source must have its memory"):
        clone()


@pytest.mark.parametrize("kernel", [8, 9, 15])
@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 24)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, "negative view", "every second column"])
def test_center_maps_are_averaged_as_by_the_model(kernel, size, kind):
    height, width = size
    layer = Layer("center", "center_pool", ("map",), kernel, 1, 1, (height // 8, width // 8))
    whole = channels_last(2, 4, height // 8, width // 8)
    others = whole[:, [0, 2, 3]]
    average = bound_center_pool(kernel, whole[:, 1:2])
    for _ in range(2):
        center_map = torch.rand(2, 1, height, width)
        if kind == "negative view":
            center_map = torch.complex(center_map, center_map).conj().imag
        elif kind == "every second column":
            center_map = torch.rand(2, 1, height, 2 * width)[..., ::2]
        else:
            center_map = center_map.to(kind)
        average(center_map)
        torch.testing.assert_close(whole[:, 1:2], center_pool(layer, center_map.float()))
        assert torch.equal(whole[:, [0, 2, 3]], others)
