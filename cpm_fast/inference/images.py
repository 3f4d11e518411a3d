"""`infer`: images -> regions -> crops -> belief maps -> merged peaks -> results."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.config import whole
from cpm_fast.engine import Engine
from cpm_fast.inference.pipeline import Line, Settings, Subject, find_network, make_result
from cpm_fast.inference.regions import Region, RoiSource, plan_regions
from cpm_fast.media.reading import read_ahead
from cpm_fast.media.sources import Source, list_images
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi

PROGRESS_FROM_IMAGES = 8
# On two CPU cores that the network keeps busy, reading ahead won nothing: 1,000 small JPEGs at 108 to 142 images/s
# without, 90 to 125 with one thread.
READERS = 0
# Crops that are read ahead, in batches.
AHEAD_BATCHES = 2


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
    tune: bool = False,
    readers: int = READERS,
    progress: bool | None = None,
) -> Results:
    """Find the parts of every subject in every image (Wei et al. 2016).

    The crops of all images go through the network `batch` at a time; with `readers` the next images are read and
    cropped meanwhile, at most two batches ahead. In a folder or a list of paths, a file that can't be read is reported
    with a warning and in `Results.failures`, and the others are done.

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
        threads: CPU threads of this call, at most 1024; PyTorch's number if not given.
        tune: measure which form of every convolution is fastest on this CPU, once for each size of batch; see `Engine`.
        readers: threads that read and crop the next images; 0: each is read when it is needed. They pay
            where decoding is slow, or the network runs on a GPU.
        progress: whether to show a bar; if not given, for more than a few images on a terminal.

    Returns:
        One result an image, in order, without those that failed.

    Raises:
        ValueError: a shape or a number is wrong, boxes and rois are both given, a box is not one or lies outside its
            image, a folder has no images, or a single image can't be decoded.
        TypeError: an image or an entry is of the wrong type.
        FileNotFoundError: no such image, folder or weights.
        RuntimeError: the device can't be had, tuning is not for it, or a given model is on another.
    """
    settings = Settings(pyramid, flip, batch, precision, refine, belief_maps, threads, tune)
    plan = Plan.of(images, settings, model=model, boxes=boxes, rois=rois, device=device, color=color, readers=readers)
    results: list[Result] = []
    failures: dict[str, str] = {}
    for outcome in plan.run(progress):
        if isinstance(outcome, Result):
            results.append(outcome)
        else:
            failures[outcome.name] = outcome.reason
            warnings.warn(f"left out {outcome.reason}", stacklevel=2)
    return Results(results, failures)


@dataclass(frozen=True)
class Failure:
    """An image among others that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """What `infer` is to do, checked; nothing has been read yet.

    Args:
        engine: the network.
        settings: how subjects are looked at.
        sources: the images.
        several: whether they are a folder or a list, in which a file that can't be read is left out.
        regions: of every image; None where each is to be seen whole.
        roi_source: where the regions came from.
        readers: threads that read ahead.
    """

    engine: Engine
    settings: Settings
    sources: Sequence[Source]
    several: bool
    regions: list[list[Region]] | None
    roi_source: RoiSource
    readers: int = READERS

    @classmethod
    def of(
        cls,
        images: Any,
        settings: Settings,
        *,
        model: CPM | str | Path | None,
        boxes: Any,
        rois: Any,
        device: str | torch.device,
        color: Literal["bgr", "rgb"],
        readers: int,
    ) -> Plan:
        """Check what a user gave; arguments and errors are those of `infer`."""
        if not whole(readers) or readers < 0:
            raise ValueError(f"readers must be a whole number, 0 or more, got {readers!r}")
        sources, several = list_images(images, color)
        network = find_network(model, device)
        names = [source.name for source in sources]
        regions, roi_source = plan_regions(names, several, boxes, rois, network.config.margin)
        engine = Engine(network, precision=settings.precision, tune=settings.tune)
        return cls(engine, settings, sources, several, regions, roi_source, readers)

    def run(self, progress: bool | None = None) -> Iterator[Result | Failure]:
        """What becomes of every image, in order, each as soon as its batches are through."""
        scales = self.settings.scales
        budget = AHEAD_BATCHES * self.settings.batch
        jobs = [
            _Job(source, None if self.regions is None else self.regions[i]) for i, source in enumerate(self.sources)
        ]
        read = read_ahead(self._read, jobs, lambda job: max(1, scales * job.subjects), self.readers, budget)
        show = len(jobs) > PROGRESS_FROM_IMAGES and sys.stderr.isatty() if progress is None else progress
        line = Line(self.engine, self.settings)
        pictures: deque[_Picture | Failure] = deque()
        with tqdm(total=len(jobs), desc="infer", unit="image", disable=not show) as bar:
            try:
                for picture in read:
                    pictures.append(picture)
                    if isinstance(picture, _Picture):
                        for subject, cut in zip(picture.subjects, picture.take(self), strict=True):
                            line.add(subject, cut)
                    for outcome in self._ready(pictures):
                        bar.update()
                        yield outcome
            finally:
                read.close()
            line.finish()
            for outcome in self._ready(pictures):
                bar.update()
                yield outcome

    def _read(self, job: _Job) -> _Picture | Failure:
        """In a reader's thread: the picture, cut into crops unless they are more than may wait."""
        started = time.perf_counter()
        try:
            image = job.source.read()
        except (OSError, ValueError) as error:
            if not (self.several and isinstance(job.source.item, Path)):
                raise
            return Failure(job.source.name, str(error))
        decoded = time.perf_counter()
        size = (image.shape[0], image.shape[1])
        picture = _Picture(job.source, size, [Subject(roi) for roi in job.rois(size)], decoded - started)
        if self.settings.scales * len(picture.subjects) <= AHEAD_BATCHES * self.settings.batch:
            picture.crops = [picture.cut(subject, image, self) for subject in picture.subjects]
        else:
            picture.image = image
        return picture

    def _ready(self, pictures: deque[_Picture | Failure]) -> Iterator[Result | Failure]:
        """Take from the front what is finished."""
        while pictures:
            first = pictures[0]
            if isinstance(first, _Picture):
                if not all(subject.done for subject in first.subjects):
                    return
                yield first.result(self)
            else:
                yield first
            pictures.popleft()


