"""From a picture file to key points, one picture per call, with bundled weights of people.

Ours is `cpm_fast.infer` with the name of the weights, as a user types it. Nobody else can change that network, so its
weights are not compared at every call, as those of the peers are not. A peer reads the file with OpenCV, makes the same
crop, runs the network, and returns the highest pixel of each belief map, resized to the box by OpenCV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import cpm_fast
from benchmarks.harness.bounds import BOUNDS
from benchmarks.harness.crew import Crew
from benchmarks.harness.levels import Level
from benchmarks.harness.measure import Case
from benchmarks.harness.oracle import ExactConv
from benchmarks.harness.problems import NetworkProblem, Setting
from benchmarks.harness.worker import Run
from benchmarks.peers.plain import PlainNetwork
from benchmarks.peers.pytorch import Peer, placed, set_up
from benchmarks.peers.runtimes import FORWARDS, Forward
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import crop, network_input
from cpm_fast.roi import Roi
from cpm_fast.weights import shared_network

SMALLEST = "compact-lsp"
WEIGHTS = (SMALLEST, "wide-lsp", "base-lsp")
JPEG_QUALITY = 90
SIDES = (480, 640)
# The weights, and (height, width) of the picture.
PICTURES: dict[Level, tuple[tuple[str, tuple[int, int]], ...]] = {
    "quick": ((SMALLEST, (240, 320)),),
    "tour": ((SMALLEST, SIDES),),
    "default": tuple((weights, SIDES) for weights in WEIGHTS),
    "full": ((SMALLEST, (240, 320)), *((weights, SIDES) for weights in WEIGHTS), (SMALLEST, (1080, 1920))),
}


@dataclass(frozen=True)
class PictureProblem(NetworkProblem):
    """A drawn figure in a JPEG file of a size, and trained weights."""

    picture: tuple[int, int] = SIDES
    weights: str = SMALLEST

    def model(self) -> CPM:
        return cpm_fast.load(self.weights, device="cpu").eval()

    def path(self) -> Path:
        """Return the file in the current folder, written by the first caller."""
        path = Path(f"{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}.jpg")
        if not path.exists():
            image = DrawnFigures(1, seed=self.seed)[0].image
            image = cv2.resize(image, self.picture[::-1], interpolation=cv2.INTER_CUBIC)
            written, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            assert written
            # It is first written under a unique name, because peers start at the same time.
            unfinished = path.with_suffix(f".{id(self)}-{torch.initial_seed()}")
            unfinished.write_bytes(data.tobytes())
            unfinished.replace(path)
        return path


def picture_problem(setting: Setting, picture: tuple[int, int], weights: str = SMALLEST) -> PictureProblem:
    return PictureProblem(cpm_fast.load(weights, device="cpu").config, 1, 1, setting, picture, weights)


def cases(level: Level, crew: Crew, setting: Setting) -> Iterator[Case]:
    for weights, (height, width) in PICTURES[level]:
        problem = picture_problem(setting, (height, width), weights)
        yield crew.case(
            f"end to end {weights}, {height}x{width} JPEG to key points, batch 1",
            problem,
            crew.oracle(exact_picture, problem),
            peers(),
            BOUNDS["end-to-end", setting.precision],
            {"network": weights, "size": [height, width]},
        )


def peers() -> list[Peer]:
    others = [Peer(name, partial(plain_picture, forward=forward)) for name, forward in FORWARDS.items()]
    return [Peer("cpm_fast", cpm_fast_picture), Peer("PyTorch channels_last", pytorch_picture), *others]


def cpm_fast_picture(problem: PictureProblem) -> Run:
    set_up(problem.setting)
    path, device = problem.path(), problem.setting.device
    # Weights are read before the first call, as those of the peers are.
    shared_network(problem.weights, device=device)
    return lambda: [cpm_fast.infer(path, model=problem.weights, find=False, device=device)[0].keypoints[0]]


def pytorch_picture(problem: PictureProblem) -> Run:
    set_up(problem.setting)
    network = placed(PlainNetwork(problem.model()), problem.setting, "channels_last")

    @torch.no_grad()
    def forward(x: np.ndarray) -> Sequence[Any]:
        return [maps.numpy() for maps in network(torch.from_numpy(x).contiguous(memory_format=torch.channels_last))]

    return plain_picture(problem, lambda _: forward)


def exact_picture(problem: PictureProblem) -> Run:
    network = PlainNetwork(problem.model(), make_conv=lambda conv, _: ExactConv(conv)).double()

    @torch.no_grad()
    def forward(x: np.ndarray) -> Sequence[Any]:
        return [maps.float().numpy() for maps in network(torch.from_numpy(x).double())]

    return plain_picture(problem, lambda _: forward)


def plain_picture(problem: PictureProblem, forward: Callable[[PictureProblem], Forward]) -> Run:
    """Return the simple code that one would write by hand around a network."""
    path, config, ready = problem.path(), problem.model().config, forward(problem)
    height, width = config.input_size
    cv2.setNumThreads(torch.get_num_threads())

    def run() -> Sequence[np.ndarray]:
        image = cv2.imread(str(path))
        assert image is not None
        roi = Roi.whole_image(*image.shape[:2])
        x = network_input(crop(image, roi, config)[None], config).contiguous().numpy()
        maps = np.ascontiguousarray(ready(x)[-1][0, : config.parts].transpose(1, 2, 0))
        full = cv2.resize(maps, (width, height), interpolation=cv2.INTER_CUBIC)  # [height, width, P]
        highest = full.reshape(-1, config.parts).argmax(0)
        parts_box = np.stack([highest % width, highest // width], axis=1).astype(np.float64)
        return [roi.to_image(parts_box, config.input_size).astype(np.float32)]

    return run
