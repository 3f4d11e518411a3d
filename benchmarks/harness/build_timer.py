"""Prints the seconds of calls of one build as JSON; `studies/builds.py` runs it in that build's environment.

It imports only what every build has: python build_timer.py NETWORK BATCH CALLS
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import torch

import cpm_fast
from cpm_fast.config import PRESETS, preset
from cpm_fast.engine import Engine
from cpm_fast.model.cpm import CPM
from cpm_fast.weights import load

THREADS = 2
FIRST_CALLS = 3
# PyTorch's threads spin for up to 15 ms after the preparation.
PAUSE_S = 0.5


def network(name: str) -> CPM:
    """Return bundled weights, or a preset with the same random weights in every build."""
    if name not in PRESETS:
        return load(name)
    torch.manual_seed(0)
    # He's initialization keeps activations of one size through all stages, as training does.
    return CPM(replace(preset(name), init_std=None)).eval()


def main(name: str, batch: int, calls: int) -> None:
    torch.set_num_threads(THREADS)
    model = network(name)
    engine = Engine(model)
    generator = torch.Generator().manual_seed(0)
    height, width = model.config.input_size
    crops = torch.randn(batch, 3, height, width, generator=generator).contiguous(memory_format=torch.channels_last)
    center_map = torch.rand(batch, 1, height, width, generator=generator)
    seconds = []
    with torch.inference_mode():
        for _ in range(FIRST_CALLS):
            engine(crops, center_map)
        time.sleep(PAUSE_S)
        for _ in range(calls):
            started = time.perf_counter()
            engine(crops, center_map)
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"package": cpm_fast.__file__, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
