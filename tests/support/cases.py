"""Cases and tolerances of every op, for the tests and for the benchmarks.

One table per op. A case draws fresh random inputs from the given generator, so that no test relies on fixed numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# ||out - oracle|| / ||oracle|| against float64, by op and dtype. Each line gives its reason.
RELATIVE_ERROR = {
    # Two float32 exponentials of 1 ulp, a product, a sum over people: measured 4e-8; CUDA's exponential has 2 ulp.
    ("gaussian_targets", torch.float32): 2e-7,
    # Eight weights of half an ulp, 15 products and sums a scale, one sum a scale: measured 1e-7 on positive maps, 2e-7
    # on noise, where the sums cancel.
    ("resize_merge", torch.float32): 5e-7,
    # A score is one value of resize_merge, with its error; the norm is over few of them.
    ("merge_peaks", torch.float32): 1e-6,
    # Four transforms and a product, about log2(t^2) + log2(C) roundings deep: measured 2e-7 to 3e-7, and the direct
    # convolution of oneDNN 2e-7 to 5e-7.
    ("spectral_conv", torch.float32): 1e-6,
    # Sums of k k C products, one after the other: measured 1e-7 to 3e-7.
    ("direct_conv", torch.float32): 1e-6,
    # The same as spectral_conv, and the sum over tiles, images and pixels.
    ("spectral_gradient", torch.float32): 1e-6,
    # On CUDA in its modes: of float32 maps as on the CPU, but with fp16 spectra, whose rounding is 3.5e-4 on random
    # numbers; fp16 maps and Fourier matrices too, 6e-4. bfloat16 has an eighth of the precision, and so have the
    # spectra of its gradients.
    ("spectral_conv", "tf32x3"): 1e-6,
    ("spectral_conv", "ieee"): 1e-6,
    ("spectral_conv", "tf32"): 1e-6,
    ("spectral_conv", "fp16 spectra"): 1e-3,
    ("spectral_conv", "fp16"): 1.5e-3,
    ("spectral_conv", "bf16"): 1e-2,
    # Sums in double precision, one product and two sums per value: measured 4e-8 to 1e-7. PyTorch's own is off by 5e-5.
    ("batch_norm", torch.float32): 3e-7,
    # y and the gradient of x are rounded once to 8 bits, by 2^-8 at most: measured 1.5e-3 to 1.8e-3.
    ("batch_norm", torch.bfloat16): 4e-3,
    # A gradient is a difference of three such terms, which may nearly cancel.
    ("batch_norm_gradient", torch.float32): 1e-6,
    # Sums of 9 C products before the normalization, which subtracts their mean: measured 6e-8 to 4e-7.
    ("conv_norm_pool", torch.float32): 1e-6,
    # Sums of k k C products: each rounded in float32 and added in any order, measured 1e-7 to 3e-7; float64 has 2^29 of
    # that.
    ("context_conv", torch.float64): 1e-14,
    ("context_conv", torch.float32): 1e-6,
    # 3xTF32 drops the product of the two low parts, 2^-22 of a term; "ieee" is float32.
    ("context_conv", "tf32x3"): 1e-6,
    ("context_conv", "ieee"): 1e-6,
    # Arguments in 10 bits (tf32) are off by 2.8e-4 on average each; results in 16 bits by as much again. The gradients
    # after a ReLU include a few values whose sign the rounding has changed.
    ("context_conv", "tf32"): 1e-3,
    ("context_conv", torch.float16): 1e-3,
    ("context_conv", torch.bfloat16): 8e-3,
}


@dataclass(frozen=True)
class TargetsCase:
    """An input of gaussian_targets: N images of K people with P parts, on maps of h x w cells."""

    name: str
    images: int
    people: int
    parts: int
    size: tuple[int, int]  # (h, w), cells
    sigma: float = 7.0  # box pixels
    stride: float = 8.0  # box pixels per cell
    labeled: float = 0.8  # fraction of the parts that are

    def inputs(self, generator: torch.Generator, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return parts [N, K, P, 2] up to a fifth of the box outside it, NaN where unlabeled, and labeled [N, K, P]."""
        shape = (self.images, self.people, self.parts)
        extent = torch.tensor([self.size[1], self.size[0]]) * self.stride
        parts = (torch.rand(*shape, 2, generator=generator) * 1.4 - 0.2) * extent
        labeled = torch.rand(shape, generator=generator) < self.labeled
        parts[~labeled] = float("nan")
        return parts.to(device), labeled.to(device)

    def __str__(self) -> str:
        return self.name


