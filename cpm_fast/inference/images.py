"""`infer`: images -> regions -> crops -> belief maps -> merged peaks -> results, in a straight line."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Asked, Looks
from cpm_fast.inference.doubts import doubts
from cpm_fast.inference.parts import Found, Sighting, SubjectCrops, find_parts, subjects_in
from cpm_fast.inference.pixels import fine_enough, read_for, read_to_look, read_whole, sightings_in
from cpm_fast.inference.regions import Regions, given_regions
from cpm_fast.inference.settings import Settings, engine_of, find_network
from cpm_fast.media.image import MAX_PIXELS, Picture
from cpm_fast.media.reading import read_ahead
from cpm_fast.media.sources import Source, list_images
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import ImageSource, Result, Results, Timing
from cpm_fast.roi import Roi
from cpm_fast.system.numbers import is_whole
from cpm_fast.system.progress import bar_wanted
from cpm_fast.system.torch_settings import MOST_THREADS

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
    find: Literal["auto", "search"] | bool | CPM | str | Path | Callable[[np.ndarray], Any] = "auto",
    max_subjects: int | None = None,
    min_find_score: float | None = None,
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
    max_pixels: int = MAX_PIXELS,
    progress: bool | None = None,
) -> Results:
    """Find the parts of every subject in every image (Wei et al. 2016).

    The crops of all images go through the network `batch` at a time; with `readers` the next images are read and
    cropped meanwhile, at most two batches ahead. In a folder or a list, an image that can't be read (a file, bytes, an
    open file or a PIL image) is reported with a warning and in `Results.failures`, and the others are done. A path that
    does not exist, and an array or tensor of a wrong type or shape, ends the call before any work. A warning also names
    images in which nobody was found, or the mean score of the parts is low (`doubts.LOW_SCORE`).

    Args:
        images: a path, a folder, the bytes of a picture file or a file open for reading bytes, an [H, W], [H, W, 3] or
            [H, W, 4] uint8 array, a PIL image, a [1, 3 or 4, H, W] tensor (uint8, or float in [0, 1]; RGB), or a list
            of them.
        model: a network, a .safetensors file or the name of bundled weights; the bundled default if not given.
        boxes: where the subjects are: [N, 4] (left, top, right, bottom) image pixels, or one [4]; for a folder or list
            of images a list of these, one entry per image. No boxes for an image give a result of no subjects.
        rois: the same as a `Roi` or a list of them.
        find: how to find subjects, if neither boxes nor rois are given. "auto": use the finder that belongs to the
            weights, if they have one. A finder, as network, file or bundled name: use that one. "search": the pose
            network itself looks for subjects of all sizes, which takes about a hundred times as long as one look. A
            function: a detector of your own, which takes an image [H, W, 3] uint8 BGR, whatever `color` says, and
            returns boxes [N, 4] (left, top, right, bottom) in its pixels, or [N, 5] with a score behind each box; with
            `readers` their threads call it. With these an image may have no subject. False, and "auto" for weights
            without a finder: each image is one subject, seen whole.
        max_subjects: the most subjects that `find` returns per image, best first; all if not given.
        min_find_score: the least score of a found subject: with a finder 0.2 times the belief in its center plus 0.8
            times the mean height of its peaks, as the finder's judge sees them (0.4 and 0.6 times where two levels must
            agree), whose default is the finder's (with the released person network, whose regions are as high as the
            image, the belief alone, 0.5); with a search the mean height of its peaks, 0.3 if not given; with a function
            the score that it returns.
        pyramid: factors on the magnification, 1/64 to 64; the belief maps of all are averaged.
        flip: average with the mirrored image too. Exact for networks with 2x2 pools; the 3x3 pools of the released
            networks look further to one side, so that their mirrored maps lie a little beside the plain ones.
        batch: crops per forward pass.
        device: "auto" is where a given model is, otherwise CUDA when available, else the CPU.
        precision: of all networks: "fp32", which "auto" is too, "bf16", or on CUDA "tf32"; see `Engine`.
        color: channel order of arrays, "bgr" or "rgb".
        refine: sub-pixel peaks.
        belief_maps: keep the belief maps of every stage at pyramid factor 1.
        threads: CPU threads of this call, at most 1024; PyTorch's number if not given.
        tune: measure the fastest form of every convolution on this CPU, once for each size of batch; see `Engine`.
        readers: threads that read and crop the next images, at most 1024; 0: each is read when it is needed. They pay
            off if decoding is slow, or the network runs on a GPU.
        max_pixels: a file whose header announces more is refused before it takes memory.
        progress: whether to show a bar; if not given, for more than a few images on a terminal.

    Returns:
        One result per image, in order, without those that failed.

    Raises:
        ValueError: a shape or a number is wrong, boxes and rois are both given, a box is not one or lies outside its
            image, a folder has no images, or a single image can't be decoded.
        TypeError: an image or an entry is of the wrong type.
        FileNotFoundError: no such image, folder or weights.
        RuntimeError: the device is not available, tuning is not for it, or a given model is on another.

    Examples:
        >>> from cpm_fast.data.drawn.synthetic import DrawnFigures
        >>> sample = DrawnFigures(1)[0]
        >>> results = infer(sample.image, model="compact-drawn", rois=sample.roi, device="cpu")
        >>> results[0].keypoints.shape
        (1, 14, 2)
    """
    settings = Settings(
        pyramid, flip, batch, precision, refine=refine, belief_maps=belief_maps, threads=threads, tune=tune
    )
    asked = Asked(find, boxes is not None or rois is not None, max_subjects, min_find_score)
    job = Job.of(
        images,
        settings,
        model=model,
        boxes=boxes,
        rois=rois,
        asked=asked,
        device=device,
        color=color,
        readers=readers,
        max_pixels=max_pixels,
    )
    results: list[Result] = []
    failures: dict[str, str] = {}
    for outcome in job.run(progress):
        if isinstance(outcome, Result):
            results.append(outcome)
        else:
            failures[outcome.name] = outcome.reason
            warnings.warn(f"left out {outcome.reason}", stacklevel=2)
    for doubt in doubts(results, searched=job.search is not None):
        warnings.warn(doubt, stacklevel=2)
    return Results(results, failures)


@dataclass(frozen=True)
class Failure:
    """An image among others that could not be read, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Job:
    """The checked arguments of `infer`; no image has been read yet.

    Args:
        engine: the network.
        settings: of inference.
        sources: the images.
        several: whether they are a folder or a list; then an image that can't be read is left out.
        regions: of the subjects of each image, if there is no search.
        readers: threads that read ahead.
        search: the search for subjects in each image; None: there is none.
    """

    engine: Engine
    settings: Settings
    sources: Sequence[Source]
    several: bool
    regions: Regions
    readers: int = READERS
    search: Looks | None = None

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
        max_pixels: int = MAX_PIXELS,
        asked: Asked | None = None,
    ) -> Job:
        """Check a user's arguments; arguments and errors are those of `infer`."""
        if not is_whole(readers) or not 0 <= readers <= MOST_THREADS:
            raise ValueError(f"readers must be a whole number from 0 to {MOST_THREADS}, got {readers!r}")
        sources, several = list_images(images, color, max_pixels)
        network = find_network(model, device)
        names = [source.name for source in sources]
        regions = given_regions(names, several, boxes, rois, network.config.margin)
        settings = settings.for_network(network.config)
        engine = engine_of(model, network, settings.precision, settings.tune)
        search = None if asked is None else asked.of(network, settings.precision)
        return cls(engine, settings, sources, several, regions, int(readers), search)

    def only(self, indices: Sequence[int]) -> Job:
        """Return the same for some of the images, in this order."""
        return replace(self, sources=[self.sources[i] for i in indices], regions=self.regions.only(indices))

    def run(self, progress: bool | None = None) -> Iterator[Result | Failure]:
        """Yield one outcome per image, in order, each as soon as its batches are done."""
        show = bar_wanted(progress, len(self.sources), PROGRESS_FROM_IMAGES)
        budget = AHEAD_BATCHES * self.settings.batch
        read = read_ahead(self._read, range(len(self.sources)), self._crops, self.readers, budget)
        bar = tqdm(total=len(self.sources), desc="infer", unit="image") if show else None
        with closing(read), nullcontext() if bar is None else bar:
            for outcome, found in find_parts(self.engine, self.settings, read):
                if bar is not None:
                    bar.update()
                yield outcome if isinstance(outcome, Failure) else outcome.result(found, self)

    def _crops(self, index: int) -> int:
        """Return the expected number of crops of an image, at least 1."""
        return max(1, self.settings.scales * self.regions.count(index))

    def _read(self, index: int) -> tuple[_ReadImage | Failure, SubjectCrops]:
        """Read a picture in a reader's thread, and cut its subjects' crops unless they are too many to wait."""
        source = self.sources[index]
        started = time.perf_counter()
        try:
            read = self._first_read(index)
        except (OSError, ValueError) as error:
            return self._failed(source, error), SubjectCrops((), ())
        decode = time.perf_counter() - started
        config, settings = self.engine.config, self.settings
        if self.search is None:
            sightings = [Sighting(roi) for roi in self.regions.of(index, read.size)]
        else:
            sightings = sightings_in(read, self.search, self.engine, settings, source.name)
            seen, started = read, time.perf_counter()
            try:
                read = fine_enough(read, source, [one.roi for one in sightings], config, settings.pyramid)
            except (OSError, ValueError) as error:
                return self._failed(source, error), SubjectCrops((), ())
            decode += time.perf_counter() - started
            if read is not seen:
                sightings = [Sighting(one.roi) for one in sightings]
        rois = [one.roi for one in sightings]
        picture = _ReadImage(source, read.size, rois, self.regions.source if self.search is None else "found", decode)
        there = [Sighting(one.roi.reduced(read.reduction), one.found) for one in sightings]
        subjects = subjects_in(read.pixels, there, config, settings)
        few = settings.scales * len(rois) <= AHEAD_BATCHES * settings.batch
        return picture, SubjectCrops(subjects.sightings, list(subjects.cuts)) if few else subjects

    def _failed(self, source: Source, error: Exception) -> Failure:
        """Return what happened to one image among others; the only image there is raises its error."""
        if not self.several:
            raise error
        return Failure(source.name, str(error))

    def _first_read(self, index: int) -> Picture:
        """Read an image as finely as its crops need it, or a look for subjects."""
        source, config, pyramid = self.sources[index], self.engine.config, self.settings.pyramid
        if self.search is not None:
            return read_to_look(source, self.search.longer_px(config))
        if self.regions.given is None:
            return read_whole(source, config, pyramid)
        return read_for(source, [region.roi for region in self.regions.given[index]], config, pyramid)


