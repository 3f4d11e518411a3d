"""Measured tuning of convolutions on the CPU: the fastest form on this machine, kept for the next process."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from cpm_fast.ops import backend
from cpm_fast.ops.direct_conv import bound_direct_conv, pack_weight
from cpm_fast.ops.plans.cpu import WINOGRAD, ConvShape, CpuPlan, fitting_forms
from cpm_fast.ops.spectral.checks import TILES
from cpm_fast.ops.spectral_conv import bound_spectral_conv, transform_weight
from cpm_fast.ops.winograd_conv import bound_winograd_conv, winograd_weight
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, parse_json
from cpm_fast.system.fork_lock import fork_lock
from cpm_fast.system.limits import LARGEST_BYTES, check_file

# The tile of the direct form, in files.
DIRECT = 0
# Forms whose predicted cost is more than this many times the best are not measured.
WORTH_MEASURING = 2.5
LEAST_CALLS, LEAST_SECONDS = 3, 0.02
# Between two calls the caches are filled with something else, as the network's other layers would.
FLUSHED_BYTES = 1 << 26

FLOAT_PLAN = CpuPlan()

# Threads that measure at the same time would disturb each other.
_measuring = fork_lock()


class TunedPlan(CpuPlan):
    """A `CpuPlan` that chooses the measured fastest forms, on this machine with this number of threads.

    Args:
        dtype: of weights.
        folder: where measurements are kept; `cache_folder()` if None.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, folder: Path | None = None) -> None:
        super().__init__(dtype)
        self.about = {**machine(), "weights": str(dtype).removeprefix("torch.")}
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:16]
        folder = cache_folder() if folder is None else folder
        self.file = None if folder is None else folder / f"tuning-{digest}.json"
        self.milliseconds_of: dict[ConvShape, dict[int, float]] = {}
        try:
            self.milliseconds_of = self.kept()
        except ValueError as error:
            warnings.warn(f"{self.file} is damaged and not used: {error}", RuntimeWarning, stacklevel=2)

    def measure(self, shapes: Iterable[ConvShape], most_bytes: int | None = None) -> None:
        """Measure the forms of shapes that are not known yet, and keep the result after each.

        Args:
            shapes: of convolutions.
            most_bytes: that spectra may take; forms with more are not measured.
        """
        with _measuring:
            with suppress(ValueError):
                self.milliseconds_of = {**self.kept(), **self.milliseconds_of}
            missing = {shape: self.unknown(shape, most_bytes) for shape in shapes}
            missing = {shape: forms for shape, forms in missing.items() if forms}
            bar = tqdm(missing.items(), desc="tuning", unit="layer", leave=False, disable=None if missing else True)
            for shape, forms in bar:
                found = {tile: measured(shape, tile, self.dtype) for tile in forms}
                self.milliseconds_of[shape] = {**self.milliseconds_of.get(shape, {}), **found}
                self.keep()

    def unknown(self, shape: ConvShape, most_bytes: int | None) -> list[int]:
        known = self.milliseconds_of.get(shape, {})
        return [tile for tile in tiles_to_try(shape, most_bytes, self) if tile not in known]

    def tile(self, shape: ConvShape, most_bytes: int | None = None) -> int | None:
        found = {
            tile: taken
            for tile, taken in self.milliseconds_of.get(shape, {}).items()
            if tile == DIRECT or most_bytes is None or self.spectra_bytes(shape, tile) <= most_bytes
        }
        return (min(found, key=found.__getitem__) or None) if found else super().tile(shape, most_bytes)

    def milliseconds(self, shape: ConvShape, tile: int | None) -> float:
        """Return the measured milliseconds, or the predicted ones if there are none."""
        return self.milliseconds_of.get(shape, {}).get(tile or DIRECT) or super().milliseconds(shape, tile)

    def kept(self) -> dict[ConvShape, dict[int, float]]:
        """Read the file's content; empty if there is no file.

        Raises:
            ValueError: it is damaged, or can't be read.
        """
        if self.file is None:
            return {}
        try:
            if self.file.exists():
                check_file(self.file, LARGEST_BYTES)
            values = parse_json(self.file.read_bytes())["milliseconds"]
            return {shape_of(key): measurements(taken) for key, taken in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, *VALUE_ERRORS) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def keep(self) -> None:
        """Write the measurements together with those of other processes; if writing fails, nothing is kept."""
        if self.file is None:
            return
        others: dict[ConvShape, dict[int, float]] = {}
        with suppress(ValueError):
            others = self.kept()
        kept = {
            key_of(shape): {str(tile): round(taken, 5) for tile, taken in forms.items()}
            for shape, forms in {**others, **self.milliseconds_of}.items()
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as file:
                file.write((json.dumps({**self.about, "milliseconds": kept}, indent=1) + "\n").encode())
        except OSError as error:
            self.file = None
            warnings.warn(f"tuning is not kept for the next process: {error}", RuntimeWarning, stacklevel=3)


def cache_folder() -> Path | None:
    """Return the folder of measurements: CPM_FAST_CACHE, or `cpm_fast` in the user's cache folder; None: nowhere."""
    asked = os.environ.get("CPM_FAST_CACHE")
    if asked:
        return Path(asked)
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    named = os.environ.get(variable) if variable else None
    if named:
        return Path(named) / "cpm_fast"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    inside = {"win32": Path("AppData", "Local"), "darwin": Path("Library", "Caches")}.get(sys.platform, Path(".cache"))
    return home / inside / "cpm_fast"


def machine() -> dict[str, str | int]:
    """Return the name of the conditions of measurements: processor, instruction set, threads, version and build."""
    native = backend.native()
    return {
        "processor": _processor(),
        "simd": native.simd(),
        "threads": backend.threads(),
        "cpm_fast": version("cpm_fast"),
        "build": hashlib.sha256(Path(native.__file__ or "").read_bytes()).hexdigest()[:16],
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def tiles_to_try(shape: ConvShape, most_bytes: int | None = None, plan: CpuPlan = FLOAT_PLAN) -> list[int]:
    """Return the tiles, DIRECT among them, that may be fastest for a shape by the cost model."""
    costs = {DIRECT: CpuPlan.milliseconds(plan, shape, None)}
    for tile in fitting_forms(shape):
        if most_bytes is None or plan.spectra_bytes(shape, tile) <= most_bytes:
            costs[tile] = CpuPlan.milliseconds(plan, shape, tile)
    most = WORTH_MEASURING * min(costs.values())
    return [tile for tile, cost in costs.items() if cost <= most]


def measured(shape: ConvShape, tile: int, dtype: torch.dtype) -> float:
    """Measure the milliseconds of one form, the least of some calls."""
    call = bound_form(shape, tile, dtype)
    other = torch.zeros(FLUSHED_BYTES, dtype=torch.uint8)
    call()
    best, begun, calls = math.inf, time.perf_counter(), 0
    while calls < LEAST_CALLS or time.perf_counter() - begun < LEAST_SECONDS:
        other.add_(1)
        started = time.perf_counter()
        call()
        best, calls = min(best, time.perf_counter() - started), calls + 1
    return 1e3 * best


def bound_form(shape: ConvShape, tile: int, dtype: torch.dtype) -> Callable[[], None]:
    """Make one form of a convolution of random numbers; the caller's random state is unchanged."""
    random = torch.Generator().manual_seed(0)

    def drawn(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=random, dtype=torch.float32, device="cpu")

    x = drawn(shape.images, *shape.size, shape.inputs).permute(0, 3, 1, 2)
    out = drawn(shape.images, *shape.size, shape.outputs).permute(0, 3, 1, 2)
    weight, bias = drawn(shape.outputs, shape.inputs, shape.kernel, shape.kernel), drawn(shape.outputs)
    if tile == DIRECT:
        return bound_direct_conv(x, pack_weight(weight, dtype), bias, True, None, out)
    if tile == WINOGRAD:
        return bound_winograd_conv(x, winograd_weight(weight, dtype), bias, True, None, out, weight)
    return bound_spectral_conv(x, transform_weight(weight, tile, dtype=dtype), bias, True, shape.kernel, None, out)


def key_of(shape: ConvShape) -> str:
    """Write a shape as the key of a measurement."""
    return " ".join(str(n) for n in (shape.images, shape.inputs, shape.outputs, shape.kernel, *shape.size))


def shape_of(key: str) -> ConvShape:
    """Read the shape that a key stands for."""
    images, inputs, outputs, kernel, height, width = (int(n) for n in key.split())
    return ConvShape(images, inputs, outputs, kernel, (height, width))


def measurements(values: dict[str, float]) -> dict[int, float]:
    """Check milliseconds by tile that were read from a file.

    Raises:
        ValueError: they are not times of forms.
    """
    found = {int(tile): float(taken) for tile, taken in values.items()}
    known = found and found.keys() <= {DIRECT, WINOGRAD, *TILES}
    if not known or not all(0 < taken < math.inf for taken in found.values()):
        raise ValueError(f"not the milliseconds of forms: {values}")
    return found
