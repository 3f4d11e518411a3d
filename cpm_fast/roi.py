"""Regions of the image that the network sees, and affine maps between image, box and map cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cpm_fast.skeleton import LSP, Skeleton
from cpm_fast.system.numbers import is_finite, make_plain, number_array

RELEASE_BOX_PX = 368.0
# A subject of 200 px x scale is brought to 200 x 41 / 35 px of the 368 px box.
RELEASE_SUBJECT_PX = 200.0 * 41.0 / 35.0
MPII_SCALE_PX = 200.0
# Regions that are found or followed lie on a grid this fine, so that a table gives back exactly what the network saw.
GRID_PX = 1 / 16
WHOLE_IMAGE_MARGIN = 1.25
BOX_MARGIN = 1.25

# The scale rule of the LSP training data: every limb votes for the length of the neck-head limb, which becomes 41 px.
NECK_HEAD_PX = 41.0
VOTE_QUANTILE = 0.75
LARGEST_EXTENT_PX = 304.0
# Median length of a limb over that of neck-head in LSP and LSP-extended. Three limbs of the release's table join
# parts that are no neighbors and two count twice; both are kept, because the magnifications depend on them.
LIMB_RATIOS: tuple[tuple[str, str, float], ...] = (
    ("right_ankle", "right_knee", 1.6950),
    ("right_knee", "right_hip", 1.6717),
    ("right_hip", "neck", 2.3561),
    ("left_hip", "left_knee", 1.6334),
    ("left_hip", "left_knee", 1.6334),
    ("left_ankle", "neck", 4.3006),
    ("neck", "head_top", 1.0),
    ("right_wrist", "right_elbow", 1.0851),
    ("right_elbow", "right_shoulder", 1.1925),
    ("right_shoulder", "neck", 0.7030),
    ("left_shoulder", "left_elbow", 1.1884),
    ("left_shoulder", "left_elbow", 1.1884),
    ("left_wrist", "neck", 2.3095),
)


@dataclass(frozen=True)
class Roi:
    """A square of the image that fills the network's box.

    Args:
        center: (x, y) of the square's center, image pixels, 0-based, pixel centers at integers.
        side: its side, image pixels. The magnification is the box's longer side over this.

    Raises:
        ValueError: a number is not finite, or side is not positive.

    Examples:
        >>> Roi((184, 184), 368).zoomed(2)
        Roi(center=(184, 184), side=184.0)
    """

    center: tuple[float, float]
    side: float

    def __post_init__(self) -> None:
        make_plain(self)
        if not isinstance(self.center, tuple) or len(self.center) != 2 or not all(map(is_finite, self.center)):
            raise ValueError(f"center must be two finite numbers (x, y), got {self.center!r}")
        if not is_finite(self.side) or self.side <= 0:
            raise ValueError(f"side must be a positive number of pixels, got {self.side!r}")

    @classmethod
    def from_box(cls, xyxy: np.ndarray | Sequence[float], margin: float = BOX_MARGIN) -> Self:
        """Return the square around a box's center, its side `margin` times the box's longer side.

        A box of 100 x 200 px at margin 1.25 gives a side of 250 px, magnified 1.472 times to fill 368 px.

        Args:
            xyxy: left, top, right, bottom, image pixels.
            margin: side of the square over the longer side of the box.

        Raises:
            TypeError: xyxy is no array of numbers.
            ValueError: not four finite numbers, or right <= left, or bottom <= top.

        Examples:
            >>> Roi.from_box((0, 0, 100, 200), margin=1.25)
            Roi(center=(50.0, 100.0), side=250.0)
        """
        values = number_array(xyxy, "box")
        if values.shape != (4,) or not np.isfinite(values).all():
            raise ValueError(f"box must be four finite numbers left, top, right, bottom, got {np.asarray(xyxy)}")
        left, top, right, bottom = values.tolist()
        if right <= left or bottom <= top:
            raise ValueError(f"box must have left < right and top < bottom, got {values.tolist()}")
        return cls(((left + right) / 2, (top + bottom) / 2), margin * max(right - left, bottom - top))

    @classmethod
    def from_height(cls, center: tuple[float, float], height: float) -> Self:
        """Return the square in which a subject `height` image pixels tall becomes 234.3 px of 368, as released.

        A height of 234.2857 px gives a side of 368 px: magnification 1. The side is 1.5707 heights.
        """
        return cls(center, height * RELEASE_BOX_PX / RELEASE_SUBJECT_PX)

    @classmethod
    def from_mpii(cls, center: tuple[float, float], scale: float) -> Self:
        """Return the region of an MPII annotation: 0-based `center`, and `scale`, the subject's height over 200 px.

        Scale 1 gives a side of 314.1 px: magnification 41 / 35.

        Examples:
            >>> round(Roi.from_mpii((100, 100), 1.0).side, 1)
            314.1
        """
        return cls.from_height(center, MPII_SCALE_PX * scale)

    @classmethod
    def whole_image(cls, height: float, width: float) -> Self:
        """Return the square around the image's center, its side 1.25 times the longer side of the image."""
        return cls(((width - 1) / 2, (height - 1) / 2), WHOLE_IMAGE_MARGIN * max(height, width))

    @classmethod
    def lsp_test(cls, height: float, width: float) -> Self:
        """Return the region of the LSP test protocol: the image height becomes 0.8 x 368 = 294.4 px."""
        return cls(((width - 1) / 2, (height - 1) / 2), WHOLE_IMAGE_MARGIN * height)

    @classmethod
    def from_parts(
        cls,
        parts: np.ndarray,
        labeled: np.ndarray,
        skeleton: Skeleton = LSP,
        center: tuple[float, float] | None = None,
    ) -> Self:
        """Apply the scale rule of the LSP training data (the release's training/genJSON.m, in words and medians).

        Each limb with both ends labeled votes length / ratio for the neck-head length; the 75 % quantile of the
        votes (linear between the sorted votes at (i - 0.5) / n) becomes 41 px of 368. If the labeled parts would
        then reach over more than 304 px, the side grows until they fit. A neck-head limb of 41 px alone gives a side
        of 368 px; parts 304 px apart with no limb of the table give 368 px too. A skeleton with no limb of the table
        has the second half of the rule alone.

        Args:
            parts: [P, 2] image pixels.
            labeled: [P] bool, which of them count.
            skeleton: the P parts' names.
            center: of the square; the middle of the labeled parts' box if not given.

        Raises:
            ValueError: shapes do not fit, or fewer than two distinct labeled parts.
        """
        parts = np.asarray(parts, dtype=np.float64)
        labeled = np.asarray(labeled, dtype=bool)
        if parts.shape != (len(skeleton), 2) or labeled.shape != (len(skeleton),):
            raise ValueError(
                f"parts must be [{len(skeleton)}, 2] and labeled [{len(skeleton)}] for skeleton {skeleton.name!r}, "
                f"got {list(parts.shape)} and {list(labeled.shape)}"
            )
        known = parts[labeled]
        if len(known) < 2 or not np.isfinite(known).all():
            raise ValueError(f"parts must have at least two labeled, finite points, got {known.tolist()}")
        low, high = known.min(axis=0), known.max(axis=0)
        side = float((high - low).max()) * RELEASE_BOX_PX / LARGEST_EXTENT_PX
        votes = []
        for a, b, ratio in LIMB_RATIOS:
            if a in skeleton.names and b in skeleton.names:
                i, j = skeleton.index(a), skeleton.index(b)
                if labeled[i] and labeled[j]:
                    votes.append(float(np.hypot(*(parts[i] - parts[j]))) / ratio)
        if votes:
            neck_head = float(np.quantile(votes, VOTE_QUANTILE, method="hazen"))
            side = max(side, neck_head * RELEASE_BOX_PX / NECK_HEAD_PX)
        if side <= 0:
            raise ValueError("parts must not all lie on one point to give a scale")
        middle = ((low + high) / 2).tolist() if center is None else center
        return cls((float(middle[0]), float(middle[1])), side)

    def magnification(self, size: tuple[int, int]) -> float:
        """Return the box pixels per image pixel for a box of size (height, width)."""
        return max(size) / self.side

    def matrix(self, size: tuple[int, int]) -> np.ndarray:
        """Return the affine map [2, 3] float64 from image pixels to pixels of a box of size (height, width)."""
        scale = self.magnification(size)
        height, width = size
        x, y = self.center
        return np.array([[scale, 0.0, (width - 1) / 2 - scale * x], [0.0, scale, (height - 1) / 2 - scale * y]])

    def to_box(self, points_image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Map image pixels [..., 2] to box pixels [..., 2]."""
        return transform(self.matrix(size), points_image)

    def to_image(self, points_box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Map box pixels [..., 2] to image pixels [..., 2]: the inverse of `to_box`."""
        height, width = size
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        return (np.asarray(points_box, np.float64) - middle) / self.magnification(size) + np.array(self.center)

    def zoomed(self, factor: float) -> Roi:
        """Return the region a pyramid factor asks for: the magnification is multiplied by `factor`."""
        return Roi(self.center, self.side / factor)

    def reduced(self, reduction: float) -> Roi:
        """Return the region in an image reduced by averages of `reduction` x `reduction` pixels.

        Examples:
            >>> Roi((3.5, 7.5), 16).reduced(4)
            Roi(center=(0.5, 1.5), side=4.0)
        """
        if reduction == 1:
            # Exactly the same, which the sums below are not.
            return self
        x, y = self.center
        return Roi(((x + 0.5) / reduction - 0.5, (y + 0.5) / reduction - 0.5), self.side / reduction)

    def on_grid(self) -> Roi:
        """Return the region with its numbers rounded to multiples of 1/16 px; its corners are multiples of 1/32 px.

        Examples:
            >>> Roi((10.03, 20.04), 0.001).on_grid()
            Roi(center=(10.0, 20.0625), side=0.0625)
        """
        x, y, side = (round(value / GRID_PX) * GRID_PX for value in (*self.center, self.side))
        return Roi((x, y), max(side, GRID_PX))


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points [..., 2] by an affine [2, 3] matrix, in float64."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


@dataclass(frozen=True)
class Frame:
    """Axis-aligned map from output pixels to the cells of a belief map: cell = s * pixel + o, on each axis."""

    sx: float
    sy: float
    ox: float
    oy: float

    @classmethod
    def of_crop(cls, size: tuple[int, int], stride: int = 8, cell_offset: float = 3.5, pyramid: float = 1.0) -> Self:
        """Map pixels of the nominal box to cells of the map of a crop magnified `pyramid` times as much.

        Cell g of that map stands at pixel stride * g + cell_offset of its own crop, and both boxes share their
        middle. At factor 1 and stride 8: cell = (pixel - 3.5) / 8.
        """
        height, width = size

        def offset(middle: float) -> float:
            return ((1.0 - pyramid) * middle - cell_offset) / stride

        return cls(pyramid / stride, pyramid / stride, offset((width - 1) / 2), offset((height - 1) / 2))
