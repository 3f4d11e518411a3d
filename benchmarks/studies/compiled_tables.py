"""Tables of compiled kernels, layer by layer: the layers, the options, the printing and the file."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.record import commit
from benchmarks.studies.compiled import SHARED_LIMIT_BYTES
from cpm_fast.config import preset
from cpm_fast.kernels.plans import MODES
from cpm_fast.model.layers import IMAGE, network_layers
from cpm_fast.system.files import atomic_write

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A convolution of the network: its name, its count in the network, and its sizes."""

    name: str
    count: int
    in_channels: int
    out_channels: int
    kernel: int
    size: tuple[int, int]

    @property
    def flops(self) -> int:
        return 2 * self.in_channels * self.out_channels * self.kernel**2 * self.size[0] * self.size[1]


def shapes(name: str) -> list[Shape]:
    """Return the different convolutions of a preset, and the first layers of both its trunks as one."""
    counts: Counter[tuple[Any, ...]] = Counter()
    names: dict[tuple[Any, ...], str] = {}
    for layer in network_layers(preset(name, None)):
        if layer.kind == "conv":
            key = (layer.in_channels, layer.channels, layer.kernel, layer.size)
            counts[key] += 1
            names.setdefault(key, layer.name)
            if layer.inputs == (IMAGE,):
                both = (layer.in_channels, 2 * layer.channels, layer.kernel, layer.size)
                counts[both], names[both] = 1, f"{layer.name} x 2"
    return [Shape(names[key], count, *key) for key, count in counts.items()]


def table_options(doc: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of a table: network, images, modes, capabilities and json."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--network", default="cpm6", help="preset (%(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=[32], help="batch sizes (%(default)s)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="arithmetic (all)")
    parser.add_argument(
        "--capabilities",
        type=int,
        nargs="+",
        choices=sorted(SHARED_LIMIT_BYTES),
        default=[90],
        help="chips, 80 for sm_80 (%(default)s)",
    )
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args(arguments)


def print_rows(rows: Iterable[Row], line: Callable[[Row], str]) -> tuple[list[Row], bool]:
    """Print rows as they come; return them, and whether every kernel fits its chip, without spills."""
    table, fine = [], True
    for row in rows:
        table.append(row)
        fine = fine and row["spills"] == 0 and row["shared"] <= SHARED_LIMIT_BYTES[row["capability"]]
        print(line(row), flush=True)
    return table, fine


def write_table(path: Path | None, network: str, table: list[Row], **more: Any) -> None:
    """Write a table, a line per row, with its command and commit."""
    if path is None:
        return
    record = {"command": " ".join(["python", *sys.argv]), "commit": commit(), "network": network}
    head = json.dumps({**record, "measured": False, "triton": version("triton"), **more})
    lines = ",\n".join(json.dumps(row) for row in table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(f'{head[:-1]}, "rows": [\n{lines}\n]}}\n'.encode())
    print(f"\nwrote {path}")
