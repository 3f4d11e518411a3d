"""direct_conv against convolution in float64, on every instruction set."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cpm_fast.ops import backend
from cpm_fast.ops.direct_conv import bound_direct_conv, direct_conv, pack_weight
from cpm_fast.ops.maps import POOLS, Pool
from support import exact
from support.cases import RELATIVE_ERROR
from support.exact import relative_error

BOUND = RELATIVE_ERROR["direct_conv", torch.float32]
# N, (h, w), C, O, k
CASES = [
    (1, (46, 46), 128, 15, 1),
    (2, (7, 3), 5, 33, 1),
    (1, (24, 24), 20, 96, 3),
    (2, (6, 9), 3, 16, 5),
    (1, (1, 1), 2, 3, 15),
    (0, (8, 8), 3, 4, 3),
    (1, (8, 8), 0, 4, 3),
]


TYPES = (torch.float32, torch.bfloat16)


def inputs(case: tuple, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images, size, channels, outputs, kernel = case
    x = torch.randn(images, channels, *size, generator=generator)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator)
    return x, weight, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_reference(
    case: tuple, dtype: torch.dtype, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    """With bfloat16, products are those of rounded numbers, and sums as exact as of float32."""
    x, weight, bias = inputs(case, generator)
    packed = pack_weight(weight, dtype)
    out = direct_conv(x, packed, bias, False)
    x, weight = (each.to(dtype).float() for each in (x, weight))
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(out, exact.conv(x, weight, bias, False)) < BOUND
    assert torch.equal(direct_conv(x, packed, bias, True), out.relu())
    with backend.use_backend("reference"):
        assert torch.equal(pack_weight(weight, dtype), packed)
        if x.numel():
            assert relative_error(direct_conv(x, packed, bias, False), exact.conv(x, weight, bias, False)) < BOUND


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_matches_reference_pooled(
    pool: Pool, dtype: torch.dtype, simd: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    for case in ((2, (14, 22), 3, 20, 3), (1, (6, 30), 17, 32, 1), (1, (2, 2), 1, 1, 9)):
        x, weight, bias = inputs(case, generator)
        packed = pack_weight(weight, dtype)
        wanted = F.max_pool2d(direct_conv(x, packed, bias, True), pool[0], 2, pool[1], ceil_mode=pool[1] == 0)
        assert torch.equal(direct_conv(x, packed, bias, True, pool), wanted)
        wide = torch.full((len(x), len(bias) + 5, *wanted.shape[2:]), 7.0).contiguous(memory_format=torch.channels_last)
        out = wide[:, 2:-3]
        assert direct_conv(x, packed, bias, True, pool, out) is out
        assert torch.equal(out, wanted) and (wide[:, :2] == 7).all() and (wide[:, -3:] == 7).all()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_matches_reference_on_any_number_of_threads(dtype: torch.dtype, generator: torch.Generator) -> None:
    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    x, weight, bias = inputs((2, (26, 18), 7, 40, 3), generator)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 13):
            torch.set_num_threads(count)
            results.append(direct_conv(x, pack_weight(weight, dtype), bias, True, (3, 0)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_values_round_to_bfloat16(simd: str) -> None:
    """Ties go to the even neighbor, the largest numbers to infinity; infinity and NaN stay."""
    x = torch.tensor([1.00390625, 1.01171875, -1.0039064, 3.4e38, torch.inf, -torch.inf, torch.nan, 0.1, 65280.125])
    packed = pack_weight(torch.ones(1, 1, 1, 1), torch.bfloat16)
    out = direct_conv(x.view(1, 1, 1, -1), packed, torch.zeros(1), False).flatten()
    assert torch.equal(out.nan_to_num(7, 8, 9), x.bfloat16().float().nan_to_num(7, 8, 9))


def test_a_bound_call_reads_what_its_tensors_hold_then(generator: torch.Generator) -> None:
    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    x, weight, bias = inputs((1, (6, 8), 4, 5, 3), generator)
    wide = torch.zeros(1, 9, 6, 8).contiguous(memory_format=torch.channels_last)
    source, out = wide[:, :4], wide[:, 4:]
    call = bound_direct_conv(source, pack_weight(weight), bias, False, None, out)
    for scale in (1, 2):
        source.copy_(scale * x)
        call()
        assert relative_error(out, exact.conv(scale * x, weight, bias, False)) < BOUND
    with pytest.raises(ValueError, match="x must be in channels_last"):
        bound_direct_conv(x, pack_weight(weight), bias, False, None, out)


def test_rejects() -> None:
    x, packed, bias = torch.zeros(1, 3, 8, 8), pack_weight(torch.zeros(5, 3, 3, 3)), torch.zeros(5)
    for arguments, error, message in (
        ((x[0], packed, bias, True), ValueError, r"x must be \[N, C, h, w\]"),
        ((x, packed[0], bias, True), ValueError, "packed must be .* of pack_weight"),
        ((x, packed, torch.zeros(17), True), ValueError, "with 2 blocks"),
        ((x, packed, bias[None], True), ValueError, r"bias must be \[O\]"),
        ((x.double(), packed, bias, True), TypeError, "x must be torch.float32"),
        ((x, packed.half(), bias, True), TypeError, "packed must be torch.float32 or torch.bfloat16, got"),
        ((x, packed.bfloat16(), bias, True), ValueError, r"packed must be .*2, 16, 2\] of pack_weight"),
        ((x.to("meta"), packed, bias.to("meta"), True), RuntimeError, "packed must be on meta as x is, got cpu"),
        ((x, packed, bias, True, (4, 0)), ValueError, "pool must be one of"),
        ((x, packed, bias, True, None, torch.zeros(1, 5, 8, 8)), ValueError, "out must be in channels_last"),
        ((x.to("meta"), packed.to("meta"), bias.to("meta"), True), RuntimeError, "x must be on the CPU, got meta"),
    ):
        with pytest.raises(error, match=message):
            direct_conv(*arguments)
    for weight, error, message in (
        (torch.zeros(5, 3, 4, 4), ValueError, "weight must be .* with odd k"),
        (torch.zeros(5, 3, 17, 17), ValueError, "k of at most 15"),
        (torch.zeros(5, 3, 3, 3).double(), TypeError, "weight must be torch.float32"),
        (torch.zeros(5, 3, 3, 3, device="meta"), RuntimeError, "weight must be on the CPU"),
    ):
        with pytest.raises(error, match=message):
            pack_weight(weight)
    with pytest.raises(TypeError, match="dtype must be torch.float32 or torch.bfloat16, got torch.float16"):
        pack_weight(torch.zeros(5, 3, 3, 3), torch.float16)
