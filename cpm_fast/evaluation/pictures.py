"""Pictures of an evaluation: curves, the worst samples with truth and prediction, strips of stages."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.engine import Engine
from cpm_fast.evaluation.curves import score_curves
from cpm_fast.evaluation.outcome import Evaluation
from cpm_fast.evaluation.rule import PERSON
from cpm_fast.inference.parts import Sighting, look
from cpm_fast.inference.settings import Settings
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import crop, warp
from cpm_fast.results.drawing import ALL_PARTS, skeleton_overlay, stage_strip
from cpm_fast.results.marks import PAPER
from cpm_fast.roi import BOX_MARGIN, Roi

TILE_PX, TILE_GAP_PX, BORDER = 300, 6, 128
TILE_MARGIN = 1.2
ERROR_COLOR = (40, 40, 230)
ERROR_WIDTH_PX, RING_PX = 1, 5
# Fractional bits of cv2's sub-pixel coordinates.
SHIFT = 4
FARTHEST = 2**20


def part_curves(found: Evaluation) -> bytes:
    """Write the score of the last stage over the threshold, one line per part, left and right averaged, as a PNG."""
    means = np.array([found.group_means(score) for score in found.curve_scores[-1]])  # [K, groups]
    lines = {name: means[:, i] for i, name in enumerate(found.groups())}
    return score_curves(found.rule, lines, f"{found.dataset}, last stage")


def truth_and_prediction(found: Evaluation, number: int, sample: Sample) -> np.ndarray:
    """Draw a sample's truth on the left, the last stage's prediction on the right: [H, W, 3] uint8 BGR.

    A red line leads from each wrong part to where it should be.

    Args:
        found: of the dataset.
        number: index of one of its M samples.
        sample: that sample.
    """
    size = (TILE_PX, TILE_PX)
    points_image = (found.truth[number], found.predictions[-1, number])
    roi = _near(np.concatenate(points_image), sample.region(BOX_MARGIN))
    tile = warp(sample.image, roi.matrix(size), size, BORDER)
    truth, predicted = (roi.to_box(points, size) for points in points_image)
    pictures = [
        skeleton_overlay(tile, points, np.isfinite(points).all(axis=1).astype(float), found.skeleton, side=TILE_PX)
        for points in (truth, predicted)
    ]
    for part in wrong_parts(found, number):
        if np.isfinite(predicted[part]).all():
            start, end = (_fixed_point(points[part]) for points in (predicted, truth))
            cv2.line(pictures[1], start, end, ERROR_COLOR, ERROR_WIDTH_PX, cv2.LINE_AA, SHIFT)
            cv2.circle(pictures[1], end, RING_PX << SHIFT, ERROR_COLOR, ERROR_WIDTH_PX, cv2.LINE_AA, SHIFT)
    gap = np.full((TILE_PX, TILE_GAP_PX, 3), PAPER, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]], axis=1)


def _near(points: np.ndarray, roi: Roi) -> Roi:
    """Return a region around these points with a little room, not larger than the subject's own."""
    known = points[np.isfinite(points).all(axis=1)]
    low, high = known.min(axis=0), known.max(axis=0)
    side = TILE_MARGIN * float((high - low).max())
    x, y = ((low + high) / 2).tolist()
    return Roi((x, y), side) if 0 < side < roi.side else roi


def _fixed_point(point: np.ndarray) -> tuple[int, int]:
    """Return a point in cv2's fixed-point numbers, not farther off than they reach."""
    x, y = np.clip(np.rint(2**SHIFT * point), -FARTHEST, FARTHEST).astype(int).tolist()
    return x, y


def wrong_parts(found: Evaluation, number: int) -> list[int]:
    """Return the labeled parts that the last stage misses by more than the threshold, the farthest first."""
    labeled = np.isfinite(found.truth[number]).all(axis=1)
    distances = np.where(np.isfinite(found.errors[-1, number]), found.errors[-1, number], np.inf)
    allowed = (found.rule.threshold or 0.0) * found.reference_length[number]
    wrong = np.flatnonzero(labeled & (distances > allowed))
    return wrong[np.argsort(-distances[wrong], kind="stable")].tolist()


def strip(found: Evaluation, number: int, sample: Sample, model: CPM) -> np.ndarray:
    """Draw each stage's beliefs of a sample, of all parts and of the part farthest off: [H, W, 3] uint8 BGR."""
    config = model.config
    roi = sample.region(config.margin) if found.protocol == "crop" else Roi.lsp_test(*sample.image.shape[:2])
    box = crop(sample.image, roi, config)
    (seen,) = look(Engine(model), Settings(belief_maps=True), sample.image, [Sighting(roi)])
    # The observer's sides may be the other way about in the network's maps.
    wrong = [found.names[part] for part in wrong_parts(found, number)] if found.rule.centric == PERSON else []
    rows: Sequence[str] = [ALL_PARTS, *wrong[:1]]
    assert seen.beliefs is not None
    return stage_strip(box, seen.beliefs, config.skeleton, rows, cell_offset=config.cell_offset)


def read_again(found: Evaluation, dataset: Dataset, number: int) -> Sample | None:
    """Read one of the M samples with its picture; None if it can't be read any more."""
    try:
        return dataset[int(found.indices[number])]
    except (OSError, ValueError):
        return None
