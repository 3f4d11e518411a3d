"""Checks of annotated pictures, which find errors before training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.model.crops import warp
from cpm_fast.results.drawing import skeleton_overlay
from cpm_fast.roi import BOX_MARGIN
from cpm_fast.skeleton import Skeleton

# Limbs that cross to the other side are suspicious if uncrossed ones would be shorter by this factor.
CROSSED_RATIO = 1.5
# Shoulders and hips that face opposite ways are suspicious if both are this wide, as a share of their distance.
WIDE_SHARE = 0.35
SHOWN, COLUMNS, TILE_PX, BORDER = 9, 3, 240, 128
SHOWN_NAMES = 5


@dataclass(eq=False)
class Check:
    """Findings in one dataset; lists hold names of samples.

    Args:
        name: of the dataset.
        skeleton: its P parts.
        samples: their number.
        missing: pictures that do not exist.
        unreadable: samples that can't be read for another reason, with it.
        labeled: [P] count of labels of each part.
        outside: "NAME: PART, ..." labeled outside of the picture.
        swapped: "NAME: PARTS" of samples whose left and right may have changed places.
        same_picture: names of different files with equal pixels, "NAME = NAME".
        same_annotation: equal parts labeled in equal pictures.
        left_out: annotations that the reader left out, with the reason.
        sizes: (height, width) of pictures -> count.
    """

    name: str
    skeleton: Skeleton
    samples: int
    labeled: np.ndarray
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    same_picture: list[str] = field(default_factory=list)
    same_annotation: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    suspicious: list[int] = field(default_factory=list)

    @property
    def read(self) -> int:
        return self.samples - len(self.missing) - len(self.unreadable)

    @property
    def fine(self) -> bool:
        """Whether every sample can be trained on; odd samples may well be right."""
        return not self.missing and not self.unreadable

    def findings(self) -> dict[str, list[str]]:
        """Return the samples of each kind of error or oddity."""
        return {
            "picture missing": self.missing,
            "can't be read": self.unreadable,
            "annotation left out": self.left_out,
            "part outside the picture": self.outside,
            "left and right perhaps swapped": self.swapped,
            "same picture under two names": self.same_picture,
            "same annotation twice": self.same_annotation,
        }

    def report(self) -> str:
        """Return the findings in words."""
        lines = [f"{self.name}: {self.samples} samples of {len(self.skeleton)} parts ({self.skeleton.name})"]
        if self.sizes:
            sides = np.array([size for size, count in self.sizes.items() for _ in range(count)])
            low, middle, high = (np.quantile(sides, q, axis=0).astype(int) for q in (0, 0.5, 1))
            texts = (f"{height} x {width}" for height, width in (low, middle, high))
            lines.append("  height x width of pictures, least, median, most: " + ", ".join(texts))
        names = zip(self.skeleton.names, self.labeled, strict=True)
        shares = [f"{name} {count / max(1, self.read):.0%}" for name, count in names]
        lines.append(f"  labeled: {', '.join(shares)}")
        lines.append(f"  mirroring: {self.skeleton.mirroring}")
        for what, found in self.findings().items():
            more = f" and {len(found) - SHOWN_NAMES} more" if len(found) > SHOWN_NAMES else ""
            listed = f": {'; '.join(found[:SHOWN_NAMES])}{more}" if found else ""
            lines.append(f"  {what}: {len(found)}{listed}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return counts and all findings as plain values."""
        labeled = {name: int(count) for name, count in zip(self.skeleton.names, self.labeled, strict=True)}
        return {
            "name": self.name,
            "samples": self.samples,
            "read": self.read,
            "labeled": labeled,
            "mirroring": self.skeleton.mirroring,
            **self.findings(),
        }


