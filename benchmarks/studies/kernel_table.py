"""The compiled direct kernels of context_conv, layer by layer.

    python benchmarks/studies/kernel_table.py

It needs Triton but no GPU: every convolution of the network is compiled ahead of time with the constants that a GPU
would get. Registers, shared memory, spills and instructions are read from the result; the time is predicted, not
measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402

from benchmarks.studies.compiled import Compiled, Key, compile_launch, launch_key  # noqa: E402
from benchmarks.studies.compiled_tables import (  # noqa: E402
    DTYPES,
    Shape,
    print_rows,
    shapes,
    table_options,
    write_table,
)
from benchmarks.studies.kernel_traffic import traffic  # noqa: E402
from cpm_fast.kernels.direct_conv import forward_launch  # noqa: E402
from cpm_fast.kernels.direct_conv_weight import dweight_launches, gate_launches  # noqa: E402
from cpm_fast.kernels.launch import Launch  # noqa: E402
from cpm_fast.kernels.plans import multiprocessors  # noqa: E402
from cpm_fast.ops.plans.cuda import BEST_SHARE, L2_BYTES_PER_S, PEAK_FLOPS  # noqa: E402

# An H200's memory rate, by its data sheet.
MEMORY_BYTES_PER_S = 4.8e12


def launches(shape: Shape, images: int, mode: str, capability: int) -> Iterator[tuple[str, Launch, int]]:
    """Return pass, launch and the least bytes that it must move, for tensors that have sizes but no memory."""
    dtype = DTYPES.get(mode, torch.float32)

    def tensor(*sizes: int) -> torch.Tensor:
        return torch.empty(sizes, dtype=dtype, device="meta")

    x = tensor(images, shape.in_channels, *shape.size)
    y = tensor(images, shape.out_channels, *shape.size)
    weight = tensor(shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
    maps = x.nbytes + y.nbytes + weight.nbytes
    yield "forward", forward_launch(x, weight, y[0, :, 0, 0], y, True, mode, capability), maps
    if shape.in_channels != 3:
        yield "dx", forward_launch(y, weight.transpose(0, 1), x[0, :, 0, 0], x, False, mode, capability), maps
    add, total = dweight_launches(x, y, weight, mode, capability)
    yield "dweight", add, maps
    yield "dweight sum", total, weight.nbytes
    add, total = gate_launches(y, y, y, y[0, :, 0, 0], capability)
    yield "gate", add, 3 * y.nbytes
    yield "gate sum", total, 0


def predicted(launch: Launch, flops: int, bytes_moved: int, mode: str) -> float:
    """Return seconds on an H200: the slowest of tensor cores, L2 and memory, in whole rounds of programs."""
    constants = launch.constants
    seconds = bytes_moved / MEMORY_BYTES_PER_S
    if "PRECISION" not in constants:
        return seconds
    pixels, out, depth = (int(constants[f"BLOCK_{name}"]) for name in ("PIXELS", "OUT", "ROW"))
    # The two sides of the result's block; the sum runs over the third.
    sides = (out, depth) if "run_pixels" in launch.arguments else (pixels, out)
    rounds = -(-launch.programs // multiprocessors(90)) * multiprocessors(90) / launch.programs
    products = flops / 2
    size = 2 if mode in DTYPES else 4
    l2 = products * (1 / sides[0] + 1 / sides[1]) * size / L2_BYTES_PER_S
    return max(seconds, rounds * max(flops / (BEST_SHARE * PEAK_FLOPS[mode]), l2))


def rows(network: str, batches: list[int], modes: list[str], capabilities: list[int]) -> Iterator[dict[str, Any]]:
    """Return one row per layer, batch, mode, chip and pass; launches that share a compiled kernel compile it once."""
    done: dict[Key, Compiled] = {}
    for capability in capabilities:
        for mode in modes:
            for shape in shapes(network):
                for images in batches:
                    for name, launch, bytes_moved in launches(shape, images, mode, capability):
                        key = launch_key(launch, capability)
                        if key not in done:
                            done[key] = compile_launch(launch, capability)
                        row = {"layer": shape.name, "count": shape.count, "images": images, "mode": mode, "pass": name}
                        row |= {"capability": capability, "kernel": launch.kernel.__name__}
                        row |= {"in_channels": shape.in_channels, "out_channels": shape.out_channels}
                        row |= {"kernel_side": shape.kernel, "size": shape.size}
                        row |= {"constants": launch.constants, "warps": launch.warps, "stages": launch.stages}
                        row |= {"programs": launch.programs, **asdict(done[key])}
                        row |= traffic(launch, done[key], capability)
                        if capability == 90:
                            flops = shape.flops * images if "PRECISION" in launch.constants else 0
                            seconds = predicted(launch, flops, bytes_moved, mode)
                            share = flops / seconds / PEAK_FLOPS[mode] if flops else 0.0
                            row |= {"predicted_h200_s": seconds, "predicted_peak_share": share}
                        yield row


def line(row: dict[str, Any]) -> str:
    c = row["constants"]
    tile = "x".join(str(value) for name, value in c.items() if name.startswith("BLOCK"))
    size = f"{row['kernel_side']}x{row['kernel_side']} {row['in_channels']}->{row['out_channels']} @ {row['size'][0]}"
    text = f"{row['layer']:<24}{size:<22}{row['images']:>3}  {row['mode']:<7}{row['pass']:<12}sm_{row['capability']}  "
    text += f"{tile:<12}{row['warps']:>2} {row['stages']:>2} {row['registers']:>4} {row['shared'] / 1024:>6.0f} KB "
    text += f"{row['spills']:>3} {row['tensor_core']:<6}"
    text += f"{row['occupancy']:>5.0%} {row['l2_bytes'] / 1e9:>8.2f} "
    text += f"{'' if row['shared_bytes'] is None else format(row['shared_bytes'] / 1e9, '.2f'):>8} "
    if "predicted_h200_s" in row:
        text += f"{row['predicted_peak_share']:>5.0%} {row['predicted_h200_s'] * 1e3:>9.3f} ms"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when done, 1 if a kernel spills or needs more shared memory than the chip has, 2 for bad use."""
    chosen = table_options(__doc__, arguments)
    print(
        f"{'layer':<24}{'':<22}{'N':>3}  {'mode':<7}{'pass':<12}chip   {'tile':<12} w  s regs    shared spl tensor"
        "  occ.   L2 GB shrd. GB  peak predicted"
    )
    found = rows(chosen.network, chosen.images, chosen.modes, chosen.capabilities)
    table, fine = print_rows(found, line)
    write_table(chosen.json, chosen.network, table)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
