"""No op follows an invalid pointer: tensors without memory, odd strides, memory that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from cpm_fast.ops import backend
from cpm_fast.ops.bound.maps import copy_maps
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.direct_conv import bound_direct_conv, direct_conv, pack_weight
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.maps import pitch_of
from cpm_fast.ops.memory import address
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.ops.spectral_conv import (
    bound_spectral_conv,
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason=str(backend.native_missing("cpu")))

torch.manual_seed(0)
X = torch.randn(2, 20, 14, 12)
WEIGHT, BIAS = torch.randn(17, 20, 3, 3), torch.randn(17)
Y = torch.randn(2, 17, 14, 12)
MAPS, FRAMES = torch.randn(2, 2, 3, 8, 6), torch.tensor([[0.5, 0.5, 0.0, 0.0]] * 2, dtype=torch.float64)
PARTS, LABELED = 8 * torch.randn(2, 1, 3, 2), torch.ones(2, 1, 3, dtype=torch.bool)
SPECTRA, ADJOINT, PACKED = transform_weight(WEIGHT, 16), transform_weight(WEIGHT, 16, adjoint=True), pack_weight(WEIGHT)
BF16 = torch.bfloat16
OPS: dict[str, tuple[Callable, tuple[torch.Tensor, ...]]] = {
    "transform_weight": (lambda w: transform_weight(w, 16), (WEIGHT,)),
    "pack_weight": (pack_weight, (WEIGHT,)),
    "spectral_conv": (lambda x, s, b: spectral_conv(x, s, b, True, 3), (X, SPECTRA, BIAS)),
    "direct_conv": (lambda x, p, b: direct_conv(x, p, b, True), (X, PACKED, BIAS)),
    "transform_weight of bfloat16": (lambda w: transform_weight(w, 16, dtype=BF16), (WEIGHT,)),
    "pack_weight of bfloat16": (lambda w: pack_weight(w, BF16), (WEIGHT,)),
    "spectral_conv of bfloat16": (lambda x, s, b: spectral_conv(x, s, b, True, 3), (X, SPECTRA.to(BF16), BIAS)),
    "direct_conv of bfloat16": (lambda x, p, b: direct_conv(x, p, b, True), (X, pack_weight(WEIGHT, BF16), BIAS)),
    "context_conv": (lambda x, w, b: context_conv(x, w, b, True), (X, WEIGHT, BIAS)),
    "spectral_input_gradient": (lambda g, s, o: spectral_input_gradient(g, s, o, 20, 3), (Y, ADJOINT, Y + 1)),
    "spectral_weight_gradient": (lambda g, x, o: spectral_weight_gradient(g, x, o, 3, 16), (Y, X, Y + 1)),
    "peaks": (lambda m: peaks(m, True), (MAPS[:, 0],)),
    "resize_merge": (lambda m, f: resize_merge(m, f, (9, 7)), (MAPS, FRAMES)),
    "merge_peaks": (lambda m, f: merge_peaks(m, f, (9, 7), True), (MAPS, FRAMES)),
    "gaussian_targets": (lambda p, on: gaussian_targets(p, on, (9, 7), 7.0, 8.0), (PARTS, LABELED)),
}
ARGUMENTS = [(name, place) for name, (_, arguments) in OPS.items() for place in range(len(arguments))]


def tensors(result: object) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [tensor for each in result for tensor in tensors(each)]  # type: ignore[attr-defined]


def with_argument(name: str, place: int, change: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    call, arguments = OPS[name]
    return tensors(call(*(change(each) if i == place else each for i, each in enumerate(arguments))))


def released(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    copy.untyped_storage().resize_(0)
    return copy


def cut(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    copy.untyped_storage().resize_(copy.nbytes // 2)
    return copy


@pytest.mark.parametrize("take", [released, cut], ids=["released", "cut"])
@pytest.mark.parametrize(("name", "place"), ARGUMENTS)
def test_memory_that_is_gone_is_refused(name: str, place: int, take: Callable) -> None:
    with pytest.raises(RuntimeError, match="must have its memory"):
        with_argument(name, place, take)


@pytest.mark.parametrize(("name", "place"), ARGUMENTS)
def test_views_with_another_sign_count_as_what_they_are(name: str, place: int) -> None:
    if not OPS[name][1][place].is_floating_point():
        pytest.skip("has no sign")
    wanted = tensors(OPS[name][0](*OPS[name][1]))
    found = with_argument(name, place, lambda tensor: torch._neg_view(-tensor))
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize(("name", "place"), ARGUMENTS)
def test_a_zero_tensor_counts_as_zeros(name: str, place: int) -> None:
    if not OPS[name][1][place].is_floating_point():
        pytest.skip("there is none of bools")
    wanted = with_argument(name, place, torch.zeros_like)
    try:
        found = with_argument(name, place, lambda tensor: torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype))
    except RuntimeError as error:  # an error by name, ours or PyTorch's, is right too
        assert "ero" in str(error)
        return
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("name", OPS)
def test_fake_tensors_give_shapes(name: str) -> None:
    call, arguments = OPS[name]
    wanted, mode = tensors(call(*arguments)), FakeTensorMode()
    fakes = [mode.from_tensor(each) for each in arguments]
    with mode:
        found = tensors(call(*fakes))
    assert all(isinstance(each, FakeTensor) for each in found)
    assert [each.shape for each in found] == [each.shape for each in wanted]


def test_addresses_of_tensors_without_memory_are_refused() -> None:
    # A plain tensor has been accepted before.
    assert address("x", X) == X.data_ptr()
    fake = FakeTensorMode().from_tensor(X)
    for tensor, kind in (
        (fake, "trace"),
        (X.to("meta"), "meta"),
        (torch._neg_view(X), "negative"),
        (torch._efficientzerotensor(X.shape), "zero"),
    ):
        with pytest.raises(RuntimeError, match=f"x must be a tensor with memory of its own, got .*{kind}"):
            address("x", tensor)
    with pytest.raises(RuntimeError, match="x must be a dense tensor"):
        address("x", torch.eye(3).to_sparse())

    def under(x: torch.Tensor) -> torch.Tensor:
        address("x", x)
        return x.sum()

    for transform, kind in (
        (torch.func.vmap, "vmap"),
        (torch.func.grad, "gradient"),
        (torch.func.functionalize, "func"),
    ):
        with pytest.raises(RuntimeError, match=kind):
            transform(under)(X)


def test_bound_calls_look_at_their_memory_again() -> None:
    x, out = X.contiguous(memory_format=torch.channels_last), Y.contiguous(memory_format=torch.channels_last).clone()
    for bind, weight in (
        (lambda x, w: bound_direct_conv(x, w, BIAS, True, None, out), PACKED),
        (lambda x, w: bound_spectral_conv(x, w, BIAS, True, 3, None, out), SPECTRA),
    ):
        with pytest.raises(RuntimeError, match="x must be a tensor with memory of its own"):
            bind(torch._neg_view(x), weight)
        mine, ours = x.clone(), weight.clone()
        call = bind(mine, ours)
        call()
        ours.untyped_storage().resize_(0)
        with pytest.raises(RuntimeError, match="must have its memory"):
            call()


def test_a_copy_of_a_fake_tensor_is_not_a_copy_of_its_address() -> None:
    target = torch.zeros_like(X)
    with pytest.raises((RuntimeError, AssertionError, TypeError)):
        copy_maps(FakeTensorMode().from_tensor(X), target)
    with pytest.raises(RuntimeError, match="must have its memory"):
        copy_maps(released(X), target)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 1, 1), (1, 3, 2, 1), (1, 3, 1, 2), (2, 1, 2, 2), (1, 1, 1, 1)])
def test_pitch_reaches_exactly_the_tensors_values(shape: tuple[int, ...]) -> None:
    images, channels, height, width = shape
    memory, places = torch.arange(4096), 0
    for steps in permutations((1, 2, 3, 4, 5, 6, 12), 4):
        tensor = memory.as_strided(shape, steps)
        pitch = pitch_of(tensor)
        if pitch is None:
            continue
        places += 1
        n, y, x, c = torch.meshgrid(*(torch.arange(side) for side in (images, height, width, channels)), indexing="ij")
        by_pitch = ((n * height + y) * width + x) * pitch + c
        assert torch.equal(by_pitch, tensor.permute(0, 2, 3, 1)), steps
    assert places or shape == (2, 1, 2, 2)


def test_out_that_is_also_read_is_refused() -> None:
    wide = torch.randn(1, 40, 8, 8).contiguous(memory_format=torch.channels_last)
    x, weight, bias = wide[:, :20], torch.randn(20, 20, 3, 3), torch.zeros(20)
    for out in (wide[:, 10:30], wide[:, 19:39], x):
        with pytest.raises(ValueError, match="out must lie apart from x"):
            direct_conv(x, pack_weight(weight), bias, False, out=out)
        with pytest.raises(ValueError, match="out must lie apart from x"):
            spectral_conv(x, transform_weight(weight, 16), bias, False, 3, out=out)
    wanted, version = F.conv2d(x, weight, padding=1), wide._version
    assert torch.allclose(direct_conv(x, pack_weight(weight), bias, False, out=wide[:, 20:]), wanted, atol=1e-4)
    assert wide._version > version  # autograd is notified


def test_no_op_leaves_the_memory_of_its_tensors() -> None:
    run = [sys.executable, "-m", "benchmarks.checks.guarded_ops", "1", "5"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0 and "calls agree" in done.stdout, (done.returncode, done.stdout, done.stderr[-2000:])
