"""Evaluation of a network on annotated pictures: its predictions, and their scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.engine import Engine
from cpm_fast.evaluation.outcome import Evaluation
from cpm_fast.evaluation.rule import OBSERVER, Rule, to_observer
from cpm_fast.inference.parts import Sighting, SubjectCrops, find_parts, subjects_in
from cpm_fast.inference.settings import Settings
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.system.progress import bar_wanted

# Scales of the released test protocol.
LSP_PYRAMID = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
PROGRESS_FROM_SAMPLES = 32


def evaluate(
    model: CPM,
    dataset: Dataset,
    *,
    protocol: Literal["crop", "lsp"] = "crop",
    pyramid: Sequence[float] | None = None,
    flip: bool = False,
    refine: bool = True,
    batch: int = 16,
    precision: str = "auto",
    rule: Rule | None = None,
    device: str | torch.device = "auto",
    progress: bool | None = None,
) -> Evaluation:
    """Score every stage of a network on annotated pictures.

    Samples are read one at a time. One that can't be read is reported with a warning and counted, and the others are
    done. Parts are matched by name. Samples that the rule has no reference length for are left out of the scores and
    counted.

    Args:
        model: the network; it may be in training, and is left as it was.
        dataset: annotated samples.
        protocol: "crop": each sample's own region, which for most datasets takes center and scale from the truth;
            "lsp": the LSP test protocol, about the image's center, the image height to 294.4 px of a 368 px box.
        pyramid: factors on the magnification, the maps of all are averaged; (1.0,) for "crop", and for "lsp" the
            released 0.7 to 1.3 by 0.1, if not given.
        flip: average with the mirrored picture.
        refine: sub-pixel peaks (the release has none).
        batch: crops per forward pass.
        precision: of the network, see `Engine`.
        rule: of the scores; PCK@0.2 if not given.
        device: "auto" or the model's device; crops are moved there.
        progress: whether to show a bar; if not given, for more than a few samples on a terminal.

    Raises:
        ValueError: an argument is out of its range, the network shares no part with the dataset, or no sample of it
            can be read.
        RuntimeError: the device is not the model's, or does not have the precision.

    Examples:
        >>> from cpm_fast.data import open_dataset
        >>> from cpm_fast.weights import load
        >>> result = evaluate(load("compact-drawn", device="cpu"), open_dataset("synthetic:2"))
        >>> len(result.stages)
        3
    """
    found = predict(
        model,
        dataset,
        protocol=protocol,
        pyramid=pyramid,
        flip=flip,
        refine=refine,
        batch=batch,
        precision=precision,
        device=device,
        progress=progress,
    )
    return score([found], dataset, rule)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for some samples of a dataset, with their truth.

    Args:
        indices: [m] of those that could be read, in the dataset.
        names: of them.
        truth: [m, P, 2] image pixels, in the dataset's order of parts, NaN where not labeled.
        heads: [m] head lengths, image pixels, NaN where not annotated.
        areas: [m] of the subjects, square image pixels, NaN where not annotated.
        images: [m] which image each sample is of, in the dataset's own words.
        predicted: [T, m, P, 2] image pixels, NaN for parts that the network does not have.
        heights: [T, m, P] of the belief peaks, NaN where not known.
        unreadable: why the others could not be read.
        scored: which of the P parts the network has.
        protocol, pyramid: of the predictions.
        precision: of the network that made them; empty if it is not known.
    """

    indices: list[int]
    names: list[str]
    truth: np.ndarray
    heads: np.ndarray
    areas: np.ndarray
    images: list[str]
    predicted: np.ndarray
    heights: np.ndarray
    unreadable: list[str]
    scored: list[int]
    protocol: str
    pyramid: tuple[float, ...]
    precision: str = ""


