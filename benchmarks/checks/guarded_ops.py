"""Every op over small tensors of many strides at the edge of memory, against plain copies of them.

    python -m benchmarks.checks.guarded_ops SEED SECONDS

It prints the number of calls that agreed. A fault ends the process by a signal, a wrong result by an error.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.checks.guarded import guarded
from cpm_fast.ops.batch_norm import batch_norm
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.conv_norm_pool import conv_norm_pool
from cpm_fast.ops.direct_conv import direct_conv, pack_weight
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.ops.maps import POOLS
from cpm_fast.ops.merge_peaks import merge_peaks
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.ops.spectral.pooled import pooled_conv
from cpm_fast.ops.spectral_conv import (
    spectral_conv,
    spectral_input_gradient,
    spectral_weight_gradient,
    transform_weight,
)

batch_norm_backward = torch.ops.cpm_fast.batch_norm_backward
pooled_conv_backward = torch.ops.cpm_fast.pooled_conv_backward
Op = tuple[Callable[..., object], list[torch.Tensor]]


def strides_of(shape: tuple[int, ...], random: np.random.Generator) -> tuple[int, ...]:
    """Return the strides of a random layout of the shape: any order of axes, gaps, strides of 0."""
    order, step, strides = random.permutation(len(shape)), 1, [0] * len(shape)
    for axis in order:
        step *= int(random.choice([1, 1, 1, 2, 3]))
        strides[axis] = step
        step *= max(shape[axis], 1)
    for axis in range(len(shape)):
        if shape[axis] == 1 and random.random() < 0.5:
            strides[axis] = int(random.integers(0, 70))
        elif random.random() < 0.05:
            strides[axis] = 0
    return tuple(strides)


def ops(random: np.random.Generator) -> Iterator[Op]:
    """Return every op with arguments of a random small shape."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal(shape).astype(np.float32))

    def size(*choices: int) -> int:
        return int(random.choice(choices))

    images, channels, outputs, kernel = size(0, 1, 1, 2), size(1, 3, 16, 20), size(1, 16, 17), size(1, 3, 5)
    height, width, relu, tile = size(1, 1, 2, 6, 20), size(1, 1, 2, 7, 18), bool(size(0, 1)), size(16, 20)
    x, weight, bias = draw(images, channels, height, width), draw(outputs, channels, kernel, kernel), draw(outputs)
    spectra, packed = transform_weight(weight, tile), pack_weight(weight)
    yield lambda w: transform_weight(w, tile), [weight]
    yield pack_weight, [weight]
    yield lambda x, s, b: spectral_conv(x, s, b, relu, kernel), [x, spectra, bias]
    yield lambda x, b: direct_conv(x, packed, b, relu), [x, bias]
    yield lambda x, w, b: context_conv(x, w, b, relu), [x, weight, bias]
    dtype, vectors = torch.bfloat16 if random.random() < 0.5 else torch.float32, [draw(channels), draw(channels)]
    for pool, tall, broad in ((False, height + 1, width), (True, 2 * height, 2 * width)):
        normed, dy = (draw(images + 1, channels, tall // n, broad // n).to(dtype) for n in (1, 2 if pool else 1))
        yield lambda x, w, b, pool=pool: batch_norm(x, w, b, 1e-3, relu, pool)[0], [normed, *vectors]
        yield (
            lambda dy, x, w, b, pool=pool: batch_norm_backward(dy, x, w, b, b, w.square(), 1e-3, relu, pool),
            [dy, normed, *vectors],
        )
    first = [draw(outputs, channels, 3, 3), *(draw(outputs) for _ in range(3))]
    yield (
        lambda x, w, b, s, t: conv_norm_pool(x, w, b, s, t, 1e-3)[0],
        [draw(images + 1, channels, 2 * height, 2 * width), *first],
    )
    gradient, out = draw(images, outputs, height, width), draw(images, outputs, height, width)
    adjoint = transform_weight(weight, tile, adjoint=True)
    yield lambda g, s, o: spectral_input_gradient(g, s, o, channels, kernel), [gradient, adjoint, out]
    yield lambda g, x, o: spectral_weight_gradient(g, x, o, kernel, tile), [gradient, x, out]
    window = POOLS[int(random.integers(len(POOLS)))]
    wide, halves = draw(images, channels, 2 * height, 2 * width), draw(images, outputs, height, width)
    places = torch.from_numpy(random.integers(0, 12, halves.shape, dtype=np.uint8))
    yield lambda x, w, b: pooled_conv(x, w, b, tile, window), [wide, weight, bias]
    yield (
        lambda g, x, w, p: pooled_conv_backward(g, x, w, p, tile, *window, [True, True, True]),
        [halves, wide, weight, places],
    )
    maps, scales, box = draw(images, 2, 3, height, width), torch.rand(2, 4, dtype=torch.float64) + 0.1, (9, 11)
    yield lambda m: peaks(m, True), [draw(images, 2, height, width)]
    yield lambda m: many_peaks(m, 0.0, 1), [draw(images, height, width)]
    yield lambda m, f: resize_merge(m, f, box), [maps, scales]
    yield lambda m, f: merge_peaks(m, f, box, True), [maps, scales]
    parts, labeled = 8 * draw(images, 2, 3, 2), torch.rand(images, 2, 3) < 0.7
    yield lambda p, on: gaussian_targets(p, on, (height, width), 7.0, 8.0), [parts, labeled]


def same(found: object, wanted: object) -> bool:
    if isinstance(found, torch.Tensor) and isinstance(wanted, torch.Tensor):
        # PyTorch's convolutions add in another order in another layout.
        return torch.allclose(found.float(), wanted.float(), rtol=1e-3, atol=1e-3, equal_nan=True)
    return all(map(same, found, wanted))  # type: ignore[call-overload]


def check_reads(op: Op, random: np.random.Generator) -> None:
    """Check that an op gives the same result for guarded, read-only tensors as for plain copies."""
    call, arguments = op
    strides = [strides_of(tuple(each.shape), random) for each in arguments]
    # With a stride of 0 fewer values remain, and only those count.
    at_end = bool(random.random() < 0.7)
    placed = [guarded(each, steps, at_end, writable=False) for each, steps in zip(arguments, strides, strict=True)]
    plain = [each.clone(memory_format=torch.contiguous_format) for each in placed]
    found, wanted = call(*placed), call(*plain)
    close = same(found, wanted)
    assert close, f"{[(tuple(e.shape), e.stride()) for e in placed]}: another result than of copies"


def check_writes(random: np.random.Generator) -> None:
    """Check that `out=` is written or refused, and never beyond its memory."""
    images, outputs = int(random.choice([0, 1, 2])), int(random.choice([1, 3, 17]))
    height, width = int(random.choice([1, 2, 6])), int(random.choice([1, 2, 8]))
    pool = (2, 0) if height % 2 == width % 2 == 0 and random.random() < 0.5 else None
    x, weight, bias = torch.randn(images, 3, height, width), torch.randn(outputs, 3, 3, 3), torch.randn(outputs)
    shape = (images, outputs, height // 2, width // 2) if pool else (images, outputs, height, width)
    if random.random() < 0.6:  # channels of a wider map, often with arbitrary strides for sides of 1
        pitch = outputs + int(random.choice([0, 0, 5]))
        strides = [shape[2] * shape[3] * pitch, 1, shape[3] * pitch, pitch]
        strides = [
            int(random.integers(0, 99)) if s == 1 and random.random() < 0.5 else step
            for s, step in zip(shape, strides, strict=True)
        ]
    else:
        strides = list(strides_of(shape, random))
    for call in (
        lambda out: direct_conv(x, pack_weight(weight), bias, True, pool, out),
        lambda out: spectral_conv(x, transform_weight(weight, 16), bias, True, 3, pool, out),
    ):
        out = guarded(torch.full(shape, 7.0), tuple(strides))
        try:
            call(out)
        except ValueError as error:
            assert "out must be" in str(error), error
        else:
            assert same(out, call(None)), (shape, strides)


def run(seed: int, seconds: float) -> int:
    """Call ops for a while and return the number of calls that agreed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random, begun, calls = np.random.default_rng(seed), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        for op in ops(random):
            check_reads(op, random)
            calls += 1
        check_writes(random)
        calls += 2
    return calls


if __name__ == "__main__":
    print(run(int(sys.argv[1]), float(sys.argv[2])), "calls agree")