@dataclass(frozen=True, eq=False)
class _Job:
    source: Source
    regions: list[Region] | None

    @property
    def subjects(self) -> int:
        return 1 if self.regions is None else len(self.regions)

    def rois(self, size: tuple[int, int]) -> list[Roi]:
        if self.regions is None:
            return [Roi.whole_image(*size)]
        for region in self.regions:
            region.check_inside(*size)
        return [region.roi for region in self.regions]


@dataclass(eq=False)
class _Picture:
    """A picture that was read: its crops, or the image where they are too many to wait; both are let go once taken."""

    source: Source
    size: tuple[int, int]
    subjects: list[Subject]
    decode: float
    crop: float = 0.0
    crops: list[np.ndarray] = field(default_factory=list)
    image: np.ndarray | None = None

    def cut(self, subject: Subject, image: np.ndarray, plan: Plan) -> np.ndarray:
        started = time.perf_counter()
        crops = plan.settings.crops(image, subject.roi, plan.engine.config)
        self.crop += time.perf_counter() - started
        return crops

    def take(self, plan: Plan) -> Iterator[np.ndarray]:
        crops, image, self.crops, self.image = self.crops, self.image, [], None
        if image is None:
            yield from crops
        else:
            yield from (self.cut(subject, image, plan) for subject in self.subjects)

    def result(self, plan: Plan) -> Result:
        config, keep = plan.engine.config, plan.settings.belief_maps
        return make_result(self.subjects, config, self.source, self.size, plan.roi_source, keep, self.decode, self.crop)
