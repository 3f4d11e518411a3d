"""What csrc/bindings.cpp exports: addresses, sizes, settings; nothing is checked there."""

from collections.abc import Sequence

has_cuda: bool
compiler: str
cuda_version: str
cuda_archs: str

def gaussian_targets_cpu(
    parts: int,
    labeled: int,
    maps: int,
    images: int,
    people: int,
    part_count: int,
    height: int,
    width: int,
    sigma: float,
    stride: float,
    threads: int,
    /,
) -> None: ...
def gaussian_targets_cuda(
    parts: int,
    labeled: int,
    maps: int,
    images: int,
    people: int,
    part_count: int,
    height: int,
    width: int,
    sigma: float,
    stride: float,
    device: int,
    stream: int,
    /,
) -> None: ...

# sizes: N, S, P+1, h, w, H, W, sets of frames (1 or N).
def resize_merge_cpu(maps: int, frames: int, merged: int, sizes: tuple[int, ...], threads: int, /) -> None: ...
def resize_merge_cuda(
    maps: int, frames: int, merged: int, sizes: tuple[int, ...], device: int, stream: int, /
) -> None: ...
def peaks_cpu(
    maps: int, points: int, scores: int, count: int, height: int, width: int, refine: bool, threads: int, /
) -> None: ...
def peaks_cuda(
    maps: int, points: int, scores: int, count: int, height: int, width: int, refine: bool, device: int, stream: int, /
) -> None: ...
def merge_peaks_cpu(
    maps: int, frames: int, points: int, scores: int, sizes: tuple[int, ...], refine: bool, threads: int, /
) -> None: ...
def merge_peaks_cuda(
    maps: int,
    frames: int,
    points: int,
    scores: int,
    bounds: int,
    sizes: tuple[int, ...],
    refine: bool,
    device: int,
    stream: int,
    /,
) -> None: ...
def merge_peaks_tiles(height: int, width: int, /) -> int: ...

# sizes: N, h, w, C, O, k, t. An address of 0 is a tensor that is not given.
def transform_weight_cpu(
    weight: int, spectra: int, outputs: int, inputs: int, kernel: int, tile: int, adjoint: bool, threads: int, /
) -> None: ...
def spectral_workspace(sizes: tuple[int, ...], budget: int, threads: int, /) -> int: ...
def spectral_conv_cpu(
    x: int,
    gate: int,
    spectra: int,
    bias: int,
    out: int,
    sizes: tuple[int, ...],
    relu: bool,
    workspace: int,
    budget: int,
    threads: int,
    /,
) -> None: ...
def spectral_gradient_workspace(sizes: tuple[int, ...], budget: int, threads: int, /) -> int: ...
def spectral_weight_gradient_cpu(
    gradient: int,
    gate: int,
    x: int,
    dweight: int,
    dbias: int,
    sizes: tuple[int, ...],
    workspace: int,
    budget: int,
    threads: int,
    /,
) -> None: ...
def simd_choices() -> str: ...
def simd() -> str: ...
def use_simd(name: str, /) -> None: ...
def usable_cpus() -> int: ...
def started_workers() -> int: ...
def copy_maps_cpu(
    source: int,
    target: int,
    sizes: Sequence[int],
    source_strides: Sequence[int],
    target_strides: Sequence[int],
    threads: int,
) -> None: ...
def batch_norm_cpu(
    x: int,
    weight: int,
    bias: int,
    y: int,
    mean: int,
    variance: int,
    cells: int,
    channels: int,
    eps: float,
    relu: bool,
    threads: int,
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
    cells: int,
    channels: int,
    eps: float,
    relu: bool,
    threads: int,
) -> None: ...
