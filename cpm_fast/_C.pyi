"""What csrc/bindings.cpp exports: addresses, sizes, settings; nothing is checked there."""

has_cuda: bool
has_openmp: bool
compiler: str
cuda_version: str
cuda_archs: str

def gaussian_targets_cpu(
    parts: int,
    labelled: int,
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
    labelled: int,
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
