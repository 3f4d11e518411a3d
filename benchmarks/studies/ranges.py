"""The range of magnitudes that maps reach in trained networks: python benchmarks/studies/ranges.py --pictures FOLDER.

In the frequency domain the error of a tile is a share of its largest value, so images with too wide a range run as
plain sums (docs/spectral-convolution.md). For every call of a network that `infer` makes on pictures, and for every
convolution by tiles, the study takes the largest magnitude over that of the faintest block of (k + 1) / 2 cells per
side that is not zero, all channels together, as the native code does. It writes ranges.json.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cpm_fast
from benchmarks.harness.record import about, write
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.engine.prepared import _PlanWalk
from cpm_fast.media.sources import list_images
from cpm_fast.model.cpm import CPM, middle_center_map
from cpm_fast.model.groups import Group
from cpm_fast.model.layers import CENTER_MAP, IMAGE
from cpm_fast.weights import bundled

# The limit in csrc/cpu/spectral_conv.cpp: beyond it an image's layer runs as plain sums.
MOST_RANGE = 8192.0
DRAWN, FINDER = "drawn", "its finder"


def ranges(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """Return the largest magnitude over that of the faintest block that is not zero, of every image of [N, C, h, w].

    Examples:
        >>> ranges(torch.tensor([[[[8.0, 0.0, 0.0, 0.5]]]]), 3)
        tensor([16.])
    """
    blocks = F.max_pool2d(x.abs().amax(1, keepdim=True), (kernel + 1) // 2, ceil_mode=True).flatten(1)
    faintest = blocks.where(blocks > 0, torch.inf).amin(1)
    return torch.where(faintest.isinf(), 1.0, blocks.amax(1) / faintest)


class _Measuring(_PlanWalk):
    """A walk that notes the range of every map that a convolution by tiles reads."""

    found: dict[str, list[float]]

    def conv(self, node: Group, x: torch.Tensor) -> torch.Tensor:
        kernel = self.kernels.get(node.name)
        if kernel is not None and kernel.tile is not None:
            where = "input" if IMAGE in node.inputs else "within"
            self.found[where] += ranges(x, kernel.side).tolist()
        return super().conv(node, x)


@contextmanager
def measured(found: dict[CPM, dict[str, list[float]]]) -> Iterator[None]:
    """Note the ranges of every call of an engine within the block, by network."""
    own = cpm_fast.Engine.__call__

    def call(
        engine: cpm_fast.Engine, crops: torch.Tensor, center_map: torch.Tensor | None = None, *, last: bool = False
    ) -> Any:
        weights = engine._fresh()
        plan = weights.plan_of(crops)
        walk = _Measuring(weights, len(crops), {} if plan is None else plan.kernels, None)
        walk.found = found.setdefault(engine.model, {"input": [], "within": []})
        size = (crops.shape[2], crops.shape[3])
        center = middle_center_map(engine.config, size) if center_map is None else center_map
        with torch.no_grad():
            walk.over(weights.groups, {IMAGE: crops.contiguous(memory_format=torch.channels_last), CENTER_MAP: center})
        return own(engine, crops, center_map, last=last)

    with mock.patch.object(cpm_fast.Engine, "__call__", call):
        yield


def study(name: str, pictures: list[Any], model: str) -> dict[str, Any]:
    """Return the ranges of a network, and of its finder, on pictures."""
    found: dict[CPM, dict[str, list[float]]] = {}
    with measured(found), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for picture in tqdm(pictures, desc=f"{model} {name}", leave=False, disable=None):
            cpm_fast.infer(picture, model=model)
    return {
        FINDER if network.config.kind == "find" else model: {
            where: {
                "maps": len(values),
                "largest": max(values, default=None),
                "beyond": sum(value > MOST_RANGE for value in values),
            }
            for where, values in places.items()
        }
        for network, places in found.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure every network on every set of pictures; write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, action="append", default=[], help="a folder; may be repeated")
    parser.add_argument("--model", action="append", help="weights, of an imported network too (all bundled)")
    parser.add_argument("--most", type=int, default=50, help="pictures of each folder, evenly chosen (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ranges"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    drawn = DrawnFigures(options.most)
    sets: dict[str, list[Any]] = {DRAWN: [drawn[i].image for i in range(len(drawn))]}
    for folder in options.pictures:
        paths = [source.item for source in list_images(folder)[0]]
        sets[str(folder)] = paths[:: -(-len(paths) // options.most)]
    results = []
    for model in options.model or bundled():
        if cpm_fast.load(model, device="cpu").config.kind == "find":
            continue
        for name, pictures in sets.items():
            for network, places in study(name, pictures, model).items():
                results.append({"model": model, "network": network, "pictures": name, "count": len(pictures), **places})
                print(f"{model}, {network}, {len(pictures)} pictures of {name}: {places}", flush=True)
    record = {**about(__file__, given), "most_range": MOST_RANGE, "results": results}
    write(options.out / "ranges.json", record)
    print(f"wrote {options.out / 'ranges.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
