"""The merge of scales against plain loops, and its laws."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from cpm_fast.reference.resize_merge import keys, resize_merge
from cpm_fast.roi import Frame


def frames_of(*frames: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(frames, dtype=torch.float64)


def pyramid_frames(size: tuple[int, int], factors: tuple[float, ...], offset: float = 3.5) -> torch.Tensor:
    return frames_of(*(dataclasses.astuple(Frame.of_crop(size, 8, offset, factor)) for factor in factors))


def kernel(d: float) -> float:
    d = abs(d)
    if d <= 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def loops(maps: np.ndarray, frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Compute the definition, one output value at a time."""
    n, scales, channels, h, w = maps.shape
    out = np.zeros((n, channels, *size))
    for i, s, c, y, x in np.ndindex(n, scales, channels, *size):
        sx, sy, ox, oy = frames[s]
        cx, cy = sx * x + ox, sy * y + oy
        if cx < -0.5 or cx > w - 0.5 or cy < -0.5 or cy > h - 0.5:
            out[i, c, y, x] += c == channels - 1
            continue
        for gy in range(math.floor(cy) - 1, math.floor(cy) + 3):
            for gx in range(math.floor(cx) - 1, math.floor(cx) + 3):
                cell = maps[i, s, c, min(max(gy, 0), h - 1), min(max(gx, 0), w - 1)]
                out[i, c, y, x] += kernel(cy - gy) * kernel(cx - gx) * cell
    return out / scales


CASES = [
    pytest.param((1, 3, 2, 3, 4), pyramid_frames((24, 32), (0.7, 1.0, 1.3)), (24, 32), id="pyramid"),
    pytest.param((2, 2, 2, 4, 3), frames_of((0.3, 0.21, -1.2, 0.4), (0.11, 0.4, 0.3, -2.0)), (13, 11), id="uneven"),
    pytest.param((1, 1, 2, 1, 1), frames_of((0.125, 0.125, -0.4375, -0.4375)), (8, 8), id="one cell"),
    pytest.param((1, 1, 2, 6, 7), frames_of((2.0, 2.0, 0.5, 0.5)), (4, 4), id="shrinking, not antialiased"),
]


@pytest.mark.parametrize(("shape", "frames", "size"), CASES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_matches_loops(shape, frames, size, dtype, bound, generator):
    maps = torch.randn(shape, generator=generator, dtype=torch.float64)
    out = resize_merge(maps.to(dtype), frames, size)
    assert out.dtype == dtype
    np.testing.assert_allclose(out.double(), loops(maps.numpy(), frames.numpy(), size), atol=bound)


def test_kernel_is_a_partition_of_unity_and_interpolates():
    d = torch.linspace(0, 1, 101, dtype=torch.float64)
    total = keys(d + 1) + keys(d) + keys(1 - d) + keys(2 - d)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert keys(torch.tensor([0.0, 1.0, -1.0, 2.0, 3.0])).tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("frame", [(1.0, 1.0, 0.0, 0.0), (1.0, 1.0, 2.0, 1.0)], ids=["identity", "shift by cells"])
def test_at_cell_centers_the_maps_come_back(frame, generator):
    maps = torch.randn(2, 1, 3, 7, 9, generator=generator)
    h, w = 7 - int(frame[3]), 9 - int(frame[2])
    out = resize_merge(maps, frames_of(frame), (h, w))
    torch.testing.assert_close(out, maps[:, 0, :, int(frame[3]) :, int(frame[2]) :], atol=1e-6, rtol=0)


def test_outside_a_crop_parts_are_0_and_background_is_1(generator):
    maps = 5 + torch.rand(1, 1, 4, 5, 5, generator=generator)
    # Output pixel x is cell x - 3: pixels 3 to 7 are inside; a quarter cell off, the edge cell's half is too.
    for shift, inside in ((3.0, range(3, 8)), (2.5, range(2, 8)), (2.75, range(3, 8)), (2.25, range(2, 7))):
        out = resize_merge(maps, frames_of((1.0, 1.0, -shift, -3.0)), (11, 11))
        where = torch.zeros(11, 11, dtype=torch.bool)
        where[3:8, inside.start : inside.stop] = True
        assert (out[0, :3][:, ~where] == 0).all() and (out[0, 3][~where] == 1).all()
        assert (out[0][:, where] > 4).all()


def test_linear_where_inside(generator):
    a, b = torch.randn(2, 1, 2, 3, 6, 6, generator=generator, dtype=torch.float64)
    frames, size = frames_of((0.1, 0.1, 0.0, 0.0), (0.11, 0.12, 0.3, 0.2)), (40, 40)
    both = resize_merge(2 * a - 3 * b, frames, size)
    torch.testing.assert_close(both, 2 * resize_merge(a, frames, size) - 3 * resize_merge(b, frames, size))


def test_order_of_scales_does_not_matter(generator):
    maps = torch.randn(1, 3, 4, 8, 8, generator=generator, dtype=torch.float64)
    frames, order = pyramid_frames((64, 64), (0.7, 1.0, 1.3)), [2, 0, 1]
    torch.testing.assert_close(
        resize_merge(maps[:, order], frames[order], (64, 64)), resize_merge(maps, frames, (64, 64))
    )


def test_frames_of_each_image_are_its_own(generator):
    maps = torch.randn(2, 2, 3, 5, 5, generator=generator)
    frames = torch.rand(2, 2, 4, generator=generator, dtype=torch.float64) * 0.3
    out = resize_merge(maps, frames, (9, 7))
    for i in range(2):
        torch.testing.assert_close(out[i : i + 1], resize_merge(maps[i : i + 1], frames[i], (9, 7)))


def test_gradient_is_the_transpose(generator):
    maps = torch.randn(1, 2, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    frames = pyramid_frames((32, 40), (0.8, 1.2))
    assert torch.autograd.gradcheck(lambda m: resize_merge(m, frames, (6, 7)), (maps,))