GAUSSIAN_TARGETS = (
    TargetsCase("release", 2, 1, 14, (46, 46)),
    TargetsCase("crowd", 3, 5, 14, (46, 46)),
    TargetsCase("center-map", 2, 1, 1, (123, 117), sigma=21.0, stride=1.0),
    TargetsCase("odd-sizes", 3, 2, 9, (7, 61), sigma=9.0, stride=4.0),
    TargetsCase("one-cell", 4, 3, 2, (1, 1)),
    TargetsCase("one-row", 1, 2, 3, (1, 33)),
    TargetsCase("narrow-peak", 2, 3, 5, (31, 29), sigma=1.5),
    TargetsCase("peak-wider-than-map", 2, 3, 4, (19, 23), sigma=300.0),
    TargetsCase("fractional-stride", 2, 4, 6, (37, 35), sigma=2.3, stride=2.75),
    TargetsCase("nobody", 2, 0, 14, (46, 46)),
    TargetsCase("no-images", 0, 1, 14, (46, 46)),
    TargetsCase("nothing-labeled", 2, 2, 14, (46, 46), labeled=0.0),
    TargetsCase("large-batch", 65, 2, 3, (13, 17)),
)

# The benchmarks time these cases: the release's maps, one person and a group.
GAUSSIAN_TARGETS_TIMED = tuple(
    TargetsCase(f"{images}x{people}-people", images, people, 14, (46, 46), labeled=1.0)
    for people in (1, 5)
    for images in (1, 8, 32)
)