@dataclass(frozen=True, eq=False)
class _ReadImage:
    """An image that was read, without its pixels."""

    source: Source
    size: tuple[int, int]
    rois: Sequence[Roi]
    roi_source: str
    decode: float

    def result(self, found: Sequence[Found], job: Job) -> Result:
        config, keep = job.engine.config, job.settings.belief_maps
        return make_result(found, self.rois, config, self.source, self.size, self.roi_source, keep, self.decode)


def make_result(
    found: Sequence[Found],
    rois: Sequence[Roi],
    config: NetworkConfig,
    source: ImageSource,
    size: tuple[int, int],
    roi_source: str,
    belief_maps: bool,
    decode: float,
) -> Result:
    """Return the result of an image whose subjects are found; decode is in seconds."""
    parts = [roi.to_image(one.parts_box[-1], config.input_size) for roi, one in zip(rois, found, strict=True)]
    beliefs = None
    if belief_maps:
        stage_maps = (config.stages, config.maps, *config.map_size)
        beliefs = np.array([one.beliefs for one in found], np.float32).reshape(-1, *stage_maps)
    return Result(
        keypoints=np.array(parts, np.float32).reshape(-1, config.parts, 2),
        scores=np.array([one.scores[-1] for one in found], np.float32).reshape(-1, config.parts),
        skeleton=config.skeleton,
        name=source.name,
        size=size,
        rois=tuple(rois),
        roi_source=roi_source,
        belief_maps=beliefs,
        box_size=config.input_size,
        cell_offset=config.cell_offset,
        margin=config.margin,
        source=source,
        timing=Timing(decode, *(sum(getattr(one, step) for one in found) for step in ("crop", "network", "peaks"))),
    )
