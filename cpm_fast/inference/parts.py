"""The path from crops to parts, a batch at a time, which inference, video, evaluation and studies share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.settings import Settings
from cpm_fast.model.crops import network_input, scale_crops, stacked
from cpm_fast.model.decode import belief_to_parts
from cpm_fast.roi import Roi
from cpm_fast.system.torch_settings import cpu_threads

Tag = TypeVar("Tag")


@dataclass(frozen=True, eq=False)
class Cut:
    """The crops of one subject [S, height, width, 3] uint8 BGR by `model.crops.scale_crops`, and its seconds."""

    crops: np.ndarray
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Found:
    """The parts of one subject.

    Args:
        parts_box: [K, P, 2] pixels of the nominal box, of the last stage (K = 1), or of all with `every_stage`.
        scores: [K, P] heights of the peaks.
        beliefs: [T, P+1, h, w] at pyramid factor 1, if `belief_maps` asks for them.
        crop: seconds of cutting its crops.
        network: its share of the forward passes, seconds.
        peaks: its share of merging maps and finding peaks, seconds.
    """

    parts_box: np.ndarray
    scores: np.ndarray
    beliefs: np.ndarray | None
    crop: float
    network: float
    peaks: float


@dataclass(frozen=True, eq=False)
class Sighting:
    """A region that shows a subject.

    Args:
        roi: the region; one that was looked at is on the grid (`Roi.on_grid`).
        found: its parts, if the pose network has looked at this very region as the settings say.
    """

    roi: Roi
    found: Found | None = None


@dataclass(frozen=True, eq=False)
class SubjectCrops:
    """The N subjects of one picture.

    Args:
        sightings: their regions, and the parts of those that are known already.
        cuts: crops of the others, in this order, made now or when they are needed.
    """

    sightings: Sequence[Sighting]
    cuts: Iterable[Cut]


def subjects_in(
    image: np.ndarray, sightings: Sequence[Sighting], config: NetworkConfig, settings: Settings
) -> SubjectCrops:
    """Return the subjects of an image [H, W, 3] uint8 BGR: those with known parts are not cut out again."""
    unseen = [one.roi for one in sightings if one.found is None]
    return SubjectCrops(sightings, _cuts(image, unseen, config, settings))


def _cuts(image: np.ndarray, rois: Sequence[Roi], config: NetworkConfig, settings: Settings) -> Iterator[Cut]:
    for roi in rois:
        started = time.perf_counter()
        crops = scale_crops(image, roi, config, settings.pyramid, settings.flip)
        yield Cut(crops, time.perf_counter() - started)


def find_parts(
    engine: Engine, settings: Settings, pictures: Iterable[tuple[Tag, SubjectCrops]]
) -> Iterator[tuple[Tag, list[Found]]]:
    """Find the parts of all subjects; the crops of several pictures share forward passes.

    Memory stays bounded: crops wait until a batch is full, or as many pictures wait for them, and maps until their
    subject has all of them.

    Args:
        engine: the network.
        settings: of inference.
        pictures: a tag of the caller's for each picture, and its subjects.

    Returns:
        Every tag in order, with one entry per subject, as soon as the last of them is done.
    """
    passes = _Passes(engine, settings)
    waiting: deque[tuple[Tag, Sequence[Sighting]]] = deque()
    new: deque[Found] = deque()

    def done() -> Iterator[tuple[Tag, list[Found]]]:
        while waiting and sum(one.found is None for one in waiting[0][1]) <= len(new):
            tag, sightings = waiting.popleft()
            yield tag, [new.popleft() if one.found is None else one.found for one in sightings]

    for tag, subjects in pictures:
        waiting.append((tag, subjects.sightings))
        for cut in subjects.cuts:
            new.extend(passes.add(cut))
        yield from done()
        # Pictures come out in order, and those that need no pass must not pile up behind a batch that is not full.
        if len(waiting) >= settings.batch:
            new.extend(passes.finish())
            yield from done()
    new.extend(passes.finish())
    yield from done()


def look(engine: Engine, settings: Settings, image: np.ndarray, sightings: Sequence[Sighting]) -> list[Found]:
    """Find the parts of one picture's subjects now: [H, W, 3] uint8 BGR, N subjects -> N entries."""
    ((_, found),) = find_parts(engine, settings, [(None, subjects_in(image, sightings, engine.config, settings))])
    return found


