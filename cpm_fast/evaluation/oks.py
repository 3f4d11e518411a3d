"""COCO's average precision of key points, by object key point similarity, through pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cpm_fast.evaluation.cells import percent
from cpm_fast.skeleton import COCO as COCO_SKELETON
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.installation import install_command

PERSON = 1
LABELED = 2
# The numbers of pycocotools' `summarize`, in its order.
NUMBERS = ("AP", "AP50", "AP75", "AP medium", "AP large", "AR", "AR50", "AR75", "AR medium", "AR large")


@dataclass(frozen=True, eq=False)
class ScoredSubjects:
    """Subjects of several images, annotated or predicted.

    Args:
        images: [M] the image of each.
        parts_image: [M, P, 2] image pixels, NaN where not labeled or not predicted.
        values: [M] the area in square image pixels of annotated subjects, the score of predicted ones.
        boxes: [M, 4] left, top, width, height of annotated subjects; about the labeled parts where NaN or not given.
            They matter where no part is labeled: COCO takes what is within twice the box for such a subject.
        ignored: [M] bool, annotated subjects of whom a prediction is neither right nor wrong. One without a labeled
            part is ignored in any case.
        crowds: [M] bool, those of the ignored of whom there may be several predictions.
    """

    images: Sequence[str]
    parts_image: np.ndarray
    values: np.ndarray
    boxes: np.ndarray | None = None
    ignored: np.ndarray | None = None
    crowds: np.ndarray | None = None


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's ten numbers, by `NUMBERS`; NaN where there is no such subject.

    Args:
        numbers: fractions.
        parts: the parts that were compared.
        left_out: parts without a sigma in COCO.
    """

    numbers: dict[str, float]
    parts: tuple[str, ...]
    left_out: tuple[str, ...]


def average_precision(
    truth: ScoredSubjects, found: ScoredSubjects, skeleton: Skeleton, images: Iterable[str] = ()
) -> AveragePrecision:
    """Match predictions with annotated subjects of the same image, best first, and score them (cocodataset.org).

    Parts are weighed by the sigmas of COCO's 17 parts; others are left out. A part that is not predicted is far off.
    The numbers are those of pycocotools for the same annotation and results.

    Args:
        truth: annotated subjects with their areas.
        found: predictions with their scores; those of images that are neither in truth nor in `images` are left out.
        skeleton: the P parts.
        images: further ones, in which nobody is annotated: every prediction there is wrong.

    Raises:
        RuntimeError: pycocotools is missing.
        ValueError: the skeleton shares no part with COCO's, or a subject has no area.
    """
    _pycocotools()  # if it is missing, say so before any other error
    shared = [i for i, name in enumerate(skeleton.names) if name in COCO_SKELETON.names]
    if not shared:
        raise ValueError(f"OKS has sigmas for COCO's parts {list(COCO_SKELETON.names)}, got {list(skeleton.names)}")
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*truth.images, *images]), 1)}
    annotations = _annotations(truth, shared, numbers)
    detections = _detections(found, shared, numbers)
    names = [skeleton.names[i] for i in shared]
    stats = _summary(list(numbers.values()), annotations, detections, names)
    return AveragePrecision(
        dict(zip(NUMBERS, stats, strict=True)),
        tuple(names),
        tuple(name for name in skeleton.names if name not in COCO_SKELETON.names),
    )


