"""What csrc/bindings.cpp exports: addresses, sizes, settings; nothing is checked there.

An address of 0 is a tensor that is not given.
"""

from collections.abc import Sequence

abi: int
has_cuda: bool
compiler: str
cuda_version: str
cuda_archs: str

class GaussianTargets:
    def __init__(
        self, *, images: int, people: int, parts: int, height: int, width: int, sigma: float, stride: float
    ) -> None: ...

class ResizeMerge:
    def __init__(
        self,
        *,
        images: int,
        scales: int,
        maps: int,
        cell_height: int,
        cell_width: int,
        height: int,
        width: int,
        frame_sets: int,
    ) -> None: ...

class Peaks:
    def __init__(self, *, maps: int, height: int, width: int, refine: bool) -> None: ...

class ManyPeaks:
    def __init__(self, *, maps: int, height: int, width: int, threshold: float, radius: int) -> None: ...

class SpectralConv:
    def __init__(
        self,
        *,
        images: int,
        height: int,
        width: int,
        inputs: int,
        outputs: int,
        kernel: int,
        tile: int,
        x_pitch: int = 0,
        out_pitch: int = 0,
        pool: int = 0,
        pool_padding: int = 0,
        bf16: bool = False,
    ) -> None: ...

class DirectConv:
    def __init__(
        self,
        *,
        images: int,
        height: int,
        width: int,
        inputs: int,
        outputs: int,
        kernel: int,
        x_pitch: int = 0,
        out_pitch: int = 0,
        pool: int = 0,
        pool_padding: int = 0,
        bf16: bool = False,
    ) -> None: ...

class BatchNorm:
    def __init__(
        self, *, cells: int, channels: int, eps: float, relu: bool, pooled_width: int = 0, bf16: bool = False
    ) -> None: ...

class ConvNormPool:
    def __init__(
        self,
        *,
        images: int,
        height: int,
        width: int,
        inputs: int,
        outputs: int,
        eps: float,
        bf16: bool = False,
    ) -> None: ...

class StartedChecksum:
    def __init__(self, pieces: Sequence[tuple[int, int]], threads: int, /) -> None: ...
    def result(self) -> int: ...

class CopyMaps:
    def __init__(self, *, sizes: Sequence[int], from_strides: Sequence[int], to_strides: Sequence[int]) -> None: ...

def gaussian_targets_cpu(parts: int, labeled: int, maps: int, params: GaussianTargets, threads: int, /) -> None: ...
def gaussian_targets_cuda(
    parts: int, labeled: int, maps: int, params: GaussianTargets, device: int, stream: int, /
) -> None: ...
def resize_merge_cpu(maps: int, frames: int, merged: int, params: ResizeMerge, threads: int, /) -> None: ...
def resize_merge_cuda(
    maps: int, frames: int, merged: int, params: ResizeMerge, device: int, stream: int, /
) -> None: ...
def peaks_cpu(maps: int, points: int, scores: int, params: Peaks, threads: int, /) -> None: ...
def peaks_cuda(maps: int, points: int, scores: int, params: Peaks, device: int, stream: int, /) -> None: ...
def many_peaks_cpu(maps: int, points: int, scores: int, params: ManyPeaks, threads: int, /) -> None: ...
def many_peaks_cuda(
    maps: int, points: int, scores: int, found: int, params: ManyPeaks, device: int, stream: int, /
) -> None: ...
def merge_peaks_cpu(
    maps: int, frames: int, points: int, scores: int, params: ResizeMerge, refine: bool, threads: int, /
) -> None: ...
def merge_peaks_cuda(
    maps: int,
    frames: int,
    points: int,
    scores: int,
    bounds: int,
    params: ResizeMerge,
    refine: bool,
    device: int,
    stream: int,
    /,
) -> None: ...
def merge_peaks_tiles(height: int, width: int, /) -> int: ...
def transform_weight_cpu(
    weight: int, spectra: int, outputs: int, inputs: int, kernel: int, tile: int, adjoint: bool, threads: int, /
) -> None: ...
def spectral_workspace(params: SpectralConv, budget: int, threads: int, /) -> int: ...

