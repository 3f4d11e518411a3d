"""COCO's average precision of key points, by object key point similarity, through pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cpm_fast.skeleton import COCO as COCO_SKELETON
from cpm_fast.skeleton import Skeleton

PERSON = 1
LABELED = 2
# What pycocotools' `summarize` gives, in its order.
NUMBERS = ("AP", "AP50", "AP75", "AP medium", "AP large", "AR", "AR50", "AR75", "AR medium", "AR large")


@dataclass(frozen=True, eq=False)
class Subjects:
    """Subjects of several images.

    Args:
        images: [M] of which image each is.
        parts_image: [M, P, 2] image pixels, NaN where not labeled or not predicted.
        values: [M] the area in square image pixels of annotated subjects, the score of predicted ones.
    """

    images: Sequence[str]
    parts_image: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's ten numbers, by `NUMBERS`; NaN where there is no such subject.

    Args:
        numbers: fractions.
        parts: that were compared.
        left_out: parts that COCO has no sigma for.
    """

    numbers: dict[str, float]
    parts: tuple[str, ...]
    left_out: tuple[str, ...]


def average_precision(truth: Subjects, found: Subjects, skeleton: Skeleton) -> AveragePrecision:
    """Match predictions with annotated subjects of the same image, best first, and score them (cocodataset.org).

    Parts are weighed by the sigmas of COCO's 17 parts; others are left out. A part that is not predicted is far off.

    Args:
        truth: annotated subjects with their areas; one without a labeled part counts for nothing.
        found: predictions with their scores; those of images that truth hasn't are left out.
        skeleton: the P parts.

    Raises:
        RuntimeError: pycocotools is missing.
        ValueError: the skeleton shares no part with COCO's, or a subject has no area.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise RuntimeError("OKS needs pycocotools: python -m pip install 'cpm_fast[eval]'") from None
    shared = [i for i, name in enumerate(skeleton.names) if name in COCO_SKELETON.names]
    if not shared:
        raise ValueError(f"OKS has sigmas for COCO's parts {list(COCO_SKELETON.names)}, got {list(skeleton.names)}")
    unknown = int((~np.isfinite(truth.values)).sum())
    if unknown:
        raise ValueError(f"OKS needs the area of every subject, as COCO's annotation has it; {unknown} have none")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(truth.images), 1)}
    parts = truth.parts_image[:, shared]
    content = {
        "images": [{"id": number} for number in numbers.values()],
        "categories": [{"id": PERSON}],
        "annotations": [
            {"id": number, "image_id": numbers[image], "category_id": PERSON, "iscrowd": 0, "area": float(area),
             "bbox": _box(points), "keypoints": _triples(points, LABELED),
             "num_keypoints": int(np.isfinite(points).all(axis=1).sum())}
            for number, (image, points, area) in enumerate(zip(truth.images, parts, truth.values, strict=True), 1)
        ],
    }  # fmt: skip
    detections = [
        {"image_id": numbers[image], "category_id": PERSON, "keypoints": _triples(points, 1),
         "score": float(np.nan_to_num(value))}
        for image, points, value in zip(found.images, found.parts_image[:, shared], found.values, strict=True)
        if image in numbers and np.isfinite(points).all(axis=1).any()
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = content
        reference.createIndex()
        stats = np.full(len(NUMBERS), np.nan)
        if detections:
            evaluation = COCOeval(reference, reference.loadRes(detections), "keypoints")
            order = COCO_SKELETON.names
            sigmas = dict(zip(order, evaluation.params.kpt_oks_sigmas, strict=True))
            evaluation.params.kpt_oks_sigmas = np.array([sigmas[skeleton.names[i]] for i in shared])
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            stats = np.where(evaluation.stats < 0, np.nan, evaluation.stats)
    return AveragePrecision(
        dict(zip(NUMBERS, stats.tolist(), strict=True)),
        tuple(skeleton.names[i] for i in shared),
        tuple(name for name in skeleton.names if name not in COCO_SKELETON.names),
    )


def precision_table(stages: Sequence[AveragePrecision]) -> str:
    """One row a stage, in percent; then which parts had no share."""
    lines = ["average precision by object key point similarity (COCO), percent"]
    lines.append(" " * 8 + "".join(f"{name:>11}" for name in NUMBERS))
    for stage, found in enumerate(stages, 1):
        cells = ("-" if np.isnan(value) else f"{100 * value:.1f}" for value in found.numbers.values())
        lines.append(f"stage {stage:<2}" + "".join(f"{cell:>11}" for cell in cells))
    if len(stages[-1].parts) < len(COCO_SKELETON):
        lines.append(f"over {len(stages[-1].parts)} of COCO's {len(COCO_SKELETON)} parts")
    if stages[-1].left_out:
        lines.append(f"without a share, as COCO has no sigma for them: {', '.join(stages[-1].left_out)}")
    return "\n".join(lines)


def _triples(points: np.ndarray, flag: int) -> list[float]:
    known = np.isfinite(points).all(axis=1, keepdims=True)
    return np.where(known, np.concatenate([points, np.full((len(points), 1), flag)], axis=1), 0).ravel().tolist()


def _box(points: np.ndarray) -> list[float]:
    """Left, top, width and height about the labeled parts."""
    known = points[np.isfinite(points).all(axis=1)]
    return [*known.min(axis=0).tolist(), *np.ptp(known, axis=0).tolist()] if len(known) else [0.0] * 4