def _annotations(truth: ScoredSubjects, shared: Sequence[int], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return annotated subjects as COCO's file has them.

    Raises:
        ValueError: a subject that counts has no area.
    """
    parts = truth.parts_image[:, shared]
    labeled = np.isfinite(parts).all(axis=2).sum(axis=1)
    ignored = np.zeros(len(parts), bool) if truth.ignored is None else truth.ignored
    given = np.full((len(parts), 4), np.nan) if truth.boxes is None else truth.boxes
    crowds = np.zeros(len(parts), bool) if truth.crowds is None else truth.crowds
    boxes = [box.tolist() if np.isfinite(box).all() else _box(points) for box, points in zip(given, parts, strict=True)]
    unknown = int((~np.isfinite(truth.values) & ~ignored & (labeled > 0)).sum())
    if unknown:
        raise ValueError(f"OKS needs the area of every subject, as COCO's annotation has it; {unknown} have none")
    areas = np.where(np.isfinite(truth.values), truth.values, [box[2] * box[3] for box in boxes])
    return [
        {
            "id": number,
            "image_id": numbers[image],
            "category_id": PERSON,
            "iscrowd": int(crowd),
            "area": float(area),
            "bbox": box,
            "keypoints": _keypoint_triples(points, LABELED),
            "num_keypoints": int(count),
        }
        for number, (image, points, area, box, crowd, count) in enumerate(
            zip(truth.images, parts, areas, boxes, crowds, np.where(ignored, 0, labeled), strict=True), 1
        )
    ]


def _detections(found: ScoredSubjects, shared: Sequence[int], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return predictions for the numbered images as a file of COCO's results has them."""
    return [
        {
            "image_id": numbers[image],
            "category_id": PERSON,
            "keypoints": _keypoint_triples(points, 1),
            "score": float(np.nan_to_num(value)),
        }
        for image, points, value in zip(found.images, found.parts_image[:, shared], found.values, strict=True)
        if image in numbers
    ]


def _pycocotools() -> tuple[Any, Any]:
    """Return its classes of annotations and of scores.

    Raises:
        RuntimeError: it is missing.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise RuntimeError(f"OKS needs pycocotools; type: {install_command('eval')}") from None
    return COCO, COCOeval


def _summary(
    images: Sequence[int],
    annotations: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    parts: Sequence[str],
) -> list[float]:
    """Return the numbers that pycocotools prints, NaN where there is no such subject."""
    annotated, scored = _pycocotools()
    content = {"images": [{"id": number} for number in images], "categories": [{"id": PERSON}]}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = annotated()
        reference.dataset = {**content, "annotations": annotations}
        reference.createIndex()
        if detections:
            results = reference.loadRes(detections)
        else:
            results = annotated()
            results.dataset = {**content, "annotations": []}
            results.createIndex()
        evaluation = scored(reference, results, "keypoints")
        sigmas = dict(zip(COCO_SKELETON.names, evaluation.params.kpt_oks_sigmas, strict=True))
        evaluation.params.kpt_oks_sigmas = np.array([sigmas[name] for name in parts])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats).tolist()


def precision_table(stages: Sequence[AveragePrecision]) -> str:
    """Format one row per stage, in percent, and then the parts that were left out."""
    lines = ["average precision by object key point similarity (COCO), percent"]
    lines.append(" " * 8 + "".join(f"{name:>11}" for name in NUMBERS))
    for stage, found in enumerate(stages, 1):
        cells = map(percent, found.numbers.values())
        lines.append(f"stage {stage:<2}" + "".join(f"{cell:>11}" for cell in cells))
    if len(stages[-1].parts) < len(COCO_SKELETON):
        lines.append(f"over {len(stages[-1].parts)} of COCO's {len(COCO_SKELETON)} parts")
    if stages[-1].left_out:
        lines.append(f"without a share, as COCO has no sigma for them: {', '.join(stages[-1].left_out)}")
    return "\n".join(lines)


def _keypoint_triples(points: np.ndarray, flag: int) -> list[float]:
    known = np.isfinite(points).all(axis=1, keepdims=True)
    return np.where(known, np.concatenate([points, np.full((len(points), 1), flag)], axis=1), 0).ravel().tolist()


def _box(points: np.ndarray) -> list[float]:
    """Return left, top, width and height of the box around the labeled parts."""
    known = points[np.isfinite(points).all(axis=1)]
    return [*known.min(axis=0).tolist(), *np.ptp(known, axis=0).tolist()] if len(known) else [0.0] * 4