def predict(
    model: CPM,
    dataset: Dataset,
    indices: Sequence[int] | None = None,
    *,
    protocol: Literal["crop", "lsp"] = "crop",
    pyramid: Sequence[float] | None = None,
    flip: bool = False,
    refine: bool = True,
    batch: int = 16,
    precision: str = "auto",
    device: str | torch.device = "auto",
    progress: bool | None = None,
) -> Predictions:
    """Run the first half of `evaluate`: return the network's predictions for these samples, or for all if None."""
    if protocol not in ("crop", "lsp"):
        raise ValueError(f"protocol must be 'crop' or 'lsp', got {protocol!r}")
    factors = tuple(pyramid) if pyramid is not None else LSP_PYRAMID if protocol == "lsp" else (1.0,)
    settings = Settings(factors, flip, batch, precision, refine=refine, every_stage=True)
    _check_device(model, device)
    engine = Engine(model, precision=precision)
    config = model.config
    settings = settings.for_network(config)
    order = dataset.skeleton.order_from(config.skeleton.names)
    if max(order) < 0:
        raise ValueError(
            f"{dataset.name}: shares no part with the network; it has {list(dataset.skeleton.names)}, "
            f"the network {list(config.skeleton.names)}"
        )
    wanted = range(len(dataset)) if indices is None else indices
    show = bar_wanted(progress, len(wanted), PROGRESS_FROM_SAMPLES)
    reader = SampleReader(dataset, wanted)
    bar = tqdm(reader, total=len(wanted), desc=dataset.name, unit="sample", leave=False, disable=not show)

    def subjects() -> Iterator[tuple[Roi, SubjectCrops]]:
        for sample in bar:
            roi = sample.region(config.margin) if protocol == "crop" else Roi.lsp_test(*sample.image.shape[:2])
            yield roi, subjects_in(sample.image, [Sighting(roi)], config, settings)

    found = [np.empty((config.stages, 0, config.parts, 3))]
    for roi, (one,) in find_parts(engine, settings, subjects()):
        parts_image = roi.to_image(one.parts_box, config.input_size)
        found.append(np.concatenate([parts_image, one.scores[..., None]], axis=-1)[:, None])
    predicted = np.concatenate(found, axis=1)  # [T, M, the network's parts, x y height]
    reordered = np.where(np.array(order)[:, None] < 0, np.nan, predicted[:, :, order])
    scored = [i for i, at in enumerate(order) if at >= 0]
    return reader.with_predictions(reordered, scored, protocol, factors, engine.precision)


def score(
    parts: Sequence[Predictions], dataset: Dataset, rule: Rule | None = None, source: str = "the network"
) -> Evaluation:
    """Run the second half of `evaluate`: score predictions that may have been made in several parts.

    Args:
        parts: the predictions, each sample in one of them.
        dataset: of the samples.
        rule: of the scores; PCK@0.2 if not given.
        source: the origin of the predictions, for titles.

    Raises:
        ValueError: no sample could be read, or the dataset lacks what the rule needs.
    """
    if not any(part.indices for part in parts):
        unreadable = [reason for part in parts for reason in part.unreadable]
        reason = f"; the first: {unreadable[0]}" if unreadable else ""
        raise ValueError(f"{dataset.name}: none of its {len(dataset)} samples could be read{reason}")
    found, skeleton = in_order(parts), dataset.skeleton
    settled = (rule or Rule()).settled(skeleton, heads=bool(np.isfinite(found.heads).any()))
    truth, predicted, heights = found.truth, found.predicted, found.heights
    if settled.centric == OBSERVER:
        (truth,) = to_observer(truth, skeleton)
        sides = [to_observer(stage, skeleton, values) for stage, values in zip(predicted, heights, strict=True)]
        predicted, heights = (np.array(values) for values in zip(*sides, strict=True))
    scored = found.scored
    return Evaluation(
        dataset=dataset.name,
        source=source,
        protocol=found.protocol,
        pyramid=found.pyramid,
        precision=found.precision,
        rule=settled,
        skeleton=skeleton.only([skeleton.names[i] for i in scored]),
        unscored=tuple(name for i, name in enumerate(skeleton.names) if i not in scored),
        unreadable=len(found.unreadable),
        samples=tuple(found.names),
        images=tuple(found.images),
        indices=np.array(found.indices),
        predictions=predicted[:, :, scored],
        heights=heights[:, :, scored],
        truth=truth[:, scored],
        reference_length=settled.lengths(found.truth, skeleton, found.heads),
        areas_image=found.areas,
    )


