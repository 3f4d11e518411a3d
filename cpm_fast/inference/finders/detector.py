"""Subjects found by a detector of the user's own: a function from an image to boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.parts import Sighting
from cpm_fast.inference.regions import checked_boxes
from cpm_fast.inference.settings import Settings
from cpm_fast.system.numbers import number_array

# left, top, right, bottom, and the score where the function gives one.
BOX, SCORED = 4, 5


@dataclass(frozen=True, eq=False)
class Detector:
    """A function that says where the subjects are, and the limits.

    Args:
        function: takes an image [H, W, 3] uint8 BGR, which it may change, and returns [N, 4] (left, top, right, bottom)
            pixels, or [N, 5] with a score behind each box; N may be 0.
        max_subjects: the most per image: those with the highest scores, or the first.
        min_find_score: boxes with a lower score are left out; None: all are kept.
    """

    function: Callable[[np.ndarray], Any]
    max_subjects: int | None = None
    min_find_score: float | None = None

    def longer_px(self, config: NetworkConfig) -> None:
        """Return None: the function sees images at their own size."""
        del config

    def sightings(self, engine: Engine, settings: Settings, image: np.ndarray) -> list[Sighting]:
        """Return the regions around the boxes, with the margin of the pose network, best first.

        Raises:
            ValueError: the function returned something else than boxes that touch the image, or no scores where
                `min_find_score` needs them.
            TypeError: it returned no numbers.
        """
        del settings
        boxes, scores = boxes_and_scores(self.function(image.copy()), "find(image)")
        if self.min_find_score is not None and scores is None and len(boxes):
            raise ValueError(
                "find(image) must return boxes with scores, [N, 5], for min_find_score, got "
                f"{list(boxes.shape)}; return a score behind each box"
            )
        regions = checked_boxes(boxes, "find(image)", engine.config.margin)
        for region in regions:
            region.check_inside(image.shape[0], image.shape[1])
        order = surest(len(boxes), scores, self.max_subjects, self.min_find_score)
        return [Sighting(regions[i].roi) for i in order]


def boxes_and_scores(found: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Split what a detector returned into boxes [N, 4], and scores [N] where it has them.

    Raises:
        TypeError: found is no array of numbers.
        ValueError: it has another shape, or a score that is not a number.
    """
    array = number_array(found, f"boxes of {name}", " [N, 4] or [N, 5]")
    if array.size == 0:
        return np.empty((0, BOX)), None
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] not in (BOX, SCORED):
        raise ValueError(
            f"boxes of {name} must be [N, 4] (left, top, right, bottom) or [N, 5] (and a score), got "
            f"{list(np.shape(found))}"
        )
    if array.shape[1] == BOX:
        return array, None
    if np.isnan(array[:, BOX]).any():
        raise ValueError(f"scores of the boxes of {name} must be numbers, got {array[:, BOX].tolist()}")
    return array[:, :BOX], array[:, BOX]


def surest(count: int, scores: np.ndarray | None, most: int | None, least: float | None) -> Sequence[int]:
    """Return which of so many subjects are kept: by their scores, best first; without scores the first ones."""
    order = list(range(count))
    if scores is not None:
        order = [i for i in np.argsort(-scores, kind="stable").tolist() if least is None or scores[i] >= least]
    return order[:most]
