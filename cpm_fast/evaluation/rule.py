"""The rule by which a located part counts as right: metric, reference length, threshold, and meaning of the sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpm_fast.metrics import (
    CURVE_THRESHOLDS,
    PCK_THRESHOLD,
    PCKH_THRESHOLD,
    box_reference_length,
    in_mpii_mean,
)
from cpm_fast.skeleton import FLIC, Skeleton
from cpm_fast.system.numbers import is_finite, make_plain

AUTO, PCK, PCKH, FLIC_RULE = "auto", "pck", "pckh", "flic"
METRICS = (PCK, PCKH, FLIC_RULE, AUTO)
TORSO, HEAD, BOX, PIXEL = "torso", "head", "box", "pixel"
PERSON, OBSERVER = "person", "observer"
TORSO_ENDS = "left_shoulder:right_hip"
# PCKh's curve goes as far as its threshold, in the same steps as PCK's.
PCKH_CURVE = tuple(step / 100 for step in range(51))
# A curve over pixels goes to twice the threshold in this many steps.
PIXEL_STEPS = 40
SHOULDERS = ("left_shoulder", "right_shoulder")


# A larger error than this is a whole subject away: such a threshold was meant in pixels.
LARGEST_THRESHOLD = 2.0


@dataclass(frozen=True)
class Rule:
    """A rule: a part is right if its error is at most `threshold` times the subject's reference length.

    Args:
        metric: "pck" (Yang and Ramanan 2013), "pckh" (MPII: over the head length; pelvis and thorax have no share in
            the mean), "flic" (PCK over the torso; elbows and wrists are reported), or "auto": by the dataset.
        reference: "torso", |left_shoulder - right_hip| of the truth; "head", the annotated head length; "box", the
            longer side of the box around the labeled parts; "pixel", one image pixel; or two parts "PART:PART", their
            distance in the truth. If None, the metric's; for PCK the torso if the skeleton has one, else the box.
        threshold: fraction of the reference length, at most 2 of a torso, a head or a box; if None 0.2, and 0.5 for
            "pckh".
        centric: "person": left and right are as they were annotated and predicted; "observer": both are renamed by
            `observer_centric`.

    Raises:
        ValueError: one of them is not of these.

    Examples:
        >>> Rule(reference="pixel", threshold=5).threshold
        5
    """

    metric: str = PCK
    reference: str | None = None
    threshold: float | None = None
    centric: str = PERSON

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        if self.centric not in (PERSON, OBSERVER):
            raise ValueError(f"centric must be {PERSON} or {OBSERVER}, got {self.centric!r}")
        make_plain(self)
        if self.threshold is not None and not (is_finite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"threshold must be a finite number, 0 or more, got {self.threshold!r}")
        named = self.reference != PIXEL and ":" not in str(self.reference)
        if named and self.threshold is not None and self.threshold > LARGEST_THRESHOLD:
            raise ValueError(
                f"threshold must be at most {LARGEST_THRESHOLD:g} reference lengths, got {self.threshold!r}; "
                f"for pixels give the reference {PIXEL!r}"
            )
        words = (None, TORSO, HEAD, BOX, PIXEL)
        if self.reference not in words and str(self.reference).count(":") != 1:
            raise ValueError(
                f"reference must be {TORSO}, {HEAD}, {BOX}, {PIXEL} or two parts PART:PART, got {self.reference!r}"
            )

    def settled(self, skeleton: Skeleton, heads: bool) -> Rule:
        """Return the rule with all defaults filled in, for a dataset of this skeleton.

        Args:
            skeleton: of the dataset.
            heads: whether its annotation has head lengths.

        Raises:
            ValueError: the dataset lacks what the rule needs.
        """
        metric = self.metric
        if metric == AUTO:
            metric = PCKH if heads else FLIC_RULE if skeleton.names == FLIC.names else PCK
        reference = self.reference
        if reference is None:
            has_torso = set(TORSO_ENDS.split(":")) <= set(skeleton.names)
            reference = HEAD if metric == PCKH else TORSO if metric == FLIC_RULE or has_torso else BOX
        threshold = self.threshold
        if threshold is None:
            if reference == PIXEL:
                raise ValueError("threshold must be given in pixels for the reference 'pixel', for instance 5")
            threshold = PCKH_THRESHOLD if metric == PCKH else PCK_THRESHOLD
        if reference == HEAD and not heads:
            raise ValueError(
                "reference 'head' needs head lengths in the annotation, as MPII has them; the reference may also be "
                f"{TORSO}, {BOX}, {PIXEL} or two parts PART:PART"
            )
        for part in _end_parts(reference):
            if part not in skeleton.names:
                raise ValueError(f"reference {reference!r} needs the part {part!r}, got {list(skeleton.names)}")
        return replace(self, metric=metric, reference=reference, threshold=float(threshold))

    @property
    def title(self) -> str:
        """The name of the numbers: PCK@0.2."""
        unit = " px" if self.reference == PIXEL else ""
        return f"{'PCKh' if self.metric == PCKH else 'PCK'}@{self.threshold:g}{unit}"

    @property
    def over(self) -> str:
        """The length that errors are measured against, in words."""
        ends = " - ".join(_end_parts(self.reference))
        return {
            HEAD: "the annotated head length (0.6 of the head box's diagonal)",
            BOX: "the longer side of the box about the labeled parts",
            PIXEL: "one pixel of the image",
        }.get(str(self.reference), f"|{ends}| of the truth")

    @property
    def lacking(self) -> str:
        """The parts that a sample without a reference length lacks, in words."""
        return {HEAD: "a head length", BOX: "two distinct labeled parts"}.get(
            str(self.reference), " or ".join(_end_parts(self.reference))
        )

    @property
    def curve(self) -> tuple[float, ...]:
        """Thresholds of the curve, and of the area below it."""
        if self.reference == PIXEL:
            return tuple(np.linspace(0, 2 * (self.threshold or 1), PIXEL_STEPS + 1).tolist())
        return PCKH_CURVE if self.metric == PCKH else CURVE_THRESHOLDS

    def in_mean(self, names: Sequence[str]) -> np.ndarray:
        """Return which parts count in the mean: [P] bool."""
        return in_mpii_mean(names) if self.metric == PCKH else np.ones(len(names), dtype=bool)

    def lengths(self, truth: np.ndarray, skeleton: Skeleton, heads: np.ndarray) -> np.ndarray:
        """Return the reference length of every sample: [M], NaN where it has none.

        Args:
            truth: [M, P, 2] image pixels, NaN where not labeled.
            skeleton: the P parts.
            heads: [M] head lengths, image pixels, NaN where not known.
        """
        if self.reference == HEAD:
            return heads
        if self.reference == BOX:
            return box_reference_length(truth)
        if self.reference == PIXEL:
            return np.ones(len(truth))
        first, second = (truth[:, skeleton.index(part)] for part in _end_parts(self.reference))
        return np.hypot(*(first - second).T)


def observer_centric(parts: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the subjects whose left and right differ from the observer's: [M] bool.

    Sides are the observer's where they are named as if everyone faced the camera: no right shoulder is further right
    in the picture than the left one (the rule by which the release of Wei et al. 2016 puts FLIC's annotation in
    order). If a subject lacks a shoulder, the mean over its other pairs decides. All pairs of a subject change
    names together, or none.

    Args:
        parts: [M, P, 2] (x, y) image pixels, NaN where there is none.
        skeleton: the P parts and their pairs.
    """
    if not skeleton.pairs:
        return np.zeros(len(parts), dtype=bool)
    ends = np.array([[skeleton.index(left), skeleton.index(right)] for left, right in skeleton.pairs])
    across = parts[:, ends[:, 0], 0] - parts[:, ends[:, 1], 0]  # [M, pairs]
    known = np.isfinite(across)
    total = np.where(known, across, 0.0).sum(axis=1)
    if SHOULDERS in skeleton.pairs:
        shoulders = across[:, skeleton.pairs.index(SHOULDERS)]
        total = np.where(np.isfinite(shoulders), shoulders, total)
    return total < 0


def to_observer(parts: np.ndarray, skeleton: Skeleton, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return parts [M, P, 2] and their values [M, P] with the observer's left and right."""
    turned = observer_centric(parts, skeleton)
    mirror = list(skeleton.mirror)
    swapped = []
    for array in (parts, *values):
        mask = turned.reshape(-1, *(1,) * (array.ndim - 1))
        swapped.append(np.where(mask, array[:, mirror], array))
    return tuple(swapped)


def _end_parts(reference: str | None) -> list[str]:
    """Return the two parts of a reference that is a distance between parts."""
    if reference == TORSO:
        return TORSO_ENDS.split(":")
    return reference.split(":") if reference is not None and ":" in reference else []