def in_order(parts: Sequence[Predictions]) -> Predictions:
    """Join predictions that were made in several parts, in the order of the dataset."""
    order = np.argsort([index for part in parts for index in part.indices], kind="stable")

    def put(values: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
        return np.concatenate(values, axis=axis).take(order, axis=axis)

    def listed(values: Sequence[list[str]]) -> list[str]:
        every = [value for part in values for value in part]
        return [every[i] for i in order]

    return replace(
        parts[0],
        indices=sorted(index for part in parts for index in part.indices),
        names=listed([part.names for part in parts]),
        images=listed([part.images for part in parts]),
        truth=put([part.truth for part in parts]),
        heads=put([part.heads for part in parts]),
        areas=put([part.areas for part in parts]),
        predicted=put([part.predicted for part in parts], axis=1),
        heights=put([part.heights for part in parts], axis=1),
        unreadable=[reason for part in parts for reason in part.unreadable],
    )


class SampleReader:
    """A reader of samples, one at a time, that keeps the name, index and truth of each, not its picture."""

    def __init__(self, dataset: Dataset, wanted: Sequence[int]) -> None:
        self.dataset, self.wanted = dataset, wanted
        self.indices: list[int] = []
        self.names: list[str] = []
        self.parts_image: list[np.ndarray] = []
        self.heads: list[float] = []
        self.areas: list[float] = []
        self.images: list[str] = []
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[Sample]:
        for index in self.wanted:
            try:
                sample = self.dataset[index]
            except (ValueError, OSError) as error:
                self.unreadable.append(str(error))
                warnings.warn(f"{self.dataset.name}: sample {index} left out: {error}", stacklevel=2)
                continue
            self.indices.append(index)
            self.names.append(sample.name)
            self.parts_image.append(np.where(sample.labeled[:, None], sample.parts_image, np.nan))
            self.heads.append(np.nan if sample.head_length is None else sample.head_length)
            self.areas.append(np.nan if sample.area is None else sample.area)
            # Two numbers are image and subject; without them only the name is known.
            several = sample.identity is not None and len(sample.identity) > 1
            self.images.append(str(sample.identity[0]) if several and sample.identity else sample.name)
            yield sample

    def truth(self) -> np.ndarray:
        """Return the parts [m, P, 2] in image pixels of the samples that were read, NaN where not labeled."""
        return np.array(self.parts_image).reshape(-1, len(self.dataset.skeleton), 2)

    def with_predictions(
        self, predicted: np.ndarray, scored: list[int], protocol: str, pyramid: tuple[float, ...], precision: str = ""
    ) -> Predictions:
        """Return predictions [T, m, P, x y height] of the samples that were read, with the annotation of these."""
        return Predictions(
            indices=self.indices,
            names=self.names,
            truth=self.truth(),
            heads=np.array(self.heads),
            areas=np.array(self.areas),
            images=self.images,
            predicted=predicted[..., :2],
            heights=predicted[..., 2],
            unreadable=self.unreadable,
            scored=scored,
            protocol=protocol,
            pyramid=pyramid,
            precision=precision,
        )


def _check_device(model: CPM, device: str | torch.device) -> None:
    where = next(model.parameters()).device
    wanted = where if device == "auto" else torch.device(device)
    if wanted.type != where.type or wanted.index not in (None, where.index):
        raise RuntimeError(f"device must be {where}, where the model is, got {device}; model.to({str(device)!r})")
