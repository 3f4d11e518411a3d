"""A network, or predictions from anywhere, against annotated pictures: PCK of every part and stage."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.crops import network_input, scale_crops
from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.decode import belief_to_parts
from cpm_fast.engine import Engine
from cpm_fast.evaluation_report import BOX_REFERENCE, TORSO_REFERENCE, Evaluation
from cpm_fast.metrics import PCK_THRESHOLD, area_under_curve, box_reference_length, lsp_reference_length, pck
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton

# Scales of the released test protocol.
LSP_PYRAMID = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
TORSO = ("left_shoulder", "right_hip")
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
    threshold: float = PCK_THRESHOLD,
    device: str | torch.device = "auto",
    progress: bool | None = None,
) -> Evaluation:
    """Score every stage of a network on annotated pictures.

    Samples are read one at a time. One that can't be read is reported with a warning and counted, and the others are
    done. Parts are matched by name. Errors are measured against |left_shoulder - right_hip| of the truth where the
    skeleton has both, otherwise against the longer side of the box about the labelled parts; samples without such a
    length are left out of the scores and counted.

    Args:
        model: the network; it may be in training, and is left as it was.
        dataset: annotated samples.
        protocol: "crop": each sample's own region, which for most datasets takes center and scale from the truth;
            "lsp": the LSP test protocol, about the image's center, the image height to 294.4 px of a 368 px box.
        pyramid: factors on the magnification, the maps of all are averaged; (1.0,) for "crop", and for "lsp" the
            released 0.7 to 1.3 by 0.1, if not given.
        flip: average with the mirrored picture.
        refine: sub-pixel peaks (the release has none).
        batch: crops a forward pass.
        threshold: of PCK.
        device: "auto" or where the model is; crops are brought there.
        progress: whether to show a bar; if not given, for more than a few samples on a terminal.

    Raises:
        ValueError: an argument is out of its range, the network shares no part with the dataset, or no sample of it
            can be read.
        RuntimeError: the device is not the model's.
    """
    found = predict(model, dataset, protocol=protocol, pyramid=pyramid, flip=flip, refine=refine, batch=batch,
                    device=device, progress=progress)  # fmt: skip
    return score([found], dataset, threshold)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network found in some samples of a dataset, with their truth.

    Args:
        indices: [m] of those that could be read, in the dataset.
        names: of them.
        truth: [m, P, 2] image pixels, in the dataset's order of parts, NaN where not labelled.
        predicted: [T, m, P, 2] image pixels, NaN for parts that the network does not have.
        unreadable: why the others could not be read.
        scored: which of the P parts the network has.
        protocol, pyramid: how the samples were looked at.
    """

    indices: list[int]
    names: list[str]
    truth: np.ndarray
    predicted: np.ndarray
    unreadable: list[str]
    scored: list[int]
    protocol: str
    pyramid: tuple[float, ...]


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
    device: str | torch.device = "auto",
    progress: bool | None = None,
) -> Predictions:
    """The first half of `evaluate`: what the network finds in these samples of the dataset, in all if None."""
    if protocol not in ("crop", "lsp"):
        raise ValueError(f"protocol must be 'crop' or 'lsp', got {protocol!r}")
    factors = tuple(pyramid) if pyramid is not None else LSP_PYRAMID if protocol == "lsp" else (1.0,)
    if not factors or not all(math.isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError(f"pyramid must be one or more positive numbers, got {list(factors)}")
    if batch < 1:
        raise ValueError(f"batch must be positive, got {batch}")
    _check_device(model, device)
    engine = Engine(model)
    config = model.config
    order = dataset.skeleton.order_from(config.skeleton.names)
    if max(order) < 0:
        raise ValueError(
            f"{dataset.name}: shares no part with the network; it has {list(dataset.skeleton.names)}, "
            f"the network {list(config.skeleton.names)}"
        )
    scales = len(factors) * (2 if flip else 1)
    subjects_at_once = max(1, batch // scales)
    found = [np.empty((config.stages, 0, config.parts, 2))]
    waiting: list[tuple[np.ndarray, Roi]] = []

    def flush() -> None:
        if waiting:
            found.append(_predict(engine, waiting, factors, flip, refine, batch))
            waiting.clear()

    wanted = range(len(dataset)) if indices is None else indices
    show = len(wanted) > PROGRESS_FROM_SAMPLES and sys.stderr.isatty() if progress is None else progress
    reader = _Reader(dataset, wanted)
    with torch.inference_mode():
        for sample in tqdm(reader, total=len(wanted), desc=dataset.name, unit="sample", leave=False, disable=not show):
            roi = sample.roi if protocol == "crop" else Roi.lsp_test(*sample.image.shape[:2])
            waiting.append((scale_crops(sample.image, roi, config, factors, flip), roi))
            if len(waiting) == subjects_at_once:
                flush()
        flush()
    predicted = np.concatenate(found, axis=1)  # [T, M, the network's parts, 2]
    reordered = np.where(np.array(order)[:, None] < 0, np.nan, predicted[:, :, order])
    return reader.with_predictions(reordered, [i for i, at in enumerate(order) if at >= 0], protocol, factors)


def score(parts: Sequence[Predictions], dataset: Dataset, threshold: float = PCK_THRESHOLD) -> Evaluation:
    """The second half of `evaluate`: the scores of predictions that may have been made in several parts.

    Raises:
        ValueError: no sample could be read.
    """
    order = np.argsort([index for part in parts for index in part.indices], kind="stable")
    unreadable = [reason for part in parts for reason in part.unreadable]
    if not len(order):
        reason = f"; the first: {unreadable[0]}" if unreadable else ""
        raise ValueError(f"{dataset.name}: none of its {len(dataset)} samples could be read{reason}")
    names = [name for part in parts for name in part.names]
    truth = np.concatenate([part.truth for part in parts])[order]
    reference, length = _reference(truth, dataset.skeleton)
    scored = parts[0].scored
    truth = truth[:, scored]
    predicted = np.concatenate([part.predicted for part in parts], axis=1)[:, order][:, :, scored]
    return Evaluation(
        dataset=dataset.name,
        protocol=parts[0].protocol,
        pyramid=parts[0].pyramid,
        names=tuple(dataset.skeleton.names[i] for i in scored),
        unscored=tuple(name for i, name in enumerate(dataset.skeleton.names) if i not in scored),
        stages=tuple(pck(stage, truth, length, threshold) for stage in predicted),
        areas=tuple(area_under_curve(stage, truth, length) for stage in predicted),
        reference=reference,
        unreadable=len(unreadable),
        samples=tuple(names[i] for i in order),
        indices=np.array([index for part in parts for index in part.indices])[order],
        predictions=predicted,
        truth=truth,
        reference_length=length,
    )


def evaluate_predictions(
    predicted: np.ndarray, dataset: Dataset, *, threshold: float = PCK_THRESHOLD, progress: bool = False
) -> Evaluation:
    """Score predictions that were made elsewhere, by the rules of `evaluate`.

    Args:
        predicted: [M, P, 2] or, of several stages, [T, M, P, 2] image pixels, one a sample of the dataset and in the
            order of its skeleton; NaN where a part was not found, which is a miss.
        dataset: annotated samples.
        threshold: of PCK.
        progress: whether to show a bar.

    Raises:
        ValueError: the shape does not fit, or no sample of the dataset can be read.
    """
    values = np.asarray(predicted, dtype=np.float64)
    stages = values[None] if values.ndim == 3 else values
    wanted = (len(dataset), len(dataset.skeleton), 2)
    if stages.ndim != 4 or not len(stages) or stages.shape[1:] != wanted:
        raise ValueError(f"predicted must be {list(wanted)} or [T, ...] of that, got {list(values.shape)}")
    reader = _Reader(dataset, range(len(dataset)))
    for _ in tqdm(reader, total=len(dataset), desc=dataset.name, unit="sample", leave=False, disable=not progress):
        pass
    every = list(range(len(dataset.skeleton)))
    return score([reader.with_predictions(stages[:, reader.indices], every, "predictions", ())], dataset, threshold)


class _Reader:
    """Samples that can be read, one at a time; keeps of each its name, place and truth, not its picture."""

    def __init__(self, dataset: Dataset, wanted: Sequence[int]) -> None:
        self.dataset, self.wanted = dataset, wanted
        self.indices: list[int] = []
        self.names: list[str] = []
        self.parts_image: list[np.ndarray] = []
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
            self.parts_image.append(np.where(sample.labelled[:, None], sample.parts_image, np.nan))
            yield sample

    def with_predictions(
        self, predicted: np.ndarray, scored: list[int], protocol: str, pyramid: tuple[float, ...]
    ) -> Predictions:
        """Predictions [T, m, P, 2] of the samples that were read, with what is known of these."""
        truth = np.array(self.parts_image).reshape(-1, len(self.dataset.skeleton), 2)
        return Predictions(self.indices, self.names, truth, predicted, self.unreadable, scored, protocol, pyramid)


def _predict(
    engine: Engine,
    subjects: list[tuple[np.ndarray, Roi]],
    pyramid: tuple[float, ...],
    flip: bool,
    refine: bool,
    batch: int,
) -> np.ndarray:
    """Parts of n subjects, from crops [S, H, W, 3] and region of each: [T, n, P, 2] image pixels."""
    config = engine.config
    crops = np.concatenate([crops for crops, _ in subjects])
    splits = np.split(crops, range(batch, len(crops), batch))
    passes = [engine(network_input(part, config, engine.device)) for part in splits]
    stages = torch.stack([torch.cat(maps) for maps in zip(*passes, strict=True)])  # [T, n S, P+1, h, w]
    maps = stages.unflatten(1, (len(subjects), -1)).flatten(0, 1)  # [T n, S, P+1, h, w]
    parts, _ = belief_to_parts(maps, pyramid, config, refine, flip)
    parts_box = parts.reshape(config.stages, len(subjects), config.parts, 2)
    parts_image = [roi.to_image(parts_box[:, i], config.input_size) for i, (_, roi) in enumerate(subjects)]
    return np.stack(parts_image, axis=1)


def _reference(truth: np.ndarray, skeleton: Skeleton) -> tuple[str, np.ndarray]:
    if set(TORSO) <= set(skeleton.names):
        return TORSO_REFERENCE, lsp_reference_length(truth, skeleton)
    return BOX_REFERENCE, box_reference_length(truth)


def _check_device(model: CPM, device: str | torch.device) -> None:
    where = next(model.parameters()).device
    wanted = where if device == "auto" else torch.device(device)
    if wanted.type != where.type or wanted.index not in (None, where.index):
        raise RuntimeError(f"device must be {where}, where the model is, got {device}; model.to({str(device)!r})")
