"""Measurements of convolutions on a chip, from the package's file for it or from a file that the user names.

`python benchmarks/gpu_visit.py` writes such files. CPM_FAST_CUDA_PLAN names one; without it the package is searched for
one of the chip. A file is refused as a whole, by its name and the entry's, where any entry can't be right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cpm_fast.kernels.plans import LAUNCHES, MODES, BlockKey, Tile, use_measured_blocks
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.spectral.checks import TILES
from cpm_fast.system.files import VALUE_ERRORS, parse_json
from cpm_fast.system.limits import check_file
from cpm_fast.system.numbers import is_finite, is_whole

VARIABLE = "CPM_FAST_CUDA_PLAN"
FOLDER = Path(__file__).resolve().parent / "chips"
FORMAT, VERSION = "cpm_fast cuda plan", 1
DIRECT = "direct"
# Largest values of a block's fields.
BLOCK_LIMITS = {"pixels": 512, "out": 512, "depth": 512, "warps": 32, "stages": 8}
MOST_BYTES = 16 << 20

Key = tuple[ConvShape, str, bool]
Forms = Mapping[int | None, float]


@dataclass(frozen=True)
class MeasuredPlan:
    """Measurements of one chip.

    Args:
        chip: its name, as CUDA gives it.
        origin: the file, "" where there is none.
        forms: milliseconds by tile, None being direct, of a shape in a mode, in training or not.
        blocks: the fastest blocks of kernels.
    """

    chip: str = ""
    origin: str = ""
    forms: Mapping[Key, Forms] = field(default_factory=dict)
    blocks: Mapping[BlockKey, Tile] = field(default_factory=dict)

    def milliseconds(self, shape: ConvShape, mode: str, training: bool) -> Forms:
        """Return the milliseconds by form; empty if the shape was not measured."""
        return self.forms.get((shape, mode, training), {})


def measured_plan() -> MeasuredPlan:
    """Return the one in force; an empty one where nothing was measured on this chip.

    Raises:
        ValueError: the file is damaged, or can't be read; names it.
    """
    return _plan(os.environ.get(VARIABLE) or "", _chip())


def read_plan(path: str | Path) -> MeasuredPlan:
    """Return a file of measurements, checked.

    Args:
        path: of the JSON.

    Raises:
        ValueError: it is not such a file, an entry can't be right, or it can't be read; names the file and the entry.
    """
    path = Path(path)
    try:
        check_file(path, MOST_BYTES)
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != VERSION:
            raise ValueError(f"must have format {FORMAT!r} and version {VERSION}")
        if values.get("rehearsal"):
            raise ValueError("is of a rehearsal on the CPU, which measures nothing")
        chip = values.get("chip")
        if not isinstance(chip, str) or not chip:
            raise ValueError(f"chip must be a name, got {chip!r}")
        forms = dict(_entry("convolutions", index, _forms, entry) for index, entry in _list(values, "convolutions"))
        blocks = dict(_entry("blocks", index, _block, entry) for index, entry in _list(values, "blocks"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"plan {path}: {error}; measure anew with benchmarks/gpu_visit.py, or unset {VARIABLE}"
        ) from error
    return MeasuredPlan(chip, str(path), forms, blocks)


def file_of(chip: str) -> Path:
    """Return the path at which the package keeps the file of a chip, if it has one."""
    return FOLDER / (re.sub(r"[^a-z0-9]+", "-", chip.lower()).strip("-") + ".json")


@lru_cache(maxsize=8)
def _plan(named: str, chip: str) -> MeasuredPlan:
    if named:
        plan = read_plan(named)
    else:
        packaged = file_of(chip) if chip else None
        plan = read_plan(packaged) if packaged is not None and packaged.exists() else MeasuredPlan()
    use_measured_blocks(plan.blocks)
    return plan


@lru_cache(maxsize=1)
def _chip() -> str:
    """Return the name of the first GPU, "" without one; all GPUs are taken to be of one kind."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _list(values: dict[str, Any], name: str) -> list[tuple[int, Any]]:
    entries = values.get(name)
    if not isinstance(entries, list):
        raise ValueError(f"{name} must be a list, got {type(entries).__name__}")
    return list(enumerate(entries))


def _entry(name: str, index: int, read: Any, entry: Any) -> Any:
    try:
        return read(entry)
    except VALUE_ERRORS as error:
        said = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name}[{index}] {said}") from error


def _forms(entry: Any) -> tuple[Key, Forms]:
    mode, training, size = entry["mode"], entry["training"], entry["size"]
    if mode not in MODES:
        raise ValueError(f"mode must be one of {list(MODES)}, got {mode!r}")
    if not isinstance(training, bool):
        raise ValueError(f"training must be true or false, got {training!r}")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"size must be [height, width], got {size!r}")
    numbers = {name: entry[name] for name in ("images", "inputs", "outputs", "kernel")}
    for name, value in (*numbers.items(), ("size", size[0]), ("size", size[1])):
        _check_whole(name, value, 1, 1 << 30)
    if numbers["kernel"] % 2 == 0:
        raise ValueError(f"kernel must be odd, got {numbers['kernel']}")
    forms: dict[int | None, float] = {}
    for form, taken in entry["milliseconds"].items():
        tile = None if form == DIRECT else int(form) if form.isdecimal() else 0
        if tile is not None and (tile not in TILES or tile <= numbers["kernel"]):
            raise ValueError(
                f"milliseconds must be of {DIRECT!r} or of a tile above k among {list(TILES)}, got {form!r}"
            )
        if not is_finite(taken) or not 0 < taken < 1e9:
            raise ValueError(f"milliseconds of {form} must be above 0, got {taken!r}")
        forms[tile] = float(taken)
    if None not in forms:
        raise ValueError(f"milliseconds must have {DIRECT!r}, got {sorted(map(str, forms))}")
    shape = ConvShape(**numbers, size=(size[0], size[1]))
    return (shape, mode, training), forms


def _block(entry: Any) -> tuple[BlockKey, Tile]:
    launch, mode, *numbers = entry["for"]
    if launch not in LAUNCHES or mode not in MODES or len(numbers) != 4:
        raise ValueError(f"for must be [launch, mode, rows, inputs, outputs, kernel], got {entry['for']!r}")
    for value in numbers:
        _check_whole("for", value, 0, 1 << 62)
    block = entry["block"]
    if not isinstance(block, list) or len(block) != len(BLOCK_LIMITS):
        raise ValueError(f"block must be {list(BLOCK_LIMITS)}, got {block!r}")
    for (name, most), value in zip(BLOCK_LIMITS.items(), block, strict=True):
        _check_whole(name, value, 1, most)
        if name != "stages" and value & (value - 1):
            raise ValueError(f"{name} must be a power of two, got {value}")
    return (launch, mode, *numbers), Tile(*block)


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    if not is_whole(value) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
