"""The errors of fp16 spectra, of TF32 and of bf16 on the weights and maps of a trained network.

    python benchmarks/studies/spectra.py [--weights compact-lsp ...] [--data synthetic:16] [--tile 16 32] [--json FILE]

It needs no GPU: the arithmetic of the CUDA kernels is emulated on the CPU, with every rounding of a kernel and exact
sums; and so is that of products of bf16 on a CPU, which rounds spectra of maps, and weights after each of their two
transforms. Each k x k convolution with k of 5 and more gets the maps that the network has there in float64; errors are
relative to its float64 result. Ranges are of the values stored in fp16, whose largest value is 65504 and whose smallest
with all its bits 6e-5. Then whole networks run with all of these convolutions in one arithmetic.

Because of its results, the CUDA plan stores spectra of float32 maps as float32.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from tqdm import tqdm  # noqa: E402

from benchmarks.harness.record import about, write  # noqa: E402
from benchmarks.peers.plain import PlainNetwork  # noqa: E402
from cpm_fast.data.open import open_dataset  # noqa: E402
from cpm_fast.kernels.fourier import tiling  # noqa: E402
from cpm_fast.model.cpm import CPM  # noqa: E402
from cpm_fast.model.crops import crop, network_input  # noqa: E402
from cpm_fast.model.layers import Layer  # noqa: E402
from cpm_fast.weights import load  # noqa: E402

Round = Callable[[torch.Tensor], torch.Tensor]
Convolve = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
SMALLEST_KERNEL = 5
FP16_LARGEST, FP16_SMALLEST_NORMAL = 65504.0, 2.0**-14
TF32_DROPPED_BITS = 13


def exact(values: torch.Tensor) -> torch.Tensor:
    return values


def to_tf32(values: torch.Tensor) -> torch.Tensor:
    """Round float32 to 10 bits of mantissa, to nearest."""
    bits = values.float().view(torch.int32)
    half = 1 << (TF32_DROPPED_BITS - 1)
    return ((bits + half) & ~((1 << TF32_DROPPED_BITS) - 1)).view(torch.float32).double()


def to_fp16(values: torch.Tensor) -> torch.Tensor:
    return values.half().double()


def to_bf16(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().double()


def direct(x: torch.Tensor, weight: torch.Tensor, rounded: Round) -> torch.Tensor:
    """Convolve rounded x [N, C, h, w] at the same size by rounded weight [O, C, k, k], with sums in float64."""
    return F.conv2d(rounded(x), rounded(weight), padding=weight.shape[-1] // 2)


def complex_rounded(values: torch.Tensor, rounded: Round) -> torch.Tensor:
    return torch.complex(rounded(values.real), rounded(values.imag))


class Spectral:
    """The spectral form as the kernels compute it.

    Args:
        stored: of spectra of input and weight. product: of their stored product. transformed: of the inputs of Fourier
        matrices, and of the matrices. rows: of weights between their two transforms.
    """

    def __init__(
        self, stored: Round, product: Round = exact, transformed: Round = exact, rows: Round | None = None
    ) -> None:
        self.stored, self.product, self.transformed = stored, product, transformed
        self.rows = transformed if rows is None else rows
        self.largest = self.small = 0.0

    def waves(self, tile: int, cells: torch.Tensor, waves: int) -> torch.Tensor:
        """[cells, waves] complex."""
        turns = (cells[:, None] * torch.arange(waves)) % tile
        angles = turns.double() * (-2 * math.pi / tile)
        return torch.complex(angles.cos(), angles.sin())

    def forward(
        self, tiles: torch.Tensor, tile: int, cells: torch.Tensor, scale: float, between: Round
    ) -> torch.Tensor:
        """[..., cells, cells] to [..., t, t/2 + 1], rounded between the two transforms too."""
        across = complex_rounded(self.waves(tile, cells, tile // 2 + 1) * scale, self.transformed)
        down = complex_rounded(self.waves(tile, cells, tile), self.transformed)
        half = complex_rounded(self.transformed(tiles).to(torch.complex128) @ across, between)
        return self.store(torch.einsum("yk,...yx->...kx", down, half), self.stored)

    def store(self, values: torch.Tensor, rounded: Round) -> torch.Tensor:
        parts = torch.view_as_real(values).abs()
        self.largest = max(self.largest, float(parts.max()))
        self.small = max(self.small, float((parts < FP16_SMALLEST_NORMAL).double().mean()))
        return complex_rounded(values, rounded)

    def inverse(self, spectra: torch.Tensor, tile: int) -> torch.Tensor:
        """[..., t, t/2 + 1] to [..., t, t], times 1 / t."""
        cells = torch.arange(tile)
        down = complex_rounded(self.waves(tile, cells, tile).conj(), self.transformed)
        weights = torch.full((tile // 2 + 1,), 2.0, dtype=torch.float64)
        weights[0] = weights[-1] = 1.0
        across = self.waves(tile, cells, tile // 2 + 1).conj() * (weights / tile)
        half = complex_rounded(torch.einsum("yk,...kx->...yx", down, spectra), self.transformed)
        return (half @ complex_rounded(across, self.transformed).mT).real

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, tile: int) -> torch.Tensor:
        images, _, height, width = x.shape
        kernel = weight.shape[-1]
        tiles = tiling(tile, kernel, height, width)
        (down, across) = (tiles.down, tiles.across)
        bottom = (down.count - 1) * down.step + tile - down.origin - height
        right = (across.count - 1) * across.step + tile - across.origin - width
        padded = F.pad(x, (across.origin, right, down.origin, bottom))
        patches = padded.unfold(2, tile, down.step).unfold(3, tile, across.step)  # [N, C, down, across, t, t]
        there = self.forward(patches, tile, torch.arange(tile), 1 / tile, self.transformed)
        filters = self.forward(weight, tile, torch.arange(kernel) - kernel // 2, 1.0, self.rows).conj()
        product = self.store(torch.einsum("ncyxkl,ockl->noyxkl", there, filters), self.product)
        y = self.inverse(product, tile)
        y = y[..., down.origin : down.origin + down.step, across.origin : across.origin + across.step]
        y = y.transpose(3, 4).reshape(images, len(weight), down.count * down.step, across.count * across.step)
        return y[..., :height, :width]


# As in kernels/spectral_plans.py: float32 maps with fp16 spectra are transformed as float32, and products are stored as
# float32. For 16-bit maps everything is fp16.
def fp16_spectra() -> Spectral:
    return Spectral(to_fp16)


ARITHMETICS: dict[str, Convolve] = {
    "direct tf32": lambda x, weight, tile: direct(x, weight, to_tf32),
    "fp16 spectra": lambda x, weight, tile: fp16_spectra()(x, weight, tile),
    "fp16 spectra and product": lambda x, weight, tile: Spectral(to_fp16, to_fp16)(x, weight, tile),
    "direct bf16": lambda x, weight, tile: to_bf16(direct(x, weight, to_bf16)),
    "bf16 spectra": lambda x, weight, tile: Spectral(to_bf16, rows=to_bf16)(x, weight, tile),
    "bf16 maps, all else fp16": lambda x, weight, tile: to_bf16(
        Spectral(to_fp16, to_fp16, to_fp16)(to_bf16(x), to_bf16(weight), tile)
    ),
}


class Observed(nn.Module):
    """A convolution that computes exactly and records the result of every arithmetic."""

    def __init__(self, conv: nn.Conv2d, layer: Layer, tiles: list[int], rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.conv, self.layer, self.tiles, self.rows = conv, layer, tiles, rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.conv.weight.detach(), self.conv.bias
        assert bias is not None
        right = direct(x, weight, exact)
        for tile in self.tiles:
            observed = fp16_spectra()
            observed(x, weight, tile)
            row: dict[str, Any] = {"layer": self.layer.name, "kernel": self.layer.kernel, "tile": tile}
            row |= {"channels": [self.layer.in_channels, self.layer.channels], "size": list(x.shape[2:])}
            row |= {"largest_map": float(max(x.abs().max(), right.abs().max()))}
            row |= {"largest_stored": observed.largest, "most_subnormal": observed.small}
            row["error"] = {
                name: float((convolve(x, weight, tile) - right).norm() / right.norm())
                for name, convolve in ARITHMETICS.items()
            }
            self.rows.append(row)
        return right + bias[:, None, None]


class Emulated(nn.Module):
    """A convolution in one arithmetic."""

    def __init__(self, conv: nn.Conv2d, convolve: Convolve, tile: int) -> None:
        super().__init__()
        self.conv, self.convolve, self.tile = conv, convolve, tile

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.conv.bias is not None
        return self.convolve(x, self.conv.weight.detach(), self.tile) + self.conv.bias[:, None, None]


def pictures(model: CPM, data: str, count: int) -> torch.Tensor:
    """Return [N, 3, H, W] float64 network input: the subjects of the first samples."""
    dataset = open_dataset(data)
    samples = [dataset[index] for index in range(min(count, len(dataset)))]
    crops = np.stack([crop(sample.image, sample.region(model.config.margin), model.config) for sample in samples])
    return network_input(crops, model.config).double()


def applies(layer: Layer, tile: int) -> bool:
    return SMALLEST_KERNEL <= layer.kernel < tile


@torch.no_grad()
def study(model: CPM, crops: torch.Tensor, tiles: list[int]) -> dict[str, Any]:
    """Return one row per convolution and tile, and the error of the last belief maps per network and tile."""
    rows: list[dict[str, Any]] = []

    def observed(conv: nn.Conv2d, layer: Layer) -> nn.Module:
        fitting = [tile for tile in tiles if applies(layer, tile)]
        return Observed(conv, layer, fitting, rows) if fitting else conv

    model = model.eval().cpu()
    right = PlainNetwork(model, make_conv=observed).double()(crops)[-1]
    networks = []
    for tile in tiles:
        error = {}
        for name, convolve in tqdm(ARITHMETICS.items(), desc=f"tile {tile}", unit="network", leave=False, disable=None):

            def emulated(conv: nn.Conv2d, layer: Layer, convolve: Convolve = convolve, tile: int = tile) -> nn.Module:
                return Emulated(conv, convolve, tile) if applies(layer, tile) else conv

            found = PlainNetwork(model, make_conv=emulated).double()(crops)[-1]
            error[name] = float((found - right).norm() / right.norm())
        networks.append({"tile": tile, "error": error})
    return {"layers": rows, "networks": networks}


def table(result: dict[str, Any]) -> list[str]:
    names = list(ARITHMETICS)
    lines = [f"  {'':<34}{'largest':>9}{'subnormal':>11}" + "".join(f"{name:>26}" for name in names)]
    for row in result["layers"]:
        size = f"{row['kernel']}x{row['kernel']} {row['channels'][0]}->{row['channels'][1]} @{row['size'][0]}"
        lines.append(
            f"  {size + ', t ' + str(row['tile']):<34}{row['largest_stored']:>9.2f}{row['most_subnormal']:>10.1%} "
            + "".join(f"{row['error'][name]:>26.1e}" for name in names)
        )
    for row in result["networks"]:
        label = f"last belief maps, t {row['tile']}"
        lines.append(f"  {label:<34}{'':>20} " + "".join(f"{row['error'][name]:>26.1e}" for name in names))
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if fp16 spectra are in range and everywhere at most twice as far from float64 as direct TF32, else 1."""
    parser = argparse.ArgumentParser(description="fp16 spectra on the weights and maps of trained networks.")
    parser.add_argument("--weights", nargs="+", default=["compact-lsp", "compact-drawn"], help="names or files")
    parser.add_argument("--data", default="synthetic:64", help="pictures, as of cpm-fast eval (%(default)s)")
    parser.add_argument("--images", type=int, default=4, help="how many of them (%(default)s)")
    parser.add_argument("--tile", type=int, nargs="+", default=[16, 32, 54], help="sides of tiles (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    results, fine = {}, True
    for name in chosen.weights:
        model = load(name, device="cpu")
        results[name] = study(model, pictures(model, chosen.data, chosen.images), chosen.tile)
        print("\n".join([f"{name} on {chosen.images} of {Path(chosen.data).name}", *table(results[name])]), flush=True)
        for row in (*results[name]["layers"], *results[name]["networks"]):
            fine = fine and row["error"]["fp16 spectra"] <= 2 * row["error"]["direct tf32"]
            fine = fine and row.get("largest_stored", 0.0) < FP16_LARGEST
    if chosen.json:
        given = sys.argv[1:] if arguments is None else arguments
        record = {**about(__file__, given), "emulated": True, "images": chosen.images, **results}
        write(chosen.json, record)
        print(f"wrote {chosen.json}")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