@dataclass(frozen=True, eq=False)
class _Through:
    """A crop after the network: beliefs if they are kept, seconds."""

    beliefs: np.ndarray | None
    crop: float
    network: float


class _Passes:
    """A queue: crops go in subject by subject, and parts come out in the same order when batches are full."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.kept = settings.pyramid.index(1.0) if settings.belief_maps else None
        self.crops: list[tuple[np.ndarray, float]] = []
        self.through: list[_Through] = []
        # Maps of the crops that are through, batch by batch, [n, K, P+1, h, w].
        self.maps: list[torch.Tensor] = []

    def add(self, cut: Cut) -> list[Found]:
        """Queue one subject's crops; run the network on every batch that is full."""
        self.crops.extend((crop, cut.seconds / len(cut.crops)) for crop in cut.crops)
        return self._run(self.settings.batch)

    def finish(self) -> list[Found]:
        """Run the network on what is left."""
        return self._run(1)

    def _run(self, least: int) -> list[Found]:
        found: list[Found] = []
        while len(self.crops) >= least:
            with cpu_threads(self.settings.threads), torch.inference_mode():
                self._forward()
                found += self._decode()
        return found

    def _forward(self) -> None:
        batch = self.settings.batch
        taken, self.crops = self.crops[:batch], self.crops[batch:]
        crops = stacked([crop for crop, _ in taken])
        started = _clock(self.engine.device)
        last = self.kept is None and not self.settings.every_stage
        inputs = network_input(crops, self.engine.config, self.engine.device)
        stages = self.engine(inputs, last=last)  # T of [n, P+1, h, w], or one
        share = (_clock(self.engine.device) - started) / len(crops)
        self.maps.append(torch.stack(stages, 1) if self.settings.every_stage else stages[-1][:, None])
        for i in range(len(crops)):
            keeps = self.kept is not None and len(self.through) % self.settings.scales == self.kept
            beliefs = torch.stack([maps[i] for maps in stages]).float().cpu().numpy() if keeps else None
            self.through.append(_Through(beliefs, taken[i][1], share))

    def _decode(self) -> list[Found]:
        settings, scales = self.settings, self.settings.scales
        done = len(self.through) // scales
        if not done:
            return []
        started = time.perf_counter()
        through, self.through = self.through[: done * scales], self.through[done * scales :]
        maps = torch.cat(self.maps) if len(self.maps) > 1 else self.maps[0]
        self.maps = [maps[done * scales :]] if self.through else []
        stages = maps.shape[1]
        maps = maps[: done * scales].unflatten(0, (done, scales))  # [n, S, K, P+1, h, w]
        maps = maps.transpose(1, 2).flatten(0, 1)
        parts, scores = belief_to_parts(maps, settings.pyramid, self.engine.config, settings.refine, settings.flip)
        parts, scores = parts.reshape(done, stages, -1, 2), scores.reshape(done, stages, -1)
        peaks = (time.perf_counter() - started) / done
        subjects = [through[i : i + scales] for i in range(0, len(through), scales)]
        return [
            Found(
                parts[i],
                scores[i],
                None if self.kept is None else own[self.kept].beliefs,
                sum(crop.crop for crop in own),
                sum(crop.network for crop in own),
                peaks,
            )
            for i, own in enumerate(subjects)
        ]


def _clock(device: torch.device) -> float:
    """Return the time in seconds once the device is done; the caller waits for its result right afterward anyway."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
