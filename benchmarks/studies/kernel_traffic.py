"""The programs that a multiprocessor holds, and their traffic through L2 and shared memory: counted, not measured.

L2: the bytes that all programs of a launch load and store, without masked ones; a tensor that several programs read
counts as often as they read it. Tests compare the counts with every load and store of an interpreted launch.

Shared memory: each operand of a matrix product is written there once, and read once for every row or column of warps
that needs it; warp groups read together. Operands that stay in registers make it less.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.studies.compiled import Compiled
from cpm_fast.kernels.launch import Launch

KILOBYTE = 1 << 10
WARP = 32
# The resources of a multiprocessor of compute capability 8.0 and 9.0 (CUDA programming guide): warps, programs,
# registers, bytes of shared memory. A warp gets registers in units, and each program takes some shared memory for the
# system.
MOST_WARPS, MOST_PROGRAMS, REGISTERS, REGISTER_UNIT = 64, 32, 1 << 16, 256
SHARED_BYTES = {80: 164 * KILOBYTE, 90: 228 * KILOBYTE}
SYSTEM_BYTES = KILOBYTE
# An H200: multiprocessors, bytes per clock, and the clock at which it reaches the data sheet's 989 TFLOP/s in 16 bit.
SHARED_BYTES_PER_S = 132 * 128 * 1.83e9


@dataclass(frozen=True)
class Occupancy:
    """Programs that a multiprocessor holds at once, their share of its warps, and the limiting resource."""

    programs: int
    warps_share: float
    bound: str


def occupancy(compiled: Compiled, warps: int, capability: int) -> Occupancy:
    registers_a_warp = -(-compiled.registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    bounds = {
        "warps": MOST_WARPS // warps,
        "programs": MOST_PROGRAMS,
        "registers": REGISTERS // (registers_a_warp * warps),
        "shared memory": SHARED_BYTES[capability] // (compiled.shared + SYSTEM_BYTES),
    }
    bound = min(bounds, key=bounds.__getitem__)
    return Occupancy(bounds[bound], bounds[bound] * warps / MOST_WARPS, bound)


@dataclass(frozen=True)
class Sizes:
    """Arguments and constants of a launch by name, with tensors separate."""

    launch: Launch

    def __call__(self, name: str) -> int:
        value = self.launch.arguments.get(name, self.launch.constants.get(name))
        assert isinstance(value, int), name
        return value

    def tensor(self, name: str) -> torch.Tensor:
        value = self.launch.arguments[name]
        assert isinstance(value, torch.Tensor)
        return value

    def blocks(self, size: str, block: str) -> int:
        return -(-self(size) // self(block))


def l2_bytes(launch: Launch) -> dict[str, int]:
    """Return the bytes that programs load and store, by argument."""
    counted = {
        "context_conv_forward_kernel": _forward,
        "context_conv_dweight_kernel": _dweight,
        "context_conv_gate_kernel": _gate,
        "context_conv_sum_kernel": _sum,
        "spectral_conv_transform_kernel": _transform,
        "spectral_conv_product_kernel": _product,
        "spectral_conv_dweight_kernel": _spectral_dweight,
        "spectral_conv_inverse_kernel": _inverse,
    }[launch.kernel.__name__](Sizes(launch))
    sizes = Sizes(launch)
    return {name: count * sizes.tensor(name).element_size() for name, count in counted.items()}


def taps(size: int, kernel: int) -> int:
    """Return the cells of a map that kernels over each of its `size` cells read, along one axis."""
    pad = kernel // 2
    return sum(min(size, cell + pad + 1) - max(0, cell - pad) for cell in range(size))


def met(count: int, step: int, origin: int, first: int, last: int, size: int) -> int:
    """Return the cells first to last of all tiles that lie in the map, along one axis."""
    starts = [index * step - origin for index in range(count)]
    return sum(max(0, min(size, start + last) - max(0, start + first)) for start in starts)


def _forward(n: Sizes) -> dict[str, int]:
    images = n("pixels") // (n("height") * n("width"))
    inside = images * taps(n("height"), n("kernel")) * taps(n("width"), n("kernel")) * n("in_channels")
    pixel_blocks, out_blocks = n.blocks("pixels", "BLOCK_PIXELS"), n.blocks("out_channels", "BLOCK_OUT")
    weights = n.tensor("weight_ptr").numel()
    return {
        "x_ptr": out_blocks * inside,
        "weight_ptr": pixel_blocks * weights,
        "bias_ptr": pixel_blocks * n("out_channels"),
        "y_ptr": n("pixels") * n("out_channels"),
    }


def _dweight(n: Sizes) -> dict[str, int]:
    images = n("pixels") // (n("height") * n("width"))
    inside = images * taps(n("height"), n("kernel")) * taps(n("width"), n("kernel")) * n("in_channels")
    row_blocks = -(-n("kernel") * n("in_channels") // n("BLOCK_ROW"))
    return {
        "x_ptr": n.blocks("out_channels", "BLOCK_OUT") * inside,
        "dy_ptr": n("kernel") * row_blocks * n("pixels") * n("out_channels"),
        "partial_ptr": n.tensor("partial_ptr").numel(),
    }


def _gate(n: Sizes) -> dict[str, int]:
    values = n("pixels") * n("out_channels")
    gated = {"y_ptr": values, "gated_ptr": values} if n("RELU") else {}
    return {"dy_ptr": values, **gated, "partial_ptr": n.tensor("partial_ptr").numel()}


def _sum(n: Sizes) -> dict[str, int]:
    return {"partial_ptr": n("runs") * n("count"), "sum_ptr": n("count")}


def _transform(n: Sizes) -> dict[str, int]:
    images = n("tiles") // (n("tiles_down") * n("tiles_across"))
    down = met(n("tiles_down"), n("step_y"), n("origin_y"), n("first_y"), n("last_y"), n("height"))
    across = met(n("tiles_across"), n("step_x"), n("origin_x"), n("first_x"), n("last_x"), n("width"))
    waves, rows = n("HALF") // n("BLOCK_WAVES"), n("SIDE") // n("BLOCK_ROWS")
    cells = images * down * across * n("channels") * waves
    return {
        "x_ptr": cells,
        **({"gate_ptr": cells} if n("GATE") else {}),
        "across_ptr": n.launch.programs * rows * 2 * n("SIDE") * n("BLOCK_WAVES"),
        "down_ptr": n.launch.programs * 2 * n("SIDE") * n("HALF"),
        "spectra_ptr": n.tensor("spectra_ptr").numel(),
        **({"sums_ptr": n("tiles") * n("channels")} if n("SUMS") else {}),
    }


def _product(n: Sizes) -> dict[str, int]:
    out_blocks, tile_blocks = n.blocks("padded_out", "BLOCK_OUT"), n.blocks("tiles", "BLOCK_TILES")
    return {
        "x_ptr": out_blocks * n.tensor("x_ptr").numel(),
        "weight_ptr": tile_blocks * n.tensor("weight_ptr").numel(),
        "y_ptr": n.tensor("y_ptr").numel(),
    }


def _spectral_dweight(n: Sizes) -> dict[str, int]:
    out_blocks, in_blocks = n.blocks("out_channels", "BLOCK_OUT"), n.blocks("padded_in", "BLOCK_IN")
    # Channels of dy that pad a block to 16 are not read.
    values = n.tensor("dy_ptr").numel() // n("padded_out") * n("out_channels")
    return {
        "x_ptr": out_blocks * n.tensor("x_ptr").numel(),
        "dy_ptr": in_blocks * values,
        "dweight_ptr": (2 if n("ADD") else 1) * n.tensor("dweight_ptr").numel(),
    }


def _inverse(n: Sizes) -> dict[str, int]:
    rows = n("DOWN") // n("BLOCK_ROWS")
    values = n.tensor("spectra_ptr").numel() // n("padded_channels") * n("channels")
    lanes = n("tiles") * rows * n("BLOCK_ROWS") * n("channels")
    return {
        "spectra_ptr": rows * values,
        **({"bias_ptr": lanes} if n("BIAS") else {}),
        "down_ptr": n.launch.programs * 2 * n("HALF") * n("BLOCK_ROWS"),
        "across_ptr": n.launch.programs * 2 * n("HALF") * n("ACROSS"),
        "y_ptr": n.tensor("y_ptr").numel(),
    }


# A matrix product: its count in a launch, rows, columns, and the length of the sums.
Product = tuple[int, int, int, int]


def products(launch: Launch) -> list[Product]:
    """Return the matrix products of a launch's programs, with whole blocks, including zeros."""
    n, name, programs = Sizes(launch), launch.kernel.__name__, launch.programs
    if name == "context_conv_forward_kernel":
        blocks = 1 if n("SHORT") else -(-n("kernel") * n("in_channels") // n("BLOCK_ROW"))
        return [(programs * n("kernel") * blocks, n("BLOCK_PIXELS"), n("BLOCK_OUT"), n("BLOCK_ROW"))]
    if name == "context_conv_dweight_kernel":
        blocks = n.blocks("run_pixels", "BLOCK_PIXELS")
        return [(programs * blocks, n("BLOCK_OUT"), n("BLOCK_ROW"), n("BLOCK_PIXELS"))]
    if name == "spectral_conv_product_kernel":
        blocks = 4 * n.blocks("padded_in", "BLOCK_IN")
        return [(programs * blocks, n("BLOCK_TILES"), n("BLOCK_OUT"), n("BLOCK_IN"))]
    if name == "spectral_conv_dweight_kernel":
        blocks = 4 * n.blocks("tiles", "BLOCK_TILES")
        return [(programs * blocks, n("BLOCK_OUT"), n("BLOCK_IN"), n("BLOCK_TILES"))]
    if name == "spectral_conv_transform_kernel":
        side, rows, cells, waves, channels = (
            n(key) for key in ("SIDE", "BLOCK_ROWS", "BLOCK_CELLS", "BLOCK_WAVES", "BLOCK_CHANNELS")
        )
        return [
            (programs * 2 * (side // rows) * (side // cells), rows * channels, waves, cells),
            (programs * 4 * (side // rows), waves * channels, n("HALF"), rows),
        ]
    if name == "spectral_conv_inverse_kernel":
        rows, waves, channels = (n(key) for key in ("BLOCK_ROWS", "BLOCK_WAVES", "BLOCK_CHANNELS"))
        steps = n("HALF") // waves
        return [
            (programs * 4 * steps, waves * channels, rows, n("HALF")),
            (programs * 2 * steps, rows * channels, n("ACROSS"), waves),
        ]
    return []


def shared_bytes(launch: Launch, compiled: Compiled) -> int | None:
    """Return bytes written to and read from shared memory for the matrix products; None without tensor cores."""
    if compiled.tensor_core == "none" or not compiled.warp_grid:
        return None
    down, across = compiled.warp_grid
    if compiled.tensor_core == "wgmma":
        # Four warps read the columns' operand together.
        down = max(1, down // 4)
    size = operand_size(launch)
    total = 0
    for count, rows, columns, depth in products(launch):
        # Each operand is written once; the rows' operand is read for every column of warps, and vice versa.
        total += count * depth * (rows * (1 + across) + columns * (1 + down)) * size
    return total


def operand_size(launch: Launch) -> int:
    """Return the bytes of a multiplied value: in transforms of the Fourier matrices' type, else the first operand's."""
    name = "down_ptr" if "down_ptr" in launch.arguments else "x_ptr"
    return Sizes(launch).tensor(name).element_size()


def traffic(launch: Launch, compiled: Compiled, capability: int) -> dict[str, object]:
    """Return the columns that a table has for a launch."""
    held, l2, shared = occupancy(compiled, launch.warps, capability), l2_bytes(launch), shared_bytes(launch, compiled)
    least = sum(
        value.nbytes for value in {id(v): v for v in launch.arguments.values() if isinstance(v, torch.Tensor)}.values()
    )
    return {
        "programs_a_multiprocessor": held.programs,
        "occupancy": held.warps_share,
        "occupancy_bound": held.bound,
        "l2_bytes": sum(l2.values()),
        "l2_bytes_by_argument": l2,
        "times_its_tensors": sum(l2.values()) / max(least, 1),
        "shared_bytes": shared,
        "shared_s": None if shared is None or capability != 90 else shared / SHARED_BYTES_PER_S,
    }
