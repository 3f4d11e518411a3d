"""One annotated subject of one picture, and the protocol of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.numbers import is_whole


@dataclass(frozen=True)
class Sample:
    """One subject, all coordinates in image pixels, 0-based.

    Args:
        image: [H, W, 3] uint8 BGR.
        parts_image: [P, 2] float64, NaN where not labeled.
        labeled: [P] bool.
        roi: the region around the subject, if the format gives one; None: about `box_image`.
        name: for reports, for instance the file name.
        occluded: [P] bool, labeled but hidden from view, if the format has such flags.
        others_image: [K, P, 2] parts of the other people in the picture, NaN where not labeled.
        box_image: left, top, right, bottom of the subject, image pixels, if the format gives one; required if `roi` is
            None.
        head_length: the reference length of PCKh, image pixels, if the format gives it: 0.6 times the diagonal of the
            head's box.
        area: of the subject's outline, square image pixels, if the format gives it; OKS needs it.
        identity: the format's numbers of picture and subject, for tables that refer to them: the ids of image and
            annotation in COCO (0 if the annotation has none), the indices in annolist and annorect in MPII's release,
            from 1 as there, and the place among the examples in FLIC, from 1.
        ignored_image: [K, 4] left, top, right, bottom around people without labeled parts, crowds among them, image
            pixels: neither a subject nor background.
        complete: whether the picture shows no subject but this one and the others, as only drawn pictures promise.

    Raises:
        ValueError: the image has another shape, or no pixel.
        TypeError: the image is no array of uint8.
    """

    image: np.ndarray
    parts_image: np.ndarray
    labeled: np.ndarray
    roi: Roi | None
    name: str
    occluded: np.ndarray | None = None
    others_image: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 2)))
    box_image: tuple[float, float, float, float] | None = None
    head_length: float | None = None
    area: float | None = None
    identity: tuple[int | str, ...] | None = None
    ignored_image: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    complete: bool = False

    def __post_init__(self) -> None:
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            came = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"{self.name}: image must be an array of uint8, got {came}")
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            hint = "; np.repeat(image[..., None], 3, axis=2) makes one of a gray image" if image.ndim == 2 else ""
            raise ValueError(
                f"{self.name}: image must be [H, W, 3] BGR of at least one pixel, got {list(image.shape)}{hint}"
            )

    def region(self, margin: float) -> Roi:
        """Return the region that a network sees.

        Args:
            margin: the network's own (`NetworkConfig.margin`), left about a box in training as in inference.

        Raises:
            ValueError: the sample has neither region nor box.
        """
        if self.roi is not None:
            return self.roi
        if self.box_image is None:
            raise ValueError(f"{self.name}: must have a region or a box")
        return Roi.from_box(self.box_image, margin)


class Dataset(Protocol):
    """A sequence of samples with one skeleton; reading a sample may raise ValueError or OSError for that one."""

    @property
    def name(self) -> str: ...

    @property
    def skeleton(self) -> Skeleton: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Subset:
    """Some samples of a dataset, in the order given."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def skeleton(self) -> Skeleton:
        return self.dataset.skeleton

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def hold_out(dataset: Dataset, count: int) -> tuple[Subset, Subset]:
    """Split a dataset into the samples but the last `count`, and the last `count`.

    Raises:
        ValueError: count is negative or leaves no sample to train on.
    """
    if not is_whole(count) or not 0 <= count < len(dataset):
        raise ValueError(f"hold-out must be from 0 to {len(dataset) - 1} samples of {dataset.name}, got {count!r}")
    first = len(dataset) - count
    return Subset(dataset, range(first)), Subset(dataset, range(first, len(dataset)))