class Checker:
    """A checker of the samples of a dataset, one after another.

    Args:
        dataset: whose samples are given to `look`.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.check = Check(dataset.name, dataset.skeleton, len(dataset), np.zeros(len(dataset.skeleton), np.int64))
        self.check.left_out = list(getattr(dataset, "left_out", ()))
        self._pictures: dict[bytes, str] = {}
        self._annotations: dict[bytes, str] = {}

    def look(self, index: int) -> None:
        """Read a sample and note its oddities."""
        check = self.check
        try:
            sample = self.dataset[index]
        except FileNotFoundError as error:
            check.missing.append(str(error.filename or error))
            return
        except (OSError, ValueError) as error:
            check.unreadable.append(f"sample {index}: {error}")
            return
        height, width = sample.image.shape[:2]
        check.sizes[height, width] += 1
        check.labeled += sample.labeled
        x, y = sample.parts_image.T
        off = sample.labeled & ~((x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5))
        if off.any():
            check.outside.append(f"{sample.name}: {', '.join(self._names(np.flatnonzero(off)))}")
        odd = swapped_sides(np.where(sample.labeled[:, None], sample.parts_image, np.nan), check.skeleton)
        if odd:
            check.swapped.append(f"{sample.name}: {', '.join(odd)}")
        if off.any() or odd:
            check.suspicious.append(index)
        self._duplicates(sample)

    def _duplicates(self, sample: Sample) -> None:
        pixels = hashlib.blake2b(sample.image.tobytes(), digest_size=16, key=str(sample.image.shape).encode()).digest()
        first = self._pictures.setdefault(pixels, sample.name)
        if first != sample.name:
            self.check.same_picture.append(f"{sample.name} = {first}")
        points = np.where(sample.labeled[:, None], sample.parts_image, np.nan)
        key = pixels + points.tobytes()
        if key in self._annotations:
            self.check.same_annotation.append(f"{sample.name} = {self._annotations[key]}")
        self._annotations.setdefault(key, sample.name)

    def _names(self, parts: Sequence[int] | np.ndarray) -> list[str]:
        return [self.check.skeleton.names[i] for i in parts]


def swapped_sides(parts_image: np.ndarray, skeleton: Skeleton) -> list[str]:
    """Return the left and right parts that may have changed places; a guess, for a person to check.

    Two limbs that are mirror images, a to b, lead to the other side when uncrossed they would be far shorter. And
    shoulders do not face one way and hips the other, each seen wide.

    Args:
        parts_image: [P, 2], NaN where not labeled.
        skeleton: the P parts.
    """
    found = []
    limbs = {frozenset(limb) for limb in skeleton.limb_indices}
    seen: set[frozenset[int]] = set()
    for a, b in skeleton.limb_indices:
        c, d = skeleton.mirror[a], skeleton.mirror[b]
        if c == a or d == b or frozenset((c, d)) not in limbs or {a, b} == {c, d} or frozenset((c, d)) in seen:
            continue
        seen.add(frozenset((a, b)))
        own, crossed = (_length(parts_image, p) for p in (((a, b), (c, d)), ((a, d), (c, b))))
        if own > CROSSED_RATIO * crossed:
            found.append(f"{skeleton.names[a]} to {skeleton.names[b]} crosses over")
    if {f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "hip")} <= set(skeleton.names):
        points = {name: parts_image[skeleton.index(name)] for name in skeleton.names}
        shoulders = points["left_shoulder"] - points["right_shoulder"]
        hips = points["left_hip"] - points["right_hip"]
        middles = (points["left_shoulder"] + points["right_shoulder"] - points["left_hip"] - points["right_hip"]) / 2
        wide = WIDE_SHARE * np.linalg.norm(middles)
        if min(np.linalg.norm(shoulders), np.linalg.norm(hips)) > wide and shoulders @ hips < 0:
            found.append("shoulders and hips face opposite ways")
    return found


def _length(parts_image: np.ndarray, limbs: Sequence[tuple[int, int]]) -> float:
    return float(sum(np.linalg.norm(parts_image[a] - parts_image[b]) for a, b in limbs))


def thumbnails(dataset: Dataset, indices: Sequence[int]) -> np.ndarray | None:
    """Draw up to nine of these samples, evenly chosen, with their parts: [H, W, 3] uint8 BGR; None if none is readable.

    Args:
        dataset: whose samples these are.
        indices: of the samples to choose from.
    """
    tiles = []
    for at in np.unique(np.linspace(0, len(indices) - 1, min(SHOWN, len(indices))).astype(int)):
        try:
            sample = dataset[indices[at]]
        except (OSError, ValueError):
            continue
        size = (TILE_PX, TILE_PX)
        roi = sample.region(BOX_MARGIN)
        tile = warp(sample.image, roi.matrix(size), size, BORDER)
        parts = roi.to_box(sample.parts_image, size)
        scores = sample.labeled.astype(np.float64)
        tiles.append(skeleton_overlay(tile, parts, scores, dataset.skeleton, side=TILE_PX))
    if not tiles:
        return None
    while len(tiles) % COLUMNS:
        tiles.append(np.full_like(tiles[0], BORDER))
    return np.concatenate([np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)])
