"""The compiled spectral kernels, layer by layer.

    python benchmarks/studies/spectral_table.py

It needs Triton but no GPU. Every convolution that the CUDA plan makes spectral is compiled ahead of time with the
constants that a GPU would get, forward and backward. The table adds predicted times and the bounds of memory and tensor
cores; no time is measured.
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
from cpm_fast.kernels.fourier import frequencies, tiling  # noqa: E402
from cpm_fast.kernels.launch import Launch  # noqa: E402
from cpm_fast.kernels.spectral_inverse import inverse_launch, weight_inverse_launch  # noqa: E402
from cpm_fast.kernels.spectral_plans import (  # noqa: E402
    BACKWARD_SPECTRA,
    FORWARD_SPECTRA,
    Arithmetic,
    arithmetic,
    padded_channels,
)
from cpm_fast.kernels.spectral_product import dweight_launch, product_launch  # noqa: E402
from cpm_fast.kernels.spectral_transform import transform_launch, weight_launch  # noqa: E402
from cpm_fast.ops.plans.cpu import ConvShape  # noqa: E402
from cpm_fast.ops.plans.cuda import (  # noqa: E402
    BEST_SHARE,
    LAUNCH_S,
    MEMORY_BYTES_PER_S,
    PEAK_FLOPS,
    TRANSFORM_SHARE,
    choose_cuda_tile,
    direct_seconds,
    spectral_seconds,
)


def conv_shape(shape: Shape, images: int) -> ConvShape:
    return ConvShape(images, shape.in_channels, shape.out_channels, shape.kernel, shape.size)


def launches(shape: Shape, images: int, tile: int, mode: str, capability: int) -> Iterator[tuple[str, Launch]]:
    """Return pass and launch, for tensors that have sizes but no memory."""
    maps = DTYPES.get(mode, torch.float32)
    tiles = tiling(tile, shape.kernel, *shape.size)
    inputs, outputs, kernel = shape.in_channels, shape.out_channels, shape.kernel

    def tensor(*sizes: int, dtype: torch.dtype = maps) -> torch.Tensor:
        return torch.empty(sizes, dtype=dtype, device="meta")

    def spectra(rows: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
        return tensor(frequencies(tile), rows, 2, padded_channels(channels), dtype=dtype)

    x, y = tensor(images, inputs, *shape.size), tensor(images, outputs, *shape.size)
    count = images * tiles.count
    weight, bias = tensor(outputs, inputs, kernel, kernel), tensor(outputs)

    kind = arithmetic(maps, FORWARD_SPECTRA[mode], mode)
    filters, there = spectra(outputs, inputs, kind.spectra), spectra(count, inputs, kind.spectra)
    back = spectra(count, outputs, kind.product)
    yield "transform weight", weight_launch(weight, filters, tile, False, kind)
    yield "transform", transform_launch(x, None, there, None, tiles, kind)
    yield "product", product_launch(there, filters, back, kind, capability)
    yield "inverse", inverse_launch(back, bias, y, True, tiles, kind)

    kind = arithmetic(maps, BACKWARD_SPECTRA[mode], mode)
    filters, there = spectra(inputs, outputs, kind.spectra), spectra(count, outputs, kind.spectra)
    back, cells = spectra(count, inputs, kind.product), spectra(count, inputs, kind.spectra)
    dweight = spectra(outputs, inputs, torch.float32)
    sums = tensor(count, outputs, dtype=torch.float32)
    yield "dy", transform_launch(y, y.clone(), there, sums, tiles, kind)
    yield "dx weight", weight_launch(weight.transpose(0, 1), filters, tile, True, kind)
    yield "dx product", product_launch(there, filters, back, kind, capability)
    yield "dx inverse", inverse_launch(back, None, x, False, tiles, kind)
    yield "x", transform_launch(x, None, cells, None, tiles, kind, outputs_only=True)
    yield "dweight", dweight_launch(cells, there, dweight, False, kind, capability)
    yield "dweight inverse", weight_inverse_launch(dweight, weight, tile, arithmetic(maps, torch.float32, mode))


def counted(launch: Launch, kind: Arithmetic) -> tuple[float, float]:
    """Return seconds that memory and tensor cores of an H200 take for a launch, including the blocks' zeros."""
    tensors = {id(value): value for value in launch.arguments.values() if isinstance(value, torch.Tensor)}
    memory = sum(tensor.nbytes for tensor in tensors.values()) / MEMORY_BYTES_PER_S
    c, a = launch.constants, launch.arguments
    if "BLOCK_TILES" in c:
        third = a["padded_in"] if "ADD" not in c else a["tiles"]
        sides = int(c["BLOCK_OUT"]) * int(c["BLOCK_IN"] if "ADD" in c else c["BLOCK_TILES"])
        return memory, 8 * launch.programs * sides * int(third) / (BEST_SHARE * PEAK_FLOPS[kind.product_mode])
    rows, waves, channels, half = (int(c[name]) for name in ("BLOCK_ROWS", "BLOCK_WAVES", "BLOCK_CHANNELS", "HALF"))
    if "SIDE" in c:
        side = int(c["SIDE"])
        products = side * side * 2 * waves + side * 4 * waves * half
    else:
        products = 4 * half * half * rows + 2 * half * rows * int(c["ACROSS"])
    return memory, 2 * launch.programs * channels * products / (TRANSFORM_SHARE * PEAK_FLOPS[kind.transform_mode])