# Returns the images that tiles would get wrong. A gate is an address, and the side and padding of windows or zeros.
def spectral_conv_cpu(
    x: int,
    gate: tuple[int, int, int],
    spectra: int,
    bias: int,
    out: int,
    params: SpectralConv,
    relu: bool,
    workspace: int,
    budget: int,
    threads: int,
    places: int,
    /,
) -> list[int]: ...
def spectral_gradient_workspace(params: SpectralConv, budget: int, threads: int, /) -> int: ...
def spectral_weight_gradient_cpu(
    gradient: int,
    gate: tuple[int, int, int],
    x: int,
    dweight: int,
    dbias: int,
    params: SpectralConv,
    workspace: int,
    budget: int,
    threads: int,
    /,
) -> None: ...
def pack_weight_cpu(
    weight: int, packed: int, outputs: int, inputs: int, kernel: int, bf16: bool, threads: int, /
) -> None: ...
def direct_workspace(params: DirectConv, threads: int, /) -> int: ...
def direct_conv_cpu(
    x: int, packed: int, bias: int, out: int, params: DirectConv, relu: bool, workspace: int, threads: int, /
) -> None: ...
def winograd_weight_cpu(
    weight: int, transformed: int, outputs: int, inputs: int, adjoint: bool, bf16: bool, threads: int, /
) -> None: ...
def winograd_workspace(params: DirectConv, threads: int, /) -> int: ...

# Returns the images that tiles would get wrong.
def winograd_conv_cpu(
    x: int, transformed: int, bias: int, out: int, params: DirectConv, relu: bool, workspace: int, threads: int, /
) -> list[int]: ...
def simd_choices() -> str: ...
def simd() -> str: ...
def use_simd(name: str, /) -> None: ...
def usable_cpus() -> int: ...
def started_workers() -> int: ...
def copy_maps_cpu(source: int, target: int, params: CopyMaps, threads: int, /) -> None: ...
def batch_norm_cpu(
    x: int,
    weight: int,
    bias: int,
    y: int,
    mean: int,
    variance: int,
    params: BatchNorm,
    threads: int,
    /,
) -> None: ...
def batch_norm_gradient_cpu(
    dy: int,
    x: int,
    weight: int,
    bias: int,
    mean: int,
    variance: int,
    dx: int,
    dweight: int,
    dbias: int,
    params: BatchNorm,
    threads: int,
    /,
) -> None: ...
def conv_norm_pool_cpu(
    x: int,
    weight: int,
    bias: int,
    scale: int,
    shift: int,
    y: int,
    places: int,
    mean: int,
    variance: int,
    moments: int,
    params: ConvNormPool,
    threads: int,
    /,
) -> None: ...
def conv_norm_pool_gradient_cpu(
    dy: int,
    places: int,
    x: int,
    weight: int,
    scale: int,
    variance: int,
    moments: int,
    dweight: int,
    dscale: int,
    dshift: int,
    params: ConvNormPool,
    threads: int,
    /,
) -> None: ...

class Chain:
    def spectral_conv(self, x: int, spectra: int, bias: int, out: int, params: SpectralConv, relu: bool, /) -> None: ...
    def direct_conv(self, x: int, packed: int, bias: int, out: int, params: DirectConv, relu: bool, /) -> None: ...
    def winograd_conv(
        self, x: int, transformed: int, bias: int, out: int, params: DirectConv, relu: bool, /
    ) -> None: ...
    def copy_maps(self, source: int, target: int, params: CopyMaps, /) -> None: ...
    def workspace(self, budget: int, threads: int, /) -> int: ...

    # Returns (the first layer that has not run, the images that the one before left).
    def run(self, first: int, workspace: int, budget: int, threads: int, /) -> tuple[int, list[int]]: ...