@dataclass(frozen=True)
class MergeCase:
    """An input of resize_merge and merge_peaks: N images, S scales of P parts and background on h x w cells."""

    name: str
    images: int
    factors: tuple[float, ...]  # of the pyramid, S of them
    parts: int
    cells: tuple[int, int]  # (h, w)
    size: tuple[int, int]  # (H, W), pixels
    own_frames: bool = False  # a set of frames for each image

    def frames(self, device: str = "cpu") -> torch.Tensor:
        """Return [S, 4] float64, or [N, S, 4] shifted by 0.3 cells per image; all maps share the output's middle."""
        frames = torch.empty(len(self.factors), 4, dtype=torch.float64)
        for s, factor in enumerate(self.factors):
            for axis in (0, 1):
                cells, pixels = self.cells[1 - axis], self.size[1 - axis]
                scale = factor * cells / pixels
                frames[s, axis], frames[s, 2 + axis] = scale, (cells - 1 - scale * (pixels - 1)) / 2
        if self.own_frames:
            shift = torch.arange(self.images, dtype=torch.float64)[:, None, None] * torch.tensor([0.0, 0.0, 0.3, 0.3])
            frames = frames + shift
        return frames.to(device)

    def inputs(self, generator: torch.Generator, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps [N, S, P+1, h, w], one peak of 0.9 cells per part and scale on a little noise, and frames."""
        frames = self.frames().expand(self.images, -1, -1)  # [N, S, 4]
        parts = torch.rand(self.images, 1, self.parts, 2, generator=generator, dtype=torch.float64) * 0.5 + 0.25
        parts = parts * torch.tensor([self.size[1], self.size[0]])  # [N, 1, P, 2] pixels
        where = parts * frames[:, :, None, :2] + frames[:, :, None, 2:]  # [N, S, P, 2] cells
        x = torch.arange(self.cells[1]) - where[..., 0, None]
        y = torch.arange(self.cells[0]) - where[..., 1, None]
        peaks = torch.exp(-(x.square()[..., None, :] + y.square()[..., :, None]) / (2 * 0.9**2)).float()
        maps = torch.cat([peaks, 1 - peaks.amax(2, keepdim=True)], 2)
        maps = maps + 1e-4 * torch.randn(maps.shape, generator=generator)
        return maps.to(device), self.frames(device)

    def __str__(self) -> str:
        return self.name


PYRAMID = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
RESIZE_MERGE = (
    MergeCase("one-scale", 2, (1.0,), 14, (46, 46), (368, 368)),
    MergeCase("pyramid", 1, PYRAMID, 14, (46, 46), (368, 368)),
    MergeCase("whole-image", 1, (0.8, 1.0, 1.25), 3, (46, 46), (180, 320)),
    MergeCase("own-frames", 3, (0.9, 1.1), 2, (13, 17), (90, 101), own_frames=True),
    MergeCase("odd-sizes", 2, (0.7, 1.3), 5, (7, 61), (61, 307)),
    MergeCase("shrinking", 2, (1.0, 0.6), 2, (64, 51), (23, 19)),
    MergeCase("one-cell", 2, (1.0, 0.5), 2, (1, 1), (5, 9)),
    MergeCase("one-row", 1, (1.0,), 3, (1, 33), (1, 200)),
    MergeCase("one-pixel", 3, (1.0, 1.1), 2, (6, 5), (1, 1)),
    MergeCase("most-scales", 1, tuple(0.7 + 0.02 * s for s in range(32)), 1, (12, 12), (96, 96)),
    MergeCase("no-images", 0, (1.0, 1.2), 14, (46, 46), (368, 368)),
    MergeCase("large-batch", 33, (1.0, 1.2), 2, (9, 8), (40, 41)),
)

# The benchmarks time these cases: one image and a batch, in the box and back in the whole image.
RESIZE_MERGE_TIMED = (
    MergeCase("1-scale-368x368", 1, (1.0,), 14, (46, 46), (368, 368)),
    MergeCase("7-scales-368x368", 1, PYRAMID, 14, (46, 46), (368, 368)),
    MergeCase("7-scales-720x1280", 1, PYRAMID, 14, (46, 46), (720, 1280)),
    MergeCase("7-scales-368x368-8-images", 8, PYRAMID, 14, (46, 46), (368, 368)),
)


@dataclass(frozen=True)
class SpectralCase:
    """An input of spectral_conv: N images of C channels on h x w cells, to O channels through k x k on t x t tiles."""

    name: str
    images: int
    size: tuple[int, int]  # (h, w), cells
    inputs: int
    outputs: int
    kernel: int
    tile: int

    def inputs_of(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x [N, C, h, w], weight [O, C, k, k] that keeps the variance, bias [O]."""
        x = torch.randn(self.images, self.inputs, *self.size, generator=generator)
        weight = torch.randn(self.outputs, self.inputs, self.kernel, self.kernel, generator=generator)
        bias = torch.randn(self.outputs, generator=generator)
        return x, weight / (self.inputs * self.kernel**2) ** 0.5, bias

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ConvCase:
    """An input of context_conv: N images of C channels on h x w cells, O output channels, k x k."""

    name: str
    images: int
    in_channels: int
    out_channels: int
    kernel: int
    size: tuple[int, int]  # (h, w), cells
    relu: bool = True

    def inputs(
        self, generator: torch.Generator, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x [N, C, h, w], weight [O, C, k, k] that keeps x's magnitude, bias [O]; x, weight channels_last."""
        x = torch.randn(self.images, self.in_channels, *self.size, generator=generator)
        weight = torch.randn(self.out_channels, self.in_channels, self.kernel, self.kernel, generator=generator) / (
            self.in_channels**0.5 * self.kernel
        )
        bias = torch.randn(self.out_channels, generator=generator)
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        return x.to(device, dtype), weight.to(device, dtype), bias.to(device, dtype)

    def __str__(self) -> str:
        return self.name


SPECTRAL_CONV = (
    SpectralCase("t16-k5", 1, (46, 46), 16, 32, 5, 16),
    SpectralCase("t20-k9", 2, (30, 25), 32, 48, 9, 20),
    SpectralCase("t22-k11", 1, (46, 31), 48, 17, 11, 22),
    SpectralCase("t24-k7", 3, (33, 40), 15, 16, 7, 24),
    SpectralCase("t32-k9", 1, (60, 52), 17, 33, 9, 32),
    SpectralCase("t36-k11", 2, (46, 46), 16, 15, 11, 36),
    SpectralCase("t48-k13", 1, (80, 70), 3, 20, 13, 48),
    SpectralCase("t54-k9", 1, (92, 50), 3, 16, 9, 54),
    SpectralCase("t64-k15", 1, (61, 90), 16, 1, 15, 64),
    SpectralCase("whole-map", 2, (46, 46), 16, 16, 11, 54),
    SpectralCase("whole-map-one-axis", 1, (19, 50), 2, 3, 9, 24),
    SpectralCase("map-just-fits", 1, (27, 28), 2, 3, 9, 32),
    SpectralCase("k3", 2, (21, 22), 5, 18, 3, 16),
    SpectralCase("k1", 1, (21, 22), 5, 18, 1, 16),
    SpectralCase("two-outputs-a-tile", 1, (9, 20), 3, 4, 15, 16),
    SpectralCase("many-channels", 1, (24, 20), 128, 128, 9, 20),
    SpectralCase("one-cell", 2, (1, 1), 4, 3, 11, 22),
    SpectralCase("small", 3, (7, 5), 16, 48, 9, 16),
    SpectralCase("one-row", 1, (1, 200), 3, 2, 9, 32),
    SpectralCase("one-column", 1, (200, 1), 3, 2, 9, 32),
    SpectralCase("no-images", 0, (46, 46), 3, 16, 9, 32),
)
LARGE_SPECTRAL = SpectralCase("large", 3, (50, 41), 33, 40, 9, 20)

CONTEXT_CONV = (
    ConvCase("image-9x9", 2, 3, 20, 9, (11, 13)),
    ConvCase("beliefs-1x1", 2, 20, 15, 1, (7, 9), relu=False),
    ConvCase("concat-11x11", 1, 48, 33, 11, (6, 7)),
    ConvCase("odd-channels-5x5", 2, 15, 7, 5, (9, 21)),
    ConvCase("aligned-3x3", 1, 16, 64, 3, (12, 11), relu=False),
    ConvCase("kernel-wider-than-map", 1, 3, 6, 15, (6, 4)),
    ConvCase("one-cell", 3, 16, 16, 3, (1, 1)),
    ConvCase("one-row", 1, 4, 5, 5, (1, 37)),
    ConvCase("one-column", 1, 4, 5, 5, (37, 1)),
    ConvCase("one-channel", 2, 1, 1, 3, (8, 6), relu=False),
    ConvCase("large-batch", 33, 2, 3, 3, (5, 4)),
    ConvCase("many-pixels", 3, 4, 6, 3, (41, 43)),
    ConvCase("no-images", 0, 4, 6, 3, (5, 7)),
)

# So large that the CPU uses the spectral form.
CONTEXT_CONV_LARGE = (
    ConvCase("large-9x9", 2, 32, 48, 9, (46, 46)),
    ConvCase("large-11x11-odd-channels", 1, 15, 33, 11, (37, 50), relu=False),
    ConvCase("large-7x7", 3, 33, 17, 7, (24, 30)),
)

# Case and tile. One tile and several on each axis, tails on both, odd maps, few and odd and many channels.
SPECTRAL_CONV_TILES = (
    (ConvCase("several-tiles", 1, 3, 5, 5, (17, 20)), 16),
    (ConvCase("images", 2, 15, 17, 9, (4, 11), relu=False), 16),
    (ConvCase("whole-map-just-fits", 1, 2, 3, 11, (11, 11)), 16),
    (ConvCase("one-cell-too-large", 1, 2, 3, 11, (12, 11)), 16),
    (ConvCase("padded-tile", 1, 2, 3, 9, (17, 18)), 20),
    (ConvCase("concat", 1, 48, 3, 3, (5, 14)), 16),
    (ConvCase("one-row", 1, 3, 2, 7, (1, 30)), 16),
    (ConvCase("one-column", 1, 3, 2, 7, (30, 1)), 16),
    (ConvCase("one-cell", 3, 16, 4, 15, (1, 1)), 16),
    (ConvCase("two-outputs-a-tile", 1, 2, 3, 15, (3, 13)), 16),
    (ConvCase("one-channel", 1, 1, 1, 3, (16, 14)), 16),
    (ConvCase("kernel-of-one", 1, 2, 3, 1, (3, 18)), 16),
    (ConvCase("no-images", 0, 4, 6, 3, (5, 7)), 16),
)
