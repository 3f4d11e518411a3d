"""The machine's best measured rates: arithmetic, by a large product and a large convolution, and copying."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.harness.timing import Run, seconds_a_call

PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp32", "tf32", "fp16", "bf16")}
# Sides of the square matrices, and of the maps of the convolution.
GEMM_SIDE = {"cpu": 2048, "cuda": 8192}
MAP_SIDE = {"cpu": 64, "cuda": 512}
CHANNELS = 256
REPEATS = 7
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Machine:
    """Best rates: flops[device, precision] of arithmetic, bandwidth[device] of a copy, read and written.

    A share of the peak uses the operations of the direct form. A spectral convolution does fewer, so its share may be
    above 1; so may the share of the copy if maps stay in cache.
    """

    flops: dict[tuple[str, str], float]
    bandwidth: dict[str, float]

    def best(self, other: Machine) -> Machine:
        """Return the higher rates of two measurements, since a busy neighbor may have slowed one."""
        flops = {key: max(rate, other.flops[key]) for key, rate in self.flops.items()}
        return Machine(flops, {device: max(rate, other.bandwidth[device]) for device, rate in self.bandwidth.items()})

    def record(self) -> dict[str, dict[str, float]]:
        flops = {f"{device} {precision}": rate for (device, precision), rate in self.flops.items()}
        return {"best_flop_per_s": flops, "copy_bytes_per_s": self.bandwidth}


def measured_machine(devices: list[str], quick: bool) -> Machine:
    """Measure the rates in about two seconds per device; `quick` takes a tenth, for rates below the best."""
    flops = {(device, kind): best_flops(device, kind, quick) for device in devices for kind in PRECISIONS[device]}
    return Machine(flops, {device: copy(device, 32 if quick else 256) for device in devices})


def best_flops(device: str, precision: str, quick: bool) -> float:
    """Return FLOP per second of a square matrix product or a 3x3 convolution, whichever is faster.

    On a CPU two libraries compute them, and on some CPUs one runs at half the rate of the other.
    """
    shrink = 4 if quick else 1
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    side, cells = GEMM_SIDE[device] // shrink, MAP_SIDE[device] // shrink
    matrix = torch.randn(side, side, device=device).to(dtype)
    layout = torch.channels_last
    x = torch.randn(1, CHANNELS, cells, cells, device=device).to(dtype=dtype, memory_format=layout)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device).to(dtype=dtype, memory_format=layout)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        product = fastest(lambda: matrix @ matrix, device)
        convolution = fastest(lambda: F.conv2d(x, weight, padding=1), device)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    return max(2 * side**3 / product, 2 * 9 * CHANNELS**2 * cells**2 / convolution)


def copy(device: str, megabytes: int) -> float:
    """Return bytes per second of a copy between buffers far larger than any cache."""
    source = torch.ones(megabytes * MEGABYTE // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / fastest(lambda: target.copy_(source), device)


def fastest(run: Run, device: str) -> float:
    return min(seconds_a_call(run, 1, device) for _ in range(REPEATS))
