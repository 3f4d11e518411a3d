"""Measured tuning of convolutions on the CPU: which form is fastest on this machine, kept for the next process."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm

from cpm_fast.files import atomic_write, parse_json
from cpm_fast.ops import backend
from cpm_fast.ops.conv_plan import ConvShape, CpuPlan, fitting_tiles
from cpm_fast.ops.direct_conv import bound_direct_conv, pack_weight
from cpm_fast.ops.spectral_conv import TILES, bound_spectral_conv, transform_weight

# The tile of the direct form, in files.
DIRECT = 0
# Forms that the model of costs holds for slower than this many times its best are not measured.
WORTH_MEASURING = 2.5
LEAST_CALLS, LEAST_SECONDS = 3, 0.02
# Between two calls the caches are filled with something else, as the network's other layers would.
FLUSHED_FLOATS = 1 << 24


class TunedPlan(CpuPlan):
    """A `CpuPlan` that chooses what was fastest when measured, on this machine with this number of threads.

    Args:
        folder: where measurements are kept; `cache_folder()` if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        about = machine()
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self.about = about
        self.file = (cache_folder() if folder is None else folder) / f"tuning-{digest}.json"
        self.milliseconds_of = self.read()
        self.lock = threading.Lock()

    def measure(self, shapes: Iterable[ConvShape]) -> None:
        """Measure the forms of those that are not known yet, and keep what was found after each."""
        with self.lock:
            unknown = [shape for shape in dict.fromkeys(shapes) if shape not in self.milliseconds_of]
            for shape in tqdm(unknown, desc="tuning", unit="layer", leave=False, disable=not unknown):
                self.milliseconds_of[shape] = {tile: measured(shape, tile) for tile in candidates(shape)}
                self.write()

    def tile(self, shape: ConvShape, most_bytes: int | None = None) -> int | None:
        found = {
            tile: taken
            for tile, taken in self.milliseconds_of.get(shape, {}).items()
            if tile == DIRECT or most_bytes is None or shape.spectra_bytes(tile) <= most_bytes
        }
        return (min(found, key=found.__getitem__) or None) if found else super().tile(shape, most_bytes)

    def milliseconds(self, shape: ConvShape, tile: int | None) -> float:
        """Measured, or predicted where it was not."""
        return self.milliseconds_of.get(shape, {}).get(tile or DIRECT) or super().milliseconds(shape, tile)

    def read(self) -> dict[ConvShape, dict[int, float]]:
        """What the file holds; of a file that is damaged, nothing."""
        try:
            values = parse_json(self.file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            return self.ignored(str(error))
        try:
            return {shape_of(key): measurements(taken) for key, taken in values["milliseconds"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return self.ignored(f"{type(error).__name__}: {error}")

    def ignored(self, reason: str) -> dict[ConvShape, dict[int, float]]:
        warnings.warn(f"{self.file} is ignored and written anew: {reason}", RuntimeWarning, stacklevel=4)
        return {}

    def write(self) -> None:
        """Together with what other processes have written since; where nothing can be written, nothing is kept."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = {**self.read(), **self.milliseconds_of}
        kept = {key_of(shape): {str(tile): round(taken, 5) for tile, taken in forms.items()}
                for shape, forms in known.items()}  # fmt: skip
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as file:
                file.write((json.dumps({**self.about, "milliseconds": kept}, indent=1) + "\n").encode())
        except OSError as error:
            warnings.warn(f"tuning is not kept for the next process: {error}", RuntimeWarning, stacklevel=3)


def cache_folder() -> Path:
    """Where measurements are kept: CPM_FAST_CACHE, or `cpm_fast` in the user's folder of caches."""
    asked = os.environ.get("CPM_FAST_CACHE")
    if asked:
        return Path(asked)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "cpm_fast"


def machine() -> dict[str, str | int]:
    """What measurements hold for: processor, instruction set, threads and version."""
    return {
        "processor": _processor(),
        "simd": backend.native().simd(),
        "threads": backend.threads(),
        "cpm_fast": version("cpm_fast"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def candidates(shape: ConvShape) -> list[int]:
    """Tiles, DIRECT among them, that may be fastest for a shape by the model of costs."""
    costs = {DIRECT: shape.direct_milliseconds}
    costs |= {tile: shape.spectral_milliseconds(tile) for tile in fitting_tiles(shape)}
    most = WORTH_MEASURING * min(costs.values())
    return [tile for tile, cost in costs.items() if cost <= most]


def measured(shape: ConvShape, tile: int) -> float:
    """Milliseconds that one form takes, the least of some calls."""
    call = bound_form(shape, tile)
    other = torch.zeros(FLUSHED_FLOATS)
    call()
    best, begun, calls = math.inf, time.perf_counter(), 0
    while calls < LEAST_CALLS or time.perf_counter() - begun < LEAST_SECONDS:
        other.add_(1.0)
        started = time.perf_counter()
        call()
        best, calls = min(best, time.perf_counter() - started), calls + 1
    return 1e3 * best


def bound_form(shape: ConvShape, tile: int) -> Callable[[], None]:
    height, width = shape.size
    x = torch.randn(shape.images, height, width, shape.inputs).permute(0, 3, 1, 2)
    out = torch.empty(shape.images, height, width, shape.outputs).permute(0, 3, 1, 2)
    weight, bias = torch.randn(shape.outputs, shape.inputs, shape.kernel, shape.kernel), torch.zeros(shape.outputs)
    if tile == DIRECT:
        return bound_direct_conv(x, pack_weight(weight), bias, True, None, out)
    return bound_spectral_conv(x, transform_weight(weight, tile), bias, True, shape.kernel, None, out)


def key_of(shape: ConvShape) -> str:
    return " ".join(str(n) for n in (shape.images, shape.inputs, shape.outputs, shape.kernel, *shape.size))


def shape_of(key: str) -> ConvShape:
    images, inputs, outputs, kernel, height, width = (int(n) for n in key.split())
    return ConvShape(images, inputs, outputs, kernel, (height, width))


def measurements(values: dict[str, float]) -> dict[int, float]:
    """Milliseconds by tile, as a file should hold them.

    Raises:
        ValueError: they are not times of forms.
    """
    found = {int(tile): float(taken) for tile, taken in values.items()}
    if not found or not found.keys() <= {DIRECT, *TILES} or not all(0 < taken < math.inf for taken in found.values()):
        raise ValueError(f"not the milliseconds of forms: {values}")
    return found
