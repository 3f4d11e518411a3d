"""`infer`: images -> regions -> crops -> belief maps -> merged peaks -> results."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.crops import network_input, scale_crops
from cpm_fast.decode import belief_to_parts
from cpm_fast.engine import PRECISIONS, Engine
from cpm_fast.execution import torch_threads
from cpm_fast.model.cpm import CPM
from cpm_fast.regions import Region, plan_regions
from cpm_fast.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.sources import Source, list_images

PROGRESS_FROM_IMAGES = 8


def infer(
    images: Any,
    *,
    model: CPM | str | Path | None = None,
    boxes: Any = None,
    rois: Any = None,
    pyramid: Sequence[float] = (1.0,),
    flip: bool = False,
    batch: int = 16,
    device: str | torch.device = "auto",
    precision: str = "auto",
    color: Literal["bgr", "rgb"] = "bgr",
    refine: bool = True,
    belief_maps: bool = False,
    threads: int | None = None,
    progress: bool | None = None,
) -> Results:
    """Find the parts of every subject in every image (Wei et al. 2016).

    Images are read one at a time as they are needed, and the crops of all of them go through the network `batch` at a
    time. In a folder or a list of paths, a file that can't be read is reported with a warning and in
    `Results.failures`, and the others are done.

    Args:
        images: a path, a folder, an [H, W], [H, W, 3] or [H, W, 4] uint8 array, a PIL image, a [1, 3 or 4, H, W]
            tensor (uint8, or float in [0, 1]; RGB), or a list of them.
        model: a network, a .safetensors file or the name of bundled weights; the bundled default if not given.
        boxes: where the subjects are: [N, 4] (left, top, right, bottom) image pixels, or one [4]; for a folder or list
            of images a list of these, one entry an image. No boxes for an image give a result of no subjects.
        rois: the same as a `Roi` or a list of them. Neither: each image is one subject, seen whole.
        pyramid: factors on the magnification; the belief maps of all are averaged.
        flip: average with the mirrored image too. Exact for networks with 2x2 pools; the 3x3 pools of the released
            networks look further to one side, so that their mirrored maps lie a little beside the plain ones.
        batch: crops per forward pass.
        device: "auto" is where a given model is, otherwise CUDA when available, else the CPU.
        precision: of the network: "fp32", which "auto" is too, or on CUDA "tf32" or "bf16"; see `Engine`.
        color: channel order of arrays, "bgr" or "rgb".
        refine: sub-pixel peaks.
        belief_maps: keep the belief maps of every stage at pyramid factor 1.
        threads: of PyTorch while this runs; as they are if not given.
        progress: whether to show a bar; if not given, for more than a few images on a terminal.

    Returns:
        One result an image, in order, without those that failed.

    Raises:
        ValueError: a shape or a number is wrong, boxes and rois are both given, a box is not one or lies outside its
            image, a folder has no images, or a single image can't be decoded.
        TypeError: an image or an entry is of the wrong type.
        FileNotFoundError: no such image, folder or weights.
        RuntimeError: the device can't be had, or a given model is on another.
    """
    factors = _check_options(pyramid, batch, precision, threads, belief_maps)
    sources, several = list_images(images, color)
    network = _network(model, device)
    config = network.config
    regions, roi_source = plan_regions([source.name for source in sources], several, boxes, rois, config.margin)
    line = _Line(Engine(network, precision=precision), factors, flip, batch, refine, belief_maps)
    pictures: list[_Picture] = []
    failures: dict[str, str] = {}
    show = len(sources) > PROGRESS_FROM_IMAGES and sys.stderr.isatty() if progress is None else progress
    with torch_threads(threads), torch.inference_mode():
        for i, source in enumerate(tqdm(sources, desc="infer", unit="image", disable=not show)):
            try:
                image = source.read()
            except (OSError, ValueError) as error:
                if not (several and isinstance(source.item, Path)):
                    raise
                failures[source.name] = str(error)
                warnings.warn(f"left out {error}", stacklevel=2)
                continue
            size = (image.shape[0], image.shape[1])
            pictures.append(_Picture(source, size))
            for roi in _rois(size, None if regions is None else regions[i]):
                subject = _Subject(roi)
                pictures[-1].subjects.append(subject)
                line.add(subject, image)
        line.finish()

    def result(picture: _Picture) -> Result:
        subjects = picture.subjects
        boxed = np.array([subject.parts_box for subject in subjects]).reshape(-1, config.parts, 2)
        parts = [s.roi.to_image(box, config.input_size) for s, box in zip(subjects, boxed, strict=True)]
        stage_maps = (config.stages, config.maps, *config.map_size)
        return Result(
            keypoints=np.array(parts, np.float32).reshape(-1, config.parts, 2),
            scores=np.array([subject.scores for subject in subjects], np.float32).reshape(-1, config.parts),
            skeleton=config.skeleton,
            name=picture.source.name,
            size=picture.size,
            rois=tuple(subject.roi for subject in subjects),
            roi_source=roi_source,
            belief_maps=np.array([s.beliefs for s in subjects], np.float32).reshape(-1, *stage_maps)
            if belief_maps
            else None,
            box_size=config.input_size,
            cell_offset=config.cell_offset,
            source=picture.source,
        )

    return Results([result(picture) for picture in pictures], failures)


@dataclass(eq=False)
class _Subject:
    roi: Roi
    parts_box: np.ndarray | None = None  # [P, 2]
    scores: np.ndarray | None = None  # [P]
    beliefs: np.ndarray | None = None  # [T, P+1, h, w]


@dataclass(eq=False)
class _Picture:
    source: Source
    size: tuple[int, int]
    subjects: list[_Subject] = field(default_factory=list)


class _Line:
    """Crops wait here until a batch is full, maps until their subject has them all: memory stays bounded."""

    def __init__(
        self, engine: Engine, pyramid: tuple[float, ...], flip: bool, batch: int, refine: bool, keep: bool
    ) -> None:
        self.engine, self.pyramid, self.flip, self.batch, self.refine = engine, pyramid, flip, batch, refine
        self.scales = len(pyramid) * (2 if flip else 1)
        self.kept = pyramid.index(1.0) if keep else None
        self.crops: list[np.ndarray] = []
        self.maps: list[torch.Tensor] = []
        self.subjects: list[_Subject] = []

    def add(self, subject: _Subject, image: np.ndarray) -> None:
        self.subjects.append(subject)
        self.crops.extend(scale_crops(image, subject.roi, self.engine.config, self.pyramid, self.flip))
        while len(self.crops) >= self.batch:
            self._forward()

    def finish(self) -> None:
        while self.crops:
            self._forward()

    def _forward(self) -> None:
        crops, self.crops = np.stack(self.crops[: self.batch]), self.crops[self.batch :]
        stages = self.engine(network_input(crops, self.engine.config, self.engine.device))  # T of [n, P+1, h, w]
        for i in range(len(crops)):
            subject, scale = divmod(len(self.maps), self.scales)
            if scale == self.kept:
                self.subjects[subject].beliefs = torch.stack([maps[i] for maps in stages]).float().cpu().numpy()
            self.maps.append(stages[-1][i])
        done = len(self.maps) // self.scales
        if done:
            maps = torch.stack(self.maps[: done * self.scales]).unflatten(0, (done, self.scales))
            parts, scores = belief_to_parts(maps, self.pyramid, self.engine.config, self.refine, self.flip)
            for finished, parts_box, heights in zip(self.subjects[:done], parts, scores, strict=True):
                finished.parts_box, finished.scores = parts_box, heights
            del self.subjects[:done], self.maps[: done * self.scales]


def _rois(size: tuple[int, int], regions: list[Region] | None) -> list[Roi]:
    if regions is None:
        return [Roi.whole_image(*size)]
    for region in regions:
        region.check_inside(*size)
    return [region.roi for region in regions]


def _check_options(
    pyramid: Sequence[float], batch: int, precision: str, threads: int | None, belief_maps: bool
) -> tuple[float, ...]:
    try:
        factors = tuple(float(factor) for factor in pyramid)
    except (TypeError, ValueError):
        raise TypeError(f"pyramid must be a sequence of numbers, got {pyramid!r}") from None
    if not factors or not all(math.isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError(f"pyramid must be one or more positive numbers, got {list(factors)}")
    if belief_maps and 1.0 not in factors:
        raise ValueError(f"belief_maps are those of pyramid factor 1, which must be in pyramid, got {list(factors)}")
    for name, value in (("batch", batch), ("threads", 1 if threads is None else threads)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
    return factors


def _network(model: CPM | str | Path | None, device: str | torch.device) -> CPM:
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