def rows(network: str, batches: list[int], modes: list[str], capabilities: list[int]) -> Iterator[dict[str, Any]]:
    """Return one row per layer, batch, mode, chip and launch; launches that share a compiled kernel compile it once."""
    done: dict[Key, Compiled] = {}
    for capability in capabilities:
        for mode in modes:
            for shape in shapes(network):
                for images in batches:
                    tile = choose_cuda_tile(conv_shape(shape, images), mode)
                    if tile is None:
                        continue
                    for name, launch in launches(shape, images, tile, mode, capability):
                        key = launch_key(launch, capability)
                        if key not in done:
                            done[key] = compile_launch(launch, capability)
                        row = {"layer": shape.name, "count": shape.count, "images": images, "mode": mode, "pass": name}
                        row |= {"capability": capability, "kernel": launch.kernel.__name__, "tile": tile}
                        row |= {"in_channels": shape.in_channels, "out_channels": shape.out_channels}
                        row |= {"kernel_side": shape.kernel, "size": shape.size}
                        row |= {"constants": launch.constants, "warps": launch.warps, "stages": launch.stages}
                        row |= {"programs": launch.programs, **asdict(done[key])}
                        row |= traffic(launch, done[key], capability)
                        if capability == 90:
                            memory, products = counted(launch, arithmetic_of(name, mode))
                            row |= {"memory_s": memory, "products_s": products}
                            row |= {"predicted_h200_s": max(memory, products) + LAUNCH_S}
                        yield row


def arithmetic_of(name: str, mode: str) -> Arithmetic:
    maps = DTYPES.get(mode, torch.float32)
    if name == "dweight inverse":
        return arithmetic(maps, torch.float32, mode)
    forward = name in ("transform weight", "transform", "product", "inverse")
    return arithmetic(maps, (FORWARD_SPECTRA if forward else BACKWARD_SPECTRA)[mode], mode)


def line(row: dict[str, Any]) -> str:
    tile = "x".join(str(value) for name, value in row["constants"].items() if name.startswith("BLOCK"))
    size = f"{row['kernel_side']}x{row['kernel_side']} {row['in_channels']}->{row['out_channels']} @ {row['size'][0]}"
    text = f"{size:<21}{row['images']:>3}  t{row['tile']:<3} {row['mode']:<7}{row['pass']:<17}sm_{row['capability']}  "
    text += f"{tile:<13}{row['warps']:>2} {row['stages']:>2} {row['registers']:>4} {row['shared'] / 1024:>6.0f} KB "
    text += f"{row['spills']:>3} {row['tensor_core']:<6}"
    text += f"{row['occupancy']:>5.0%} {row['l2_bytes'] / 1e9:>8.2f} "
    text += f"{'' if row['shared_bytes'] is None else format(row['shared_bytes'] / 1e9, '.2f'):>8} "
    if "predicted_h200_s" in row:
        bound = "memory" if row["memory_s"] > row["products_s"] else "products"
        text += f"{row['predicted_h200_s'] * 1e3:>9.3f} ms, {bound}"
    return text


def summary(network: str, batches: list[int], modes: list[str]) -> Iterator[dict[str, Any]]:
    """Return predicted forward milliseconds per image of all convolutions of the network, direct and as planned."""
    for mode in modes:
        for images in batches:
            direct = planned = 0.0
            for shape in shapes(network):
                # One of the shapes is the first layer of both trunks; here they count separately.
                if shape.name.endswith(" x 2"):
                    continue
                conv = conv_shape(shape, images)
                tile = choose_cuda_tile(conv, mode)
                alone = shape.count * direct_seconds(conv, mode)
                direct += alone
                planned += alone if tile is None else shape.count * spectral_seconds(conv, tile, mode, False)
            yield {
                "mode": mode,
                "images": images,
                "direct_ms_an_image": 1e3 * direct / images,
                "planned_ms_an_image": 1e3 * planned / images,
            }


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when done, 1 if a kernel spills or needs more shared memory than the chip has, 2 for bad use."""
    chosen = table_options(__doc__, arguments)
    print(
        f"{'layer':<21}{'N':>3}  tile {'mode':<7}{'pass':<17}chip   {'block':<13} w  s regs    shared spl tensor"
        "  occ.   L2 GB shrd. GB predicted, bound by"
    )
    found = rows(chosen.network, chosen.images, chosen.modes, chosen.capabilities)
    table, fine = print_rows(found, line)
    totals = list(summary(chosen.network, chosen.images, chosen.modes))
    print("\nall convolutions, forward, predicted for an H200 and not measured:")
    for total in totals:
        print(
            f"  {total['mode']:<7}{total['images']:>3} images  direct {total['direct_ms_an_image']:.3f} ms/image, "
            f"as planned {total['planned_ms_an_image']:.3f}"
        )
    write_table(chosen.json, chosen.network, table, totals=totals)
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
