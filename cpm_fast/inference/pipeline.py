"""Crops -> belief maps -> merged peaks, a batch at a time: what `infer` and `stream` share."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.engine.engine import PRECISIONS
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import network_input, scale_crops
from cpm_fast.model.decode import belief_to_parts
from cpm_fast.results.result import ImageSource, Result, Timing
from cpm_fast.roi import Roi
from cpm_fast.system.torch_settings import check_threads, cpu_threads


@dataclass(frozen=True)
class Settings:
    """How subjects are looked at.

    Args:
        pyramid: factors on the magnification; the belief maps of all are averaged.
        flip: average with the mirrored crops too.
        batch: crops per forward pass.
        precision: of the network, see `Engine`.
        refine: sub-pixel peaks.
        belief_maps: keep the belief maps of every stage at pyramid factor 1.
        threads: CPU threads of a forward pass; PyTorch's number if None.
        tune: measure what is fastest on this CPU, see `Engine`.

    Raises:
        TypeError: pyramid is no sequence of numbers.
        ValueError: a number is out of its range.
    """

    pyramid: Sequence[float] = (1.0,)
    flip: bool = False
    batch: int = 16
    precision: str = "auto"
    refine: bool = True
    belief_maps: bool = False
    threads: int | None = None
    tune: bool = False

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "pyramid", tuple(float(factor) for factor in self.pyramid))
        except (TypeError, ValueError):
            raise TypeError(f"pyramid must be a sequence of numbers, got {self.pyramid!r}") from None
        if not self.pyramid or not all(math.isfinite(factor) and factor > 0 for factor in self.pyramid):
            raise ValueError(f"pyramid must be one or more positive numbers, got {list(self.pyramid)}")
        if self.belief_maps and 1.0 not in self.pyramid:
            raise ValueError(
                f"belief_maps are those of pyramid factor 1, which must be in pyramid, got {list(self.pyramid)}"
            )
        check_threads(self.threads)
        for name, value in (("batch", self.batch),):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, got {value!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {self.precision!r}")

    @property
    def scales(self) -> int:
        """Crops of one subject."""
        return len(self.pyramid) * (2 if self.flip else 1)

    def crops(self, image: np.ndarray, roi: Roi, config: NetworkConfig) -> np.ndarray:
        """All crops of one subject of an image: [S, height, width, 3] uint8 BGR."""
        return scale_crops(image, roi, config, self.pyramid, self.flip)


@dataclass(eq=False)
class Subject:
    """One region, and what the network found there once `done`; network and peaks are seconds."""

    roi: Roi
    parts_box: np.ndarray | None = None  # [P, 2]
    scores: np.ndarray | None = None  # [P]
    beliefs: np.ndarray | None = None  # [T, P+1, h, w]
    network: float = 0.0
    peaks: float = 0.0

    @property
    def done(self) -> bool:
        return self.parts_box is not None


class Line:
    """Crops wait here until a batch is full, maps until their subject has them all: memory stays bounded."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.kept = settings.pyramid.index(1.0) if settings.belief_maps else None
        self.crops: list[np.ndarray] = []
        self.maps: list[torch.Tensor] = []
        self.subjects: list[Subject] = []

    def add(self, subject: Subject, crops: np.ndarray) -> None:
        """Queue a subject with its crops [S, height, width, 3]; run the network while there is a full batch."""
        self.subjects.append(subject)
        self.crops.extend(crops)
        while len(self.crops) >= self.settings.batch:
            self._forward()

    def finish(self) -> None:
        """Run the network on what is left."""
        while self.crops:
            self._forward()

    def _forward(self) -> None:
        batch = self.settings.batch
        crops, self.crops = np.stack(self.crops[:batch]), self.crops[batch:]
        with cpu_threads(self.settings.threads), torch.inference_mode():
            started = _clock(self.engine.device)
            stages = self.engine(network_input(crops, self.engine.config, self.engine.device))  # T of [n, P+1, h, w]
            share = (_clock(self.engine.device) - started) / len(crops)
            for i in range(len(crops)):
                at, scale = divmod(len(self.maps), self.settings.scales)
                subject = self.subjects[at]
                subject.network += share
                if scale == self.kept:
                    subject.beliefs = torch.stack([maps[i] for maps in stages]).float().cpu().numpy()
                self.maps.append(stages[-1][i])
            self._decode()

    def _decode(self) -> None:
        scales = self.settings.scales
        done = len(self.maps) // scales
        if not done:
            return
        started = time.perf_counter()
        maps = torch.stack(self.maps[: done * scales]).unflatten(0, (done, scales))
        settings = self.settings
        parts, scores = belief_to_parts(maps, settings.pyramid, self.engine.config, settings.refine, settings.flip)
        share = (time.perf_counter() - started) / done
        for subject, parts_box, heights in zip(self.subjects[:done], parts, scores, strict=True):
            subject.parts_box, subject.scores, subject.peaks = parts_box, heights, share
        del self.subjects[:done], self.maps[: done * scales]


def _clock(device: torch.device) -> float:
    """Seconds, once the device is done; its answer is waited for right afterwards in any case."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def make_result(
    subjects: Sequence[Subject],
    config: NetworkConfig,
    source: ImageSource,
    size: tuple[int, int],
    roi_source: str,
    belief_maps: bool,
    decode: float,
    crop: float,
    frame: int | None = None,
    seconds: float | None = None,
) -> Result:
    """The result of an image whose subjects are done; decode and crop are seconds, frame and seconds a video's."""
    boxed = np.array([subject.parts_box for subject in subjects]).reshape(-1, config.parts, 2)
    parts = [s.roi.to_image(box, config.input_size) for s, box in zip(subjects, boxed, strict=True)]
    stage_maps = (config.stages, config.maps, *config.map_size)
    beliefs = np.array([s.beliefs for s in subjects], np.float32).reshape(-1, *stage_maps) if belief_maps else None
    return Result(
        keypoints=np.array(parts, np.float32).reshape(-1, config.parts, 2),
        scores=np.array([subject.scores for subject in subjects], np.float32).reshape(-1, config.parts),
        skeleton=config.skeleton,
        name=source.name,
        size=size,
        rois=tuple(subject.roi for subject in subjects),
        roi_source=roi_source,
        belief_maps=beliefs,
        box_size=config.input_size,
        cell_offset=config.cell_offset,
        source=source,
        timing=Timing(decode, crop, sum(s.network for s in subjects), sum(s.peaks for s in subjects)),
        frame=frame,
        seconds=seconds,
    )


def find_network(model: CPM | str | Path | None, device: str | torch.device) -> CPM:
    """The network that a user means, on the device that a user means.

    Raises:
        TypeError: model is of another type.
        RuntimeError: the given network is on another device.
    """
    if isinstance(model, CPM):
        where = next(model.parameters()).device
        wanted = where if device == "auto" else torch.device(device)
        if wanted.type != where.type or wanted.index not in (None, where.index):
            raise RuntimeError(f"device must be {where}, where the given model is, got {device}; model.to({device!r})")
        return model
    if model is not None and not isinstance(model, (str, Path)):
        raise TypeError(f"model must be a CPM, a path or a name of bundled weights, got {type(model).__name__}")
    from cpm_fast.weights import DEFAULT, load

    return load(DEFAULT if model is None else model, device=str(device))
