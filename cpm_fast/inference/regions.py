"""Regions of subjects: checked boxes or rois of a user, or the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cpm_fast.roi import Roi
from cpm_fast.system.numbers import number_array

RoiSource = Literal["whole image", "boxes", "rois", "found"]
# Narrower regions hold no picture; larger numbers leave the range in which pixels can be told apart.
SMALLEST_SIDE_PX, LARGEST_PX = 1e-3, 1e7


@dataclass(frozen=True)
class Region:
    """A roi and its origin.

    Args:
        roi: the square.
        extent: left, top, right, bottom in image pixels of the box or square that was given.
        label: for messages, for instance "box 2 of photo.jpg".
    """

    roi: Roi
    extent: tuple[float, float, float, float]
    label: str

    def __post_init__(self) -> None:
        if self.roi.side < SMALLEST_SIDE_PX or max(abs(value) for value in self.extent) > LARGEST_PX:
            raise ValueError(
                f"{self.label} must have a side of at least {SMALLEST_SIDE_PX} px and lie within {LARGEST_PX:g} px, "
                f"got {', '.join(f'{value:g}' for value in self.extent)}"
            )

    def check_inside(self, height: int, width: int) -> None:
        """Refuse what does not touch the image; reaching out of it in part is fine.

        Raises:
            ValueError: the extent lies entirely outside.
        """
        left, top, right, bottom = self.extent
        if right <= -0.5 or bottom <= -0.5 or left >= width - 0.5 or top >= height - 0.5:
            raise ValueError(
                f"{self.label} must touch the image of {width} x {height} px, got left {left:g}, top {top:g}, "
                f"right {right:g}, bottom {bottom:g}"
            )


@dataclass(frozen=True)
class Regions:
    """The regions of every image.

    Args:
        given: checked regions per image; None where each image is one subject, seen whole.
        source: their origin.
    """

    given: Sequence[Sequence[Region]] | None
    source: RoiSource

    def count(self, index: int) -> int:
        """Return the number of subjects of image number `index`, before it is read."""
        return 1 if self.given is None else len(self.given[index])

    def of(self, index: int, size: tuple[int, int]) -> list[Roi]:
        """Return the regions of image number `index`, of this (height, width).

        Raises:
            ValueError: a region lies entirely outside the image.
        """
        height, width = size
        if self.given is None:
            return [Roi.whole_image(height, width)]
        for region in self.given[index]:
            region.check_inside(height, width)
        return [region.roi for region in self.given[index]]

    def only(self, indices: Sequence[int]) -> Regions:
        """Return the regions of some of the images, in this order."""
        given = self.given
        return self if given is None else replace(self, given=[given[i] for i in indices])


def given_regions(names: Sequence[str], several: bool, boxes: Any, rois: Any, margin: float) -> Regions:
    """Check the boxes or rois that a user gave.

    Args:
        names: of the images.
        several: whether the user gave a folder or a list, so that boxes and rois are lists too, one entry per image.
        boxes: [N, 4] (left, top, right, bottom) image pixels, or one [4], per image; N may be 0.
        rois: a Roi or a list of them, per image.
        margin: of `Roi.from_box`.

    Raises:
        ValueError: both are given, there are not as many entries as images, or a box is not a box.
        TypeError: an entry is of another type.
    """
    if boxes is not None and rois is not None:
        raise ValueError("boxes and rois can't both be given")
    if boxes is not None:
        given = _per_image(boxes, names, several, "boxes")
        return Regions([checked_boxes(entry, name, margin) for entry, name in zip(given, names, strict=True)], "boxes")
    if rois is not None:
        given = _per_image(rois, names, several, "rois")
        return Regions([_from_rois(entry, name) for entry, name in zip(given, names, strict=True)], "rois")
    return Regions(None, "whole image")


def _per_image(given: Any, names: Sequence[str], several: bool, what: str) -> Sequence[Any]:
    if not several:
        return [given]
    if isinstance(given, Roi) or not hasattr(given, "__len__"):
        raise TypeError(f"{what} must be a list with one entry per image, got {type(given).__name__}")
    if len(given) != len(names):
        raise ValueError(f"{what} must have one entry for each of the {len(names)} images, got {len(given)}")
    return given


def checked_boxes(boxes: Any, name: str, margin: float) -> list[Region]:
    """Return the regions about boxes [N, 4] or one [4] of an image; N may be 0.

    Raises:
        TypeError: boxes are no numbers.
        ValueError: the shape is another, a box is not one, or it is in fractions of the picture.
    """
    array = number_array(boxes, f"boxes of {name}", " [N, 4]")
    if array.shape == (4,):
        array = array[None]
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes of {name} must be [N, 4] (left, top, right, bottom), got {list(array.shape)}")
    regions = []
    for i, box in enumerate(array):
        label = f"box {i} of {name}"
        try:
            roi = Roi.from_box(box, margin)
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from None
        left, top, right, bottom = box.tolist()
        if min(left, top) >= 0 and max(right, bottom) <= 1:
            raise ValueError(f"{label}: must be in pixels, got fractions of the picture {box.tolist()}")
        regions.append(Region(roi, (left, top, right, bottom), label))
    return regions


def _from_rois(rois: Any, name: str) -> list[Region]:
    listed = [rois] if isinstance(rois, Roi) else rois
    if not isinstance(listed, (list, tuple)) or not all(isinstance(roi, Roi) for roi in listed):
        raise TypeError(f"rois of {name} must be a Roi or a list of them, got {rois!r}")
    regions = []
    for i, roi in enumerate(listed):
        (x, y), half = roi.center, roi.side / 2
        regions.append(Region(roi, (x - half, y - half, x + half, y + half), f"roi {i} of {name}"))
    return regions
